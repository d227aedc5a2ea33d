"""Samples of a network that knows one molecule of every size: numbers, classes, records and failures."""

from __future__ import annotations

import io

import pytest
from rdkit import Chem

from ditkernels.models.d3mes import generate_molecules
from ditkernels.models.d3mes.generate import MoleculeGenerator, MoleculeOptions, failure_row
from tests.support.knowing import Knowing


def generate(options, start=0, network=None):
    return list(MoleculeGenerator(network or Knowing(), options).samples(start))


def described(samples):
    return [(s.number, s.label, s.molecule.smiles, s.molecule.failure) for s in samples]


def test_samples_do_not_depend_on_start_and_batch():
    plain = generate(MoleculeOptions(20, seed=3, steps=3, batch=20))
    assert [s.number for s in plain] == list(range(20))
    assert described(generate(MoleculeOptions(20, seed=3, steps=3, batch=7))) == described(plain)
    assert described(generate(MoleculeOptions(20, seed=3, steps=3, batch=7), start=11)) == described(plain)[11:]
    assert described(generate(MoleculeOptions(9, seed=3, steps=3))) == described(plain)[:9]
    assert described(generate(MoleculeOptions(20, seed=4, steps=3))) != described(plain)


def test_sizes_decide_the_molecule_and_failures_say_why():
    samples = generate(MoleculeOptions(60, steps=2))
    assert {s.molecule.smiles for s in samples} == {"C", "CO", "CCO", "CC(N)=O", ""}
    for sample in samples:
        assert sample.failed == (len(sample.molecule.raw.elements) == 5)
        if sample.failed:
            assert failure_row(sample) == f"{sample.number + 1},{sample.label},5,disconnected,2 parts\n"
        else:
            assert sample.molecule.mol.GetNumConformers() == 1
            assert all(not atom.GetTotalNumHs() for atom in sample.molecule.mol.GetAtoms())


def test_classes_are_asked_for_or_drawn():
    network = Knowing()
    network.sizes[1] *= 3
    drawn = generate(MoleculeOptions(400, steps=1), network=network)
    share = sum(s.label == "cyclic" for s in drawn) / 400
    assert abs(share - 0.75) < 0.07
    for name, number in (("acyclic", 0), ("cyclic", 1)):
        network.batches.clear()
        asked = generate(MoleculeOptions(5, label=name, steps=1), network=network)
        assert {s.label for s in asked} == {name} and network.batches[0][0] == [number] * 5


def test_guidance_asks_twice():
    network = Knowing()
    generate(MoleculeOptions(3, label="cyclic", guidance=2.0, steps=1), network=network)
    ((labels, counts),) = network.batches
    assert labels == [1, 1, 1, 2, 2, 2] and counts[:3] == counts[3:]


def test_sizes_follow_the_class():
    network = Knowing()
    network.sizes[:] = 0
    network.sizes[0, 2] = network.sizes[1, 3] = 1
    for sample in generate(MoleculeOptions(30, steps=1), network=network):
        assert sample.molecule.smiles == {"acyclic": "CO", "cyclic": "CCO"}[sample.label]


def test_records_hold_the_molecule_and_its_origin():
    options = MoleculeOptions(12, steps=2, seed=5, batch=5)
    entries = list(MoleculeGenerator(Knowing(), options).entries("net"))
    assert [e.index for e in entries] == list(range(12)) and [e.window for e in entries] == [0] * 5 + [5] * 5 + [10] * 2
    for entry in entries:
        assert bool(entry.sd) != bool(entry.failure) and entry.structures == bool(entry.sd)
        if entry.sd:
            mol = next(Chem.ForwardSDMolSupplier(io.BytesIO(entry.sd.encode()), removeHs=False))
            fields = mol.GetPropsAsDict()
            assert Chem.MolToSmiles(Chem.RemoveHs(mol)) == fields["smiles"] == entry.outcome.molecule.smiles
            assert (fields["sample"], fields["model"], fields["seed"]) == (entry.index + 1, "net", 5)
            assert fields["class"] == entry.outcome.label
    resumed = list(MoleculeGenerator(Knowing(), options).entries("net", start=5))
    assert [(e.index, e.window, e.sd) for e in resumed] == [(e.index, e.window, e.sd) for e in entries[5:]]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"number": 0}, "number must be at least 1, got 0"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"batch": -1}, "batch must be at least 1, got -1"),
        ({"seed": -1}, "seed must not be negative, got -1"),
        ({"guidance": float("nan")}, "guidance must be a number of at least 0, got nan"),
        ({"label": "ring"}, "label must be one of any, acyclic, cyclic, got 'ring'"),
        ({"hydrogens": "none"}, "hydrogens must be one of .*, got 'none'"),
        ({"bonds": "both"}, "bonds must be one of rows, geometry, got 'both'"),
    ],
)
def test_bad_options_are_named(values, sentence):
    with pytest.raises(ValueError, match=sentence):
        MoleculeOptions(**{"number": 1} | values)


@pytest.mark.parametrize("options", [{"label": "cyclic"}, {"guidance": 2.0}])
def test_classes_need_a_network_that_knows_them(options):
    with pytest.raises(ValueError, match="was asked of a model that was trained without classes"):
        MoleculeGenerator(Knowing(classes=1), MoleculeOptions(1, **options))


def test_an_untrained_network_is_refused():
    network = Knowing()
    network.sizes.zero_()
    with pytest.raises(ValueError, match="it was not trained"):
        generate(MoleculeOptions(1, steps=1), network=network)


def test_molecules_from_python():
    found = generate_molecules(20, model=Knowing(), steps=2, label="cyclic")
    expected = [s for s in generate(MoleculeOptions(20, steps=2, label="cyclic")) if not s.failed]
    assert 0 < len(found) < 20
    assert [mol.GetProp("_Name") for mol in found] == [f"sample {s.number + 1}" for s in expected]
    assert [mol.GetProp("class") for mol in found] == ["cyclic"] * len(found)
    with pytest.raises(ValueError, match="guidance must be"):
        generate_molecules(1, model=Knowing(), guidance=-1.0)
