"""The baseline and the network as methods: numbers, seeds, failures, and the reflection of inverted samples."""

import numpy as np
import pytest
import torch

from ditkernels.models.ditmc import DiTMC, DiTMCConfig
from ditkernels.models.evaluation.baseline import etkdg_conformers
from ditkernels.models.evaluation.geometry import conformer_positions
from ditkernels.models.evaluation.methods import _made, _task, etkdg, network
from ditkernels.models.evaluation.parallel import Failure
from ditkernels.models.evaluation.score import share_of_right_stereo
from ditkernels.models.generation.options import GenerationOptions
from tests.evaluation.molecules import embedded


@pytest.fixture
def model() -> DiTMC:
    return DiTMC(DiTMCConfig(width=16, heads=2, blocks=1, conditioner_layers=1)).eval()


def test_baseline_gives_the_number_asked_for_and_follows_its_seed():
    mol = embedded("CCOC(C)C")
    first, again, other = (conformer_positions(etkdg_conformers(mol, 3, seed)) for seed in (1, 1, 2))
    assert first.shape == (3, mol.GetNumAtoms(), 3)
    assert np.array_equal(first, again) and not np.allclose(first, other)


def test_minimization_changes_the_conformers():
    mol = embedded("CCOC(C)C")
    plain, relaxed = (conformer_positions(etkdg_conformers(mol, 1, 1, minimize=m)) for m in (False, True))
    assert np.abs(plain - relaxed).max() > 1e-3


def test_baseline_that_raises_loses_one_molecule_only():
    [good, bad] = etkdg(seed=1)([embedded("CCO"), None], [2, 2])
    assert good.mol.GetNumConformers() == 2
    assert isinstance(bad, Failure)


def test_network_samples_each_molecule_as_often_as_asked(model):
    mols = [embedded("CCO"), embedded("C[C@H](F)Cl")]
    made = network(model, seed=3, steps=2, max_atoms_per_batch=20)(mols, [3, 2])
    assert [m.mol.GetNumConformers() for m in made] == [3, 2]
    again = network(model, seed=3, steps=2, max_atoms_per_batch=1000)(mols, [3, 2])
    for one, two in zip(made, again):
        torch.testing.assert_close(
            *(torch.from_numpy(conformer_positions(m.mol)) for m in (one, two)), atol=1e-4, rtol=0
        )


def test_unsupported_molecule_is_a_failure_with_its_reason(model):
    result = network(model, seed=0, steps=1)([embedded("[He]"), embedded("CO")], [1, 1])
    assert isinstance(result[0], Failure) and "He" in result[0].reason
    assert result[1].mol.GetNumConformers() == 1


def test_inverted_samples_are_reflected_and_counted():
    mol = embedded("C[C@H](F)Cl")
    right = mol.GetConformer().GetPositions().astype(np.float32)
    task = _task(0, mol, GenerationOptions(1), "drugs")
    made = _made(task, [right, right * np.float32([1, 1, -1]), np.full_like(right, np.nan)])
    assert made.mirrored == 1 and made.mol.GetNumConformers() == 2
    assert share_of_right_stereo(mol, made.mol) == 1.0
