r"""How far the arms are from turning with the molecule: :math:`\epsilon(Rx)` against :math:`R\,\epsilon(x)`, and
samples from turned noise against turned samples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ditkernels.models.d3mes import D3MES, sample
from ditkernels.models.d3mes.diffusion import TRAINING
from ditkernels.models.d3mes.image import decode
from ditkernels.models.d3mes.masks import atom_rows, centred, generated
from ditkernels.models.d3mes.sampler import MoleculeNoise
from ditkernels.models.ditmc.geometry import random_rotations
from ditkernels.models.molecule.assembly import assemble

LEVELS = (0, 50, 200, 500, 900)
"""Steps of the diffusion at which the output is compared."""
UNTRAINED_STD = 0.02


def untrained(network: D3MES, seed: int = 0) -> D3MES:
    """A new network of the same configuration. Its output would be 0, so weights that start at 0 are drawn from
    N(0, 0.02²).
    """
    torch.manual_seed(seed)
    fresh = D3MES(network.config)
    with torch.no_grad():
        for parameter in fresh.parameters():
            if parameter.dim() > 1 and not parameter.any():
                nn.init.normal_(parameter, std=UNTRAINED_STD)
    if network.config.masked:
        fresh.sizes.copy_(network.sizes)
    return fresh.to(next(network.parameters()).device).eval()


def turned(image: Tensor, rotation: Tensor) -> Tensor:
    """Images (B, C, I, 3) with their positions turned by (B, 3, 3)."""
    return torch.cat((image[:, :1] @ rotation.mT.unsqueeze(1).to(image.dtype), image[:, 1:]), dim=1)


@torch.inference_mode()
def output_errors(network: D3MES, images: Tensor, count: Tensor, seed: int = 0) -> list[dict]:
    """For every level t: the root mean square of :math:`\\epsilon(Rx) - R\\epsilon(x)` over that of :math:`\\epsilon`,
    of positions (``positions``), and of what must not change (``others``: elements and bonds).

    images: clean (B, C, I, 3). count: (B,). Every molecule has a rotation of its own.
    """
    generator = torch.Generator().manual_seed(seed)
    rotation = random_rotations(len(images), generator)
    mask, label = generated(count, network.config), torch.full((len(images),), 0)
    given = count if network.config.masked else None
    rows = []
    for level in LEVELS:
        noise = centred(torch.randn(images.shape, generator=generator), mask, network.config)
        t = torch.full((len(images),), level)
        noisy = torch.where(mask, TRAINING.noised(images, t, noise), images)
        plain = turned(network(noisy, t, label, given)[0], rotation)
        difference = network(turned(noisy, rotation), t, label, given)[0] - plain
        parts = {"positions": slice(0, 1), "others": slice(1, None)}
        errors = {name: float(difference[:, part].norm() / plain[:, part].norm()) for name, part in parts.items()}
        rows.append({"level": level, **errors})
    return rows


def sample_changes(network: D3MES, count: Tensor, seed: int = 0, steps: int = 250) -> dict:
    """Molecules from noise and from the same noise turned, start and every step.

    ``same``: share of pairs with the same SMILES, of those with a molecule on either side (None without such pairs);
    ``valid``: share of samples that are molecules (:func:`assemble`), without and with the turn; ``rmsd``: median over
    samples of the root mean square distance in Å of the atoms, numbered as they are, after turning back.
    """
    config = network.config
    rotation = random_rotations(len(count), torch.Generator().manual_seed(seed))
    label, given = torch.zeros(len(count)).long(), count if config.masked else None
    runs = []
    for orthogonal in (torch.eye(3).expand(len(count), 3, 3), rotation):
        noise = MoleculeNoise(seed, range(len(count)), (config.channels, config.rows, 3))
        image = sample(network, given, label, lambda step, n=noise, r=orthogonal: turned(n(step), r), steps=steps)
        runs.append((image, [assemble(raw).smiles for raw in decode(image, given, config)]))
    (plain, names), (other, other_names) = runs
    apart = (other[:, 0] - turned(plain, rotation)[:, 0]).square().sum(-1)
    # In layout code rows have no atoms before the end, and all positions are compared.
    rows = atom_rows(count, config.rows) if config.masked else torch.ones(len(count), config.rows)
    scale = config.position_scale if config.masked else 1.0
    rmsd = scale * ((apart * rows).sum(-1) / rows.sum(-1)).sqrt()
    equal = [a == b for a, b in zip(names, other_names) if a or b]
    return {
        "samples": len(count),
        "same": float(np.mean(equal)) if equal else None,
        "valid": [float(np.mean([bool(name) for name in found])) for found in (names, other_names)],
        "rmsd": float(rmsd.median()),
    }


def error_table(rows: Sequence[dict]) -> str:
    """Markdown of :func:`output_errors` by model, in parts of the output."""
    lines = ["| | output | " + " | ".join(f"t = {level}" for level in LEVELS) + " |", "|---" * (len(LEVELS) + 2) + "|"]
    for row in rows:
        for part in ("positions", "others"):
            errors = " | ".join(f"{found[part]:.1e}" for found in row["outputs"])
            lines.append(f"| {row['name']} | {part} | {errors} |")
    return "\n".join(lines) + "\n"


def sample_table(rows: Sequence[dict]) -> str:
    """Markdown of :func:`sample_changes` by model."""
    lines = ["| | samples | same molecule | valid | valid, turned | median RMSD / Å |", "|---|---|---|---|---|---|"]
    for row in (row for row in rows if "samples" in row):
        found = row["samples"]
        shares = (found["same"], *found["valid"])
        percent = " | ".join("–" if share is None else f"{100 * share:.1f}" for share in shares)
        lines.append(f"| {row['name']} | {found['samples']} | {percent} | {found['rmsd']:.2g} |")
    return "\n".join(lines) + "\n"
