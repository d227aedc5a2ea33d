"""Which numbers of an image are generated, and the space in which the positions live."""

from __future__ import annotations

import torch
from torch import Tensor

from ditkernels.models.d3mes.config import D3MESConfig


def atom_rows(count: Tensor, rows: int) -> Tensor:
    """(B, I) bool: whether a row holds an atom, from the numbers of atoms (B,)."""
    return torch.arange(rows, device=count.device) < count.unsqueeze(-1)


def generated(count: Tensor | None, config: D3MESConfig) -> Tensor:
    """(B, C, I, 1) or (1, 1, 1, 1) bool: what is noised, predicted and counted.

    ``v2``: positions and elements of the atoms, and all bond rows; the rest keeps the padding code. ``code``:
    everything.
    """
    if not config.masked:
        return torch.ones(1, 1, 1, 1, dtype=torch.bool)
    atoms = atom_rows(count, config.rows)
    mask = atoms[:, None, :, None].expand(-1, config.channels, -1, 1).clone()
    mask[:, -1] = True
    return mask


def centred(image: Tensor, mask: Tensor, config: D3MESConfig) -> Tensor:
    """The image with 0 where the mask is, and (``v2``) positions of zero mean over the atoms of each molecule."""
    if not config.masked:
        return image
    image = image * mask
    rows = mask[:, :1]
    mean = image[:, :1].sum(dim=2, keepdim=True) / rows.sum(dim=2, keepdim=True).clamp(min=1)
    return torch.cat((image[:, :1] - mean * rows, image[:, 1:]), dim=1)
