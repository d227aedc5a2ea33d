"""Prior samples of a task: reproducible, centered, and on the specified side of stereocenters where there are any."""

from __future__ import annotations

import numpy as np
import pytest

from ditkernels.models.generation.options import GenerationOptions
from ditkernels.models.generation.tasks import prepare
from ditkernels.models.molecule.records import Record
from ditkernels.models.molecule.stereo import center_agreement


def task(smiles, prior="harmonic"):
    record = Record(index=3, location="4", title="t", content=smiles)
    return prepare(record, GenerationOptions(conformers=1, prior=prior), "drugs")


@pytest.mark.parametrize("prior", ["harmonic", "gaussian"])
@pytest.mark.parametrize("smiles", ["CCO", "C[C@H](N)C(=O)O"])
def test_samples_are_centered_and_reproducible(smiles, prior):
    first, again, other = (task(smiles, prior).prior_sample(1, 0, attempt) for attempt in (0, 0, 1))
    assert first.dtype == np.float32
    np.testing.assert_allclose(first.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


@pytest.mark.parametrize("smiles", ["C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O", "C[C@H](O)[C@@H](F)[C@H](N)Cl"])
def test_stereocenters_start_on_the_specified_side(smiles):
    molecule = task(smiles)
    positions = np.stack([molecule.prior_sample(7, sample, 0) for sample in range(20)])
    agreement = center_agreement(molecule.stereo, positions)
    assert (agreement > 0).mean() > 0.9


def test_without_stereocenters_the_covariance_is_that_of_the_prior():
    molecule = task("CO")
    positions = np.stack([molecule.prior_sample(7, sample, 0) for sample in range(4000)])
    measured = np.einsum("six,sjx->ij", positions, positions) / (3 * len(positions))
    np.testing.assert_allclose(measured, molecule.factor @ molecule.factor.T, atol=0.06)
