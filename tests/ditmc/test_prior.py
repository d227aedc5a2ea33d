"""Priors: the harmonic one has the covariance of a spring network."""

from __future__ import annotations

import numpy as np
import pytest

from ditkernels.models.ditmc import PRIORS, harmonic_factor
from tests.support.networks import graphs


def laplacian(n, bonds):
    matrix = np.zeros((n, n))
    for i, j in bonds:
        matrix[i, j] = matrix[j, i] = -1
    return matrix - np.diag(matrix.sum(1))


@pytest.mark.parametrize("smiles", ["CCO", "c1ccccc1O", "C" * 59 + "N"])
def test_covariance_is_the_pseudo_inverse_of_the_laplacian(smiles):
    (graph,) = graphs(smiles)
    factor = harmonic_factor(graph.num_atoms, graph.bonds).astype(np.float64)
    expected = np.linalg.pinv(laplacian(graph.num_atoms, graph.bonds))
    np.testing.assert_allclose(factor @ factor.T, expected, atol=2e-5 * np.abs(expected).max())


def test_each_fragment_has_a_mode_of_its_own_that_carries_nothing():
    factor = harmonic_factor(4, np.array([[0, 1], [2, 3]]))
    assert np.linalg.matrix_rank(factor, tol=1e-4) == 2
    np.testing.assert_allclose(factor.sum(axis=0), 0, atol=1e-6)


def test_no_bonds_no_width():
    np.testing.assert_array_equal(harmonic_factor(1, np.empty((0, 2), int)), [[0]])
    assert harmonic_factor(0, np.empty((0, 2), int)).shape == (0, 0)


@pytest.mark.parametrize("name", ["harmonic", "gaussian"])
def test_samples_are_centered(name):
    (graph,) = graphs("CC(=O)N")
    noise = np.random.default_rng(0).normal(size=(graph.num_atoms, 3))
    positions = PRIORS[name].sample(graph, noise)
    assert positions.dtype == np.float32
    np.testing.assert_allclose(positions.mean(0), 0, atol=1e-6)
    assert positions.std() > 0.3


def test_sampled_covariance():
    (graph,) = graphs("CO")
    rng = np.random.default_rng(0)
    draws = np.stack([PRIORS["harmonic"].sample(graph, rng.normal(size=(6, 3))) for _ in range(4000)])
    measured = np.einsum("kix,kjx->ij", draws, draws) / (3 * 4000)
    np.testing.assert_allclose(measured, np.linalg.pinv(laplacian(6, graph.bonds)), atol=0.06)
