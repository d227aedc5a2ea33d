"""The Python interface."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem

from ditkernels.models.generation import GenerationError, generate_conformers
from tests.generation.samplers import EtkdgSampler
from tests.support.networks import small_network

ALANINE = "C[C@H](N)C(=O)O"


def test_one_smiles():
    [mol] = generate_conformers(ALANINE, 3, sampler=EtkdgSampler({ALANINE: ALANINE}))
    assert mol.GetNumConformers() == 3
    assert mol.GetNumAtoms() == 13
    for conformer in mol.GetConformers():
        copy = Chem.Mol(mol, confId=conformer.GetId())
        Chem.AssignStereochemistryFrom3D(copy)
        assert Chem.MolToSmiles(Chem.RemoveHs(copy)) == Chem.CanonSmiles(ALANINE)


def test_several_inputs_keep_order_and_names():
    named = Chem.MolFromSmiles("CO")
    named.SetProp("_Name", "methanol")
    results = generate_conformers([ALANINE, named], 2, sampler=EtkdgSampler({ALANINE: ALANINE, "CO": "CO"}))
    assert [mol.GetNumAtoms() for mol in results] == [13, 6]
    assert [mol.GetProp("_Name") for mol in results] == ["molecule_1", "methanol"]


def test_network_on_the_cpu_is_reproducible():
    network = small_network().float()
    first, second, other = (
        [
            c.GetPositions()
            for mol in generate_conformers(["CCO", "c1ccccc1"], 2, model=network, steps=3, seed=seed)
            for c in mol.GetConformers()
        ]
        for seed in (1, 1, 2)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, second))
    assert not any(np.allclose(a, b) for a, b in zip(first, other))


def test_network_result_does_not_depend_on_the_batch():
    """Rounding of matrix products may differ between batch shapes; nothing else does."""
    network = small_network().float()
    together, alone = (
        generate_conformers(["CCO", "c1ccccc1", "CN"], 4, model=network, steps=3, max_atoms_per_batch=budget)
        for budget in (2048, 1)
    )
    for a, b in zip(together, alone):
        for x, y in zip(a.GetConformers(), b.GetConformers()):
            assert np.abs(x.GetPositions() - y.GetPositions()).max() < 1e-4


def test_failures_are_raised_and_carry_the_rest():
    with pytest.raises(
        GenerationError, match="no conformers for molecule 1: SMILES 'C1' cannot be read.*1 more"
    ) as caught:
        generate_conformers(["CO", "C1", "C.C"], 2, sampler=EtkdgSampler({"CO": "CO"}))
    assert [mol is not None for mol in caught.value.molecules] == [True, False, False]
    assert set(caught.value.failures) == {1, 2}


def test_missing_conformers_are_named():
    right, wrong = EtkdgSampler({ALANINE: ALANINE}), EtkdgSampler({ALANINE: ALANINE}, lambda x, call: x * [1, 1, 0])
    calls = []
    [mol] = generate_conformers(
        ALANINE,
        2,
        sampler=lambda graph, x0: (calls.append(1), (right if len(calls) == 1 else wrong)(graph, x0))[1],
        max_atoms_per_batch=1,
    )
    assert [conformer.GetId() for conformer in mol.GetConformers()] == [0]
    assert mol.GetProp("missing_conformers").startswith("1 of 2 conformers missing after 8 attempts each")


def test_bad_options():
    with pytest.raises(ValueError, match="conformers must be at least 1"):
        generate_conformers("C", 0, sampler=EtkdgSampler({}))
    with pytest.raises(ValueError, match="unknown device 'abacus'"):
        generate_conformers("C", 1, model=small_network().float(), device="abacus")
