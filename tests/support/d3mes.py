"""Molecules, images and small networks for the tests of D3MES."""

from __future__ import annotations

import numpy as np
import torch
from rdkit import Chem

from ditkernels.models.d3mes import D3MES, D3MESConfig
from ditkernels.models.d3mes.image import encode
from ditkernels.models.d3mes.masks import centred, generated
from ditkernels.models.molecule.raw import RawMolecule

_RELEASED = {"layout": "code", "prediction": "noise", "rows": 12, "patch_rows": 3, "t0_term": "pixel"}
ARMS = {
    "code": {"attention": "code", **_RELEASED},
    "dtm-code": {"attention": "none", **_RELEASED},
    "dtm": {"attention": "none"},
    "so3-p": {"attention": "so3-front", "so3_channels": 16, "basis_size": 8},
    "so3-e": {"attention": "so3-end", "so3_channels": 16, "basis_size": 8},
}
"""The arms of the study, small."""

SMILES = ("C", "CO", "CC(=O)C#N", "c1ccoc1F", "C1CC2CC1CO2", "NC(=O)c1ccccc1", "C12C3C4C1C5C2C3C45")
"""1 to 9 heavy atoms; the last is cubane, with 12 bonds."""


def small_config(arm, **options):
    """A configuration of an arm of :data:`ARMS` with two classes and a transformer of two blocks."""
    sizes = {"width": 16, "heads": 2, "blocks": 2, "classes": 2}
    return D3MESConfig(**sizes | ARMS[arm] | options)


def small_network(arm, seed=0, dtype=torch.float64, **options):
    """A small network without the zeros of a new one: every part acts on the output."""
    torch.manual_seed(seed)
    model = D3MES(small_config(arm, **options))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not parameter.any() or name.endswith("bias"):
                parameter.normal_(std=0.3)
    return model.to(dtype).eval()


def molecules(smiles=SMILES, seed=0):
    """Heavy atoms of molecules at random places, Kekulé bonds with a < b, sorted."""
    rng = np.random.default_rng(seed)
    found = []
    for text in smiles:
        mol = Chem.MolFromSmiles(text)
        Chem.Kekulize(mol, clearAromaticFlags=True)
        rows = sorted(
            (*sorted((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())), int(bond.GetBondTypeAsDouble()))
            for bond in mol.GetBonds()
        )
        elements = np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()])
        bonds = np.array(rows, dtype=np.int64).reshape(-1, 3)
        found.append(RawMolecule(elements, rng.normal(scale=1.5, size=(len(elements), 3)), bonds))
    return found


def images_of(found, config):
    """Images of molecules."""
    return encode(
        np.concatenate([m.positions for m in found]),
        np.concatenate([m.elements for m in found]),
        np.concatenate([m.bonds for m in found]),
        np.array([len(m.elements) for m in found]),
        np.array([len(m.bonds) for m in found]),
        config,
    )


def noisy_batch(config, smiles=SMILES, dtype=torch.float64, seed=0):
    """Arguments (image, t, label, count) of a network: noise where the image is generated, the padding code elsewhere;
    every class and the null label occur.
    """
    generator = torch.Generator().manual_seed(seed)
    found = molecules(smiles)
    clean, count = images_of(found, config).to(dtype), torch.tensor([len(m.elements) for m in found])
    mask = generated(count, config)
    noise = centred(torch.randn(clean.shape, generator=generator, dtype=dtype), mask, config)
    t = torch.randint(1000, (len(found),), generator=generator)
    return torch.where(mask, noise, clean), t, torch.arange(len(found)) % (config.classes + 1), count
