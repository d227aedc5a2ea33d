"""The attention of the released D3MES program, operation by operation.

It is called equivariant multi-head attention there. As configured it has one head with one channel on a directed ring
of the list's rows, so that every softmax runs over one edge and its weight is always 1: queries, keys and the radial
network of the keys have no influence and no gradient. Coordinates enter as three unrelated scalars. It is kept to be
compared with.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

HIDDEN = 32


class RingAttention(nn.Module):
    r"""Rows R of the positions and rows e of the bond list to new positions:

    .. math::
        v_i = \phi_0(e_i) \cdot R_i \qquad R'_{i+1} = W_p\,[\alpha_i v_i;\, R_{i+1}] \qquad
        \alpha_i = \mathrm{softmax}(w_q \cdot R_{i+1} \; \phi_1(e_i) \cdot R_i) = 1

    The ring closes from the last row to the first. 1 391 parameters.
    """

    def __init__(self) -> None:
        super().__init__()
        self.radial = nn.Sequential(
            nn.Linear(3, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 6, bias=False)
        )
        self.query = nn.Parameter(torch.empty(3))
        self.project = nn.Parameter(torch.empty(3, 4))

    def reset_parameters(self) -> None:
        nn.init.normal_(self.query, std=1 / math.sqrt(3))
        nn.init.normal_(self.project, std=1 / 2)

    def forward(self, positions: Tensor, bonds: Tensor) -> Tensor:
        """positions, bonds: (B, I, 3). Returns positions (B, I, 3)."""
        value_weights, key_weights = self.radial(bonds).unflatten(-1, (2, 3)).unbind(-2)
        value = (value_weights * positions).sum(-1, keepdim=True)
        key = (key_weights * positions).sum(-1, keepdim=True)
        receivers = positions.roll(-1, dims=-2)
        logits = (receivers @ self.query).unsqueeze(-1) * key
        gathered = torch.softmax(logits, dim=-1) * value
        updated = torch.cat((gathered, receivers), dim=-1) @ self.project.mT
        return updated.roll(1, dims=-2)
