"""Distributions of atom positions at t = 0."""

from __future__ import annotations

import numpy as np

from ditkernels.models.molecule.graph import MolecularGraph


def harmonic_factor(num_atoms: int, bonds: np.ndarray) -> np.ndarray:
    r"""Square root :math:`L^{+1/2}` of the pseudo-inverse of the bond graph's Laplacian.

    :math:`x_0 = L^{+1/2}\varepsilon` with unit normal ε has the covariance :math:`L^+` (in Å²) of a harmonic
    network with one spring per bond. The symmetric root does not depend on the choice of eigenvectors; its samples
    have the same distribution as those of :math:`U\lambda^{-1/2}\varepsilon`. Modes of eigenvalue 0, one per
    fragment, carry nothing.

    Args:
        num_atoms: n.
        bonds: (m, 2) integer atom pairs, each bond once.

    Returns:
        (n, n) float32.
    """
    laplacian = np.zeros((num_atoms, num_atoms))
    first, second = np.asarray(bonds, dtype=np.int64).reshape(-1, 2).T
    np.add.at(laplacian, (first, second), -1.0)
    np.add.at(laplacian, (second, first), -1.0)
    laplacian[np.diag_indices(num_atoms)] = -laplacian.sum(axis=1)
    values, vectors = np.linalg.eigh(laplacian)
    # The smallest non-zero eigenvalue of a graph of n atoms is at least 4 / n^2 (a chain has it smallest).
    alive = values > 1e-3 / max(num_atoms, 1) ** 2
    scale = np.where(alive, 1.0 / np.sqrt(np.where(alive, values, 1.0)), 0.0)
    return ((vectors * scale) @ vectors.T).astype(np.float32)


def prior_positions(noise: np.ndarray, factor: np.ndarray | None) -> np.ndarray:
    """Prior samples of one molecule, from unit normal noise.

    Args:
        noise: (S, n, 3) float32.
        factor: root (n, n) of the covariance in Å, see :func:`harmonic_factor`; None for the Gaussian prior.

    Returns:
        Centered positions (S, n, 3) in Å, float32.
    """
    positions = noise if factor is None else np.einsum("ij,sjx->six", factor, noise, optimize=True)
    return positions - positions.mean(axis=1, keepdims=True)


class HarmonicPrior:
    """Positions of a harmonic network of the molecule's bonds (default of the released model)."""

    name = "harmonic"

    def factor(self, graph: MolecularGraph) -> np.ndarray:
        """Root (n, n) float32 of the covariance in Å."""
        return harmonic_factor(graph.num_atoms, graph.bonds)

    def sample(self, graph: MolecularGraph, noise: np.ndarray) -> np.ndarray:
        """Unit normal noise (n, 3) to centered positions (n, 3) in Å, float32."""
        return prior_positions(noise.astype(np.float32)[None], self.factor(graph))[0]


class GaussianPrior:
    """Independent unit normal positions, 1 Å wide."""

    name = "gaussian"

    def factor(self, graph: MolecularGraph) -> None:
        """None: the covariance is the identity."""

    def sample(self, graph: MolecularGraph, noise: np.ndarray) -> np.ndarray:
        """Unit normal noise (n, 3) to centered positions (n, 3) in Å, float32."""
        return prior_positions(noise.astype(np.float32)[None], self.factor(graph))[0]


PRIORS = {prior.name: prior for prior in (HarmonicPrior(), GaussianPrior())}
"""Priors by name."""
