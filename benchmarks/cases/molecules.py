"""Molecular graphs and networks of the model cases, made without RDKit so that they run wherever torch does."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from ditkernels.models.ditmc.config import DiTMCConfig
from ditkernels.models.ditmc.model import DiTMC
from ditkernels.models.molecule.graph import DISCONNECTED_HOPS, GraphBatch, MolecularGraph, collate


def drug_like(atoms: int, features: int, seed: int) -> MolecularGraph:
    """A connected graph with the counts of a drug: half the atoms heavy, a chain with branches, a ring in every nine
    heavy atoms, hydrogens at the ends. What the atoms are called is random.
    """
    rng = np.random.default_rng(seed)
    heavy = max(atoms // 2, 1)
    bonds = [(max(i - 1 - (rng.random() < 0.25), 0), i) for i in range(1, heavy)]
    bonds += [(i, i + 5) for i in range(0, heavy - 5, 9)]
    bonds += [(int(rng.integers(heavy)), i) for i in range(heavy, atoms)]
    bonds = np.array(sorted({(i, j) for i, j in bonds if i != j}), dtype=np.int32).reshape(-1, 2)
    attributes = np.zeros((atoms, features), dtype=np.uint8)
    for _ in range(6):
        attributes[np.arange(atoms), rng.integers(features, size=atoms)] = 1
    orders = np.eye(4, dtype=np.uint8)[rng.integers(4, size=len(bonds))]
    numbers = np.where(np.arange(atoms) < heavy, rng.choice([6, 7, 8], size=atoms), 1).astype(np.int16)
    return MolecularGraph(numbers, attributes, bonds, orders, _hops(atoms, bonds))


def _hops(atoms: int, bonds: np.ndarray) -> np.ndarray:
    """Bonds on the shortest path, (n, n)."""
    near = np.eye(atoms, dtype=bool)
    near[bonds[:, 0], bonds[:, 1]] = near[bonds[:, 1], bonds[:, 0]] = True
    hops, reached = np.full((atoms, atoms), DISCONNECTED_HOPS, dtype=np.int16), np.eye(atoms, dtype=bool)
    for count in range(atoms):
        hops[reached & (hops == DISCONNECTED_HOPS)] = count
        reached = (reached.astype(np.float32) @ near.astype(np.float32)) > 0
    return hops


def batch(lengths: tuple[int, ...], config: DiTMCConfig, device: torch.device, same: bool = False) -> GraphBatch:
    """Graphs of the given sizes; `same`: copies of one molecule, as in sampling its conformers."""
    seeds = [0] * len(lengths) if same else range(len(lengths))
    return collate([drug_like(n, config.atom_features, seed) for n, seed in zip(lengths, seeds)]).to(device)


@lru_cache(maxsize=1)
def network(name: str, device: torch.device) -> DiTMC:
    """A configuration with random weights in float32; adaLN-Zero starts as the identity, so gates are random too."""
    torch.manual_seed(0)
    model = DiTMC(DiTMCConfig.named(name))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model.to(device)
