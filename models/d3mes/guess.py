"""What a noisy image says by itself: the best guess of its noise that needs no network."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ditkernels.models.d3mes.config import D3MESConfig
from ditkernels.models.d3mes.image import ORDERS, bond_codes, channels_to_rows, element_codes, rows_to_channels
from ditkernels.models.d3mes.masks import atom_rows
from ditkernels.models.molecule.valence import VALENCES

TOLERANCE = 0.1
"""Width, in bond orders, of the step at the largest valence."""


@dataclass(frozen=True)
class Guess:
    """Of a noisy image (B, C, I, 3).

    noise: (B, C, I, 3), the expected noise. rows: (B, I, 4), the expected code of every bond row over ``bond_scale``,
    and the probability that it holds no bond. bonds: (B, max_atoms, max_atoms, 3), symmetric, the expected number of
    rows that name a pair, for every order.
    """

    noise: Tensor
    rows: Tensor
    bonds: Tensor


class FirstGuess(nn.Module):
    r"""Posterior of a naive prior: positions are standard normal, every row of codes is by itself, and a code c is as
    likely there, :math:`\pi_r(c)`, as it was in the training data:

    .. math::
        p_r(c) \propto \pi_r(c) \exp\frac{-|x_r - \sqrt{\bar\alpha_t}\, c|^2}{2 (1 - \bar\alpha_t)}, \qquad
        E\,\epsilon = \sqrt{1 - \bar\alpha_t}\, x, \qquad
        E\,\epsilon_r = \frac{x_r - \sqrt{\bar\alpha_t} \sum_c p_r(c)\, c}{\sqrt{1 - \bar\alpha_t}}

    for positions and for rows of codes: of elements, and of bonds between atoms that exist, and of no bond. Where the
    noise is small beside the distance of two codes, the latter is exact. No weights.

    Elements and bonds then judge each other once. An element of largest valence V has room for bonds of total order b
    with the probability :math:`f_V(b) = \sigma((V + 1/2 - b) / 0.1)`, so that :math:`\pi_r(c)` becomes

    .. math::
        \pi_r(c)\, f_{V(c)}(b_r) \quad\text{of an element,}\qquad
        \pi_r(c) \prod_{a \in c} \sum_e p_a(e)\, f_{V(e)}(b_a^r + o_c) \quad\text{of a bond of order } o_c,

    where :math:`b_a` is the expected order of all guessed bonds of atom a, :math:`b_a^r` without that of row r, and
    :math:`p_a(e)` the guess of its element, each by the first formula.

    ``element_counts`` (rows, elements) and ``bond_counts`` (2, rows, bonds + 1), in rows with and without an atom, the
    last code being that of no bond: what the prior is made of, one more of each. A new one has counted nothing, and all
    codes are equally likely.

    Raises ValueError for another layout than ``v2``.
    """

    def __init__(self, config: D3MESConfig) -> None:
        super().__init__()
        if config.layout != "v2":
            raise ValueError(f"the first guess needs layout v2, got {config.layout!r}")
        self.max_atoms, self.bond_scale = config.max_atoms, config.bond_scale
        codes, bonds, none = bond_codes(config)
        # In float64, and not buffers, so that a network in half precision keeps them.
        self.elements = torch.from_numpy(element_codes(config)[1:])
        self.bonds = torch.cat((torch.from_numpy(codes), torch.from_numpy(none)[None]))
        self.ends = torch.from_numpy(bonds[::ORDERS, :2]).T.contiguous()
        self.incidence = F.one_hot(self.ends, self.max_atoms).sum(dim=0)  # (pairs, max_atoms)
        # An element without valences in the table is not judged by them.
        self.valences = torch.tensor([float(VALENCES.get(z, (math.inf,))[-1]) for z in config.atomic_numbers])
        self.register_buffer("element_counts", torch.zeros(config.rows, len(self.elements)))
        self.register_buffer("bond_counts", torch.zeros(2, config.rows, len(self.bonds)))

    @torch.no_grad()
    def count_(self, image: Tensor, count: Tensor) -> None:
        """Add the codes of clean images (B, C, I, 3) of molecules with ``count`` (B,) atoms to what the prior is of."""
        atoms = atom_rows(count, image.shape[2])
        row = torch.arange(image.shape[2]).expand_as(atoms)
        kinds = _nearest(channels_to_rows(image[:, 1:-1]), self.elements)
        places = (row[atoms], kinds[atoms])
        self.element_counts.index_put_(places, torch.ones(len(places[0])), accumulate=True)
        places = ((~atoms).long().flatten(), row.flatten(), _nearest(image[:, -1], self.bonds).flatten())
        self.bond_counts.index_put_(places, torch.ones(len(places[0])), accumulate=True)

    def forward(self, image: Tensor, alpha_bar: Tensor, count: Tensor) -> Guess:
        """image: (B, C, I, 3), noisy; alpha_bar, count: (B,). Results are at least float32."""
        image = image.to(torch.promote_types(image.dtype, torch.float32))
        bar, bonds, elements = alpha_bar.to(image).view(-1, 1, 1), self.bonds.to(image), self.elements.to(image)
        first, second = self.ends.to(image.device)
        row = torch.arange(image.shape[2], device=image.device)
        prior = _log_share(self.bond_counts)[(row >= count.unsqueeze(-1)).long(), row].to(image)
        absent = (second >= count.unsqueeze(-1)).repeat_interleave(ORDERS, dim=-1).unsqueeze(1)
        prior[..., :-1].masked_fill_(absent, -torch.inf)
        of_atoms, frequent = channels_to_rows(image[:, 1:-1]), _log_share(self.element_counts).to(image)
        kinds, share = _posterior(of_atoms, elements, bar, frequent), _posterior(image[:, -1], bonds, bar, prior)
        taken = self._taken(share)
        kinds, share = (
            _posterior(of_atoms, elements, bar, frequent + self._room_for_atoms(taken, image.shape[2])),
            _posterior(image[:, -1], bonds, bar, prior + self._room_for_bonds(taken, kinds)),
        )
        pairs = share[..., :-1].sum(dim=1).unflatten(-1, (-1, ORDERS))
        matrix = pairs.new_zeros(len(image), self.max_atoms, self.max_atoms, ORDERS)
        matrix[:, first, second] = pairs
        matrix[:, second, first] = pairs
        of_elements = rows_to_channels(kinds @ elements)
        of_bonds = share @ bonds
        bar = bar.unsqueeze(1)
        codes = torch.cat((of_elements, of_bonds.unsqueeze(1)), dim=1)
        of_codes = (image[:, 1:] - bar.sqrt() * codes) / (1 - bar).sqrt()
        noise = torch.cat(((1 - bar).sqrt() * image[:, :1], of_codes), dim=1)
        return Guess(noise, torch.cat((of_bonds / self.bond_scale, share[..., -1:]), dim=-1), matrix)

    def _taken(self, share: Tensor) -> Tensor:
        """(B, I, max_atoms): expected bond order that a row takes of an atom; share: (B, I, bonds + 1)."""
        of_pairs = share[..., :-1].unflatten(-1, (-1, ORDERS)) @ _orders(share)
        return of_pairs @ self.incidence.to(share)

    def _room_for_atoms(self, taken: Tensor, rows: int) -> Tensor:
        """log f (B, I, elements), 0 in rows that are no slot of an atom."""
        room = self.valences.to(taken) + 0.5 - taken.sum(dim=1).unsqueeze(-1)
        return F.pad(F.logsigmoid(room / TOLERANCE), (0, 0, 0, rows - self.max_atoms))

    def _room_for_bonds(self, taken: Tensor, kinds: Tensor) -> Tensor:
        """log of the product over both atoms (B, I, bonds + 1), 0 for no bond; kinds: (B, I, elements)."""
        others = taken.sum(dim=1, keepdim=True) - taken
        needed = others[..., None, None] + _orders(taken)[:, None]
        fits = F.logsigmoid((self.valences.to(taken) + 0.5 - needed) / TOLERANCE)
        fits = (fits + kinds[:, None, : self.max_atoms, None].log()).logsumexp(dim=-1)
        first, second = self.ends.to(taken.device)
        return F.pad((fits[:, :, first] + fits[:, :, second]).flatten(-2), (0, 1))


def _orders(like: Tensor) -> Tensor:
    """1 to 3."""
    return torch.arange(1, ORDERS + 1).to(like)


def _nearest(rows: Tensor, codes: Tensor) -> Tensor:
    """Numbers (B, I) of the codes (E, F) that clean rows (B, I, F) hold."""
    return torch.cdist(rows.to(codes), codes).argmin(dim=-1)


def _log_share(counts: Tensor) -> Tensor:
    """log of (counts + 1) over their sum along the last axis."""
    counts = counts.double() + 1
    return (counts / counts.sum(dim=-1, keepdim=True)).log()


def _posterior(rows: Tensor, codes: Tensor, bar: Tensor, prior: Tensor) -> Tensor:
    """Probabilities (B, I, E) of codes (E, F) given rows (B, I, F), and log probabilities before (..., I, E)."""
    # |x - c|^2 without |x|^2, which all codes share.
    closeness = 2 * bar.sqrt() * (rows @ codes.T) - bar * codes.square().sum(dim=-1)
    return (closeness * (0.5 / (1 - bar)) + prior).softmax(dim=-1)
