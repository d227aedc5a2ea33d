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
    """A small network without the zeros of a new one (adaLN, readout, radial factors): every part acts on the output.

    PE(3) has four blocks, because pseudoscalars appear in the third.
    """
    sizes = dict(width=16, heads=4, blocks=2, conditioner_layers=1)
    if embedding == "pe3":
        sizes |= dict(blocks=4, basis_size=8)
    torch.manual_seed(seed)
    model = DiTMC(DiTMCConfig(embedding=embedding, **sizes | options))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "modulation" in name:
                parameter.normal_(std=0.3)
            elif embedding == "pe3" and name in ("hop_embedding.mlp.2.weight", "bond_embedding.mlp.2.weight"):
                parameter.normal_()
    return model.to(dtype).eval()
