"""Real molecules with conformers: the fixed set and files."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem

from ditkernels.models.evaluation.example_molecules import EXAMPLES, example_molecules, molecules_of_file
from ditkernels.models.molecule.featurize import LAYOUTS, molecular_graph
from ditkernels.models.molecule.stereo import center_agreement, stereo_elements


@pytest.fixture(scope="module")
def examples():
    return example_molecules()


def test_examples_span_sizes_and_fit_every_layout(examples):
    assert [mol.GetProp("_Name") for mol in examples] == list(EXAMPLES)
    sizes = [mol.GetNumAtoms() for mol in examples]
    assert min(sizes) == 3 and 70 <= max(sizes) <= 80
    for layout in LAYOUTS:
        assert [molecular_graph(mol, layout).num_atoms for mol in examples] == sizes


def test_examples_have_the_stereochemistry_of_their_smiles(examples):
    chiral = 0
    for mol, smiles in zip(examples, EXAMPLES.values(), strict=True):
        elements = stereo_elements(mol)
        chiral += len(elements.centers) > 0
        positions = mol.GetConformer().GetPositions()[None].astype(np.float32)
        assert (center_agreement(elements, positions) == 1).all()
        assert Chem.MolToSmiles(Chem.RemoveHs(mol)) == Chem.CanonSmiles(smiles)
    assert chiral == 5


def test_examples_are_the_same_every_time(examples):
    places, again, other = (
        [mol.GetConformer().GetPositions() for mol in mols]
        for mols in (examples, example_molecules(), example_molecules(seed=7))
    )
    assert all(np.array_equal(a, b) for a, b in zip(places, again, strict=True))
    assert not np.allclose(places[-1], other[-1])


def test_conformers_of_an_sd_file_are_kept(tmp_path, examples):
    with Chem.SDWriter(str(tmp_path / "m.sdf")) as writer:
        for mol in examples[4:6]:
            writer.write(mol)
    found = molecules_of_file(tmp_path / "m.sdf")
    assert [mol.GetProp("_Name") for mol in found] == ["L-alanine", "caffeine"]
    for mol, original in zip(found, examples[4:6], strict=True):
        assert np.allclose(mol.GetConformer().GetPositions(), original.GetConformer().GetPositions(), atol=1e-4)


def test_conformers_are_made_where_there_are_none(tmp_path):
    (tmp_path / "m.smi").write_text("CCO ethanol\nC methane\n[Na+]\n")
    ethanol, methane, sodium = molecules_of_file(tmp_path / "m.smi")
    assert (ethanol.GetNumAtoms(), methane.GetNumAtoms(), sodium.GetNumAtoms()) == (9, 5, 1)
    assert all(mol.GetConformer().Is3D() for mol in (ethanol, methane))
    flat = Chem.MolToMolBlock(Chem.MolFromSmiles("CCO"))
    (tmp_path / "flat.sdf").write_text(flat + "$$$$\n")
    [mol] = molecules_of_file(tmp_path / "flat.sdf")
    assert mol.GetNumAtoms() == 9 and np.abs(mol.GetConformer().GetPositions()[:, 2]).max() > 0.1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.smi", "CCO\nC1CC\n", r"m\.smi:2: SMILES 'C1CC' cannot be read"),
        ("m.smi", "", "holds no molecules"),
        ("m.smi", "CCO\n\n", r"m\.smi:2: empty line"),
        ("m.xyz", "3\n", "unknown type"),
        ("m.sdf", "no molecule\n$$$$\n", "cannot be read"),
        ("m.smi", "C1#CC#C1 two triple bonds in a ring of four\n", r"m\.smi:1: ETKDGv3 finds no conformer"),
    ],
)
def test_bad_files_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message) as problem:
        molecules_of_file(tmp_path / name)
    assert "\n" not in str(problem.value)
