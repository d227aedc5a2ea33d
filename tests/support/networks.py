"""Molecules and small networks for the tests of the models."""

from __future__ import annotations

import torch

from ditkernels.models.ditmc import DiTMC, DiTMCConfig
from ditkernels.models.molecule.featurize import molecular_graph, parse_smiles
from ditkernels.models.molecule.graph import collate


def graphs(*smiles):
    return [molecular_graph(parse_smiles(s)) for s in smiles]


def batch_of(*smiles):
    return collate(graphs(*smiles))


def small_network(embedding="ape", seed=0, dtype=torch.float64, **options):
    """A small network whose adaLN gates and readout are not zero, so that every part acts on the output."""
    torch.manual_seed(seed)
    model = DiTMC(DiTMCConfig(embedding=embedding, width=16, heads=4, blocks=2, conditioner_layers=1, **options))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "modulation" in name:
                parameter.normal_(std=0.3)
    return model.to(dtype).eval()
