"""Samples of a network that knows one molecule of every size: numbers, classes, records and failures."""

from __future__ import annotations

import io

import pytest
import torch
from rdkit import Chem

from ditkernels.models.d3mes import D3MES
from ditkernels.models.d3mes.diffusion import TRAINING
from ditkernels.models.d3mes.generate import MoleculeGenerator, MoleculeOptions, failure_row
from tests.support.d3mes import images_of, molecules, small_config

CHAIN = {1: "C", 2: "CO", 3: "CCO", 4: "CC(=O)N", 5: "CCCCC"}


class Knowing(D3MES):
    """Returns the noise that leads to the molecule with the number of atoms, of which that with 5 is in two parts."""

    def __init__(self, classes=2):
        super().__init__(small_config("dtm", classes=classes))
        found = molecules(CHAIN.values())
        self.clean = torch.zeros(10, self.config.channels, self.config.rows, 3)
        for size, image in zip(CHAIN, images_of(found, self.config), strict=True):
            # Atoms far apart, on a line that no bond length decides about.
            image[0, :size] = torch.arange(size)[:, None] * torch.tensor([0.9, 0.3, 0.1])
            image[0, :size] -= image[0, :size].mean(0)
            self.clean[size] = image
        self.clean[5, -1, 3] = self.clean[5, -1, 8]
        self.sizes[:] = torch.tensor([0.0, 1, 1, 1, 1, 1, 0, 0, 0, 0])
        self.batches = []

    def forward(self, image, t, label, count, impl="auto"):
        self.batches.append((label.tolist(), count.tolist()))
        bar = TRAINING.alpha_bar[int(t[0])]
        return (image - bar**0.5 * self.clean[count]) / (1 - bar) ** 0.5, torch.full_like(image, -1.0)


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
