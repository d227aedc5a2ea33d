"""The network of D3MES (arXiv 2501.07077): attention on atoms, patches, diffusion transformer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ditkernels.models.d3mes.config import D3MESConfig
from ditkernels.models.d3mes.diffusion import TRAINING
from ditkernels.models.d3mes.dit import Conditioning, DiT
from ditkernels.models.d3mes.equivariant import Atoms, SO3Decoder, SO3Encoder
from ditkernels.models.d3mes.guess import FirstGuess, Guess
from ditkernels.models.d3mes.image import ORDERS, channels_to_rows, padding, rows_to_channels
from ditkernels.models.d3mes.masks import atom_rows, centred, generated
from ditkernels.models.d3mes.patches import grid_positions, line_positions, patchify, unpatchify
from ditkernels.models.d3mes.ring import RingAttention

COLUMNS = 3
INDEX_CODE = 16
"""Numbers that tell the equivariant attention which row an atom stands in: the list is ordered, bonds name its rows."""


class D3MES(nn.Module):
    r"""Noise and variance of a noisy image.

    With ``prediction="correction"`` the noise is a first guess (:mod:`ditkernels.models.d3mes.guess`) and
    :math:`\sqrt{\bar\alpha_t}\, F` with the network F: for the positions this is the velocity of Salimans and Ho
    (arXiv 2202.00512), whose x_0 is not the small difference of two large numbers where there is much noise; for
    elements and bonds, F is small where the nearest code is clear. Else the noise is F.

    The equivariant attention sees positions, elements, the bond row and the place in the list of every atom, c, and
    the bonds of the first guess: their sums per atom and, as biases, those of every pair.

    With ``attention="so3-front"`` it adds to positions and elements before the image is cut into patches,
    R' = R + W_1 V, E' = E + W_0 s; the transformer is not equivariant. With ``"so3-end"`` a token holds invariants
    only: s, elements, bonds and their guess; the transformer returns noise and variance of elements and bonds, one
    variance for the positions of a molecule (the mean over its atoms), and shifts and gates of the scalars and vectors
    of every atom, from which more equivariant attention makes the noise of the positions. F of a new network is 0.

    ``sizes`` (classes, max_atoms + 1) counts the training molecules by label and number of atoms (``v2``).

    config: see D3MESConfig.
    """

    def __init__(self, config: D3MESConfig) -> None:
        super().__init__()
        self.config = config
        rows, per_row = config.patch_rows, COLUMNS * config.channels
        self.conditioning = Conditioning(config.width, config.null_label)
        positions = (line_positions if config.layout == "v2" else grid_positions)(config.tokens, config.width)
        inputs = outputs = rows * per_row
        outputs *= 2
        # Not a buffer, so that a network in half precision keeps it in float64.
        self.alpha_bar = torch.from_numpy(TRAINING.alpha_bar)
        if config.masked:
            self.register_buffer("sizes", torch.zeros(config.classes, config.max_atoms + 1))
            self.register_buffer("padding", padding(config), persistent=False)
            self.guess = FirstGuess(config)
        if config.attention == "code":
            self.ring = RingAttention()
        if config.so3:
            width, self.elements = config.so3_channels, COLUMNS * config.element_channels
            sizes = {
                "layers": config.so3_layers,
                "channels": width,
                "condition": config.width,
                "heads": config.so3_heads,
                "basis_size": config.basis_size,
                "cutoff": config.cutoff,
            }
            self.register_buffer("index_code", line_positions(config.rows, INDEX_CODE), persistent=False)
            self.encoder = SO3Encoder(self.elements + COLUMNS + INDEX_CODE + ORDERS + config.width, **sizes)
            if config.attention == "so3-front":
                self.to_positions = nn.Linear(width, 1, bias=False)
                self.to_elements = nn.Linear(width, self.elements, bias=False)
            else:
                inputs = rows * (width + self.elements + 2 * COLUMNS + 1)
                outputs = rows * (2 * (self.elements + COLUMNS) + 2 * width + 1)
                self.decoder = SO3Decoder(**sizes)
        self.transformer = DiT(inputs, outputs, positions, config.blocks, config.heads)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initial values as each part documents them."""
        self.conditioning.time.reset_parameters()
        self.conditioning.reset_parameters()
        self.transformer.reset_parameters()
        if self.config.attention == "code":
            self.ring.reset_parameters()
        if self.config.so3:
            self.encoder.reset_parameters()
        if self.config.attention == "so3-front":
            nn.init.zeros_(self.to_positions.weight)
            nn.init.zeros_(self.to_elements.weight)
        if self.config.attention == "so3-end":
            self.decoder.reset_parameters()

    def forward(
        self, image: Tensor, t: Tensor, label: Tensor, count: Tensor | None = None, impl: str = "auto"
    ) -> tuple[Tensor, Tensor]:
        """Noise and variance weights v, both (B, C, I, 3); ``log sigma^2`` is interpolated by (v + 1) / 2.

        image: (B, C, I, 3), noisy. t: (B,) step 0 to 999. label: (B,) int64, ``config.null_label`` for none.
        count: (B,) int64, numbers of atoms; in the layout ``v2`` only, where noise is 0 on padding rows and has zero
        mean over the positions of the atoms. impl: back-end of the equivariant attention.

        Raises ValueError for wrong shapes.
        """
        self._check(image, t, label, count)
        mask = generated(count, self.config).to(image.device)
        if self.config.masked:
            image = centred(torch.where(mask, image, 0.0), mask, self.config) + torch.where(mask, 0.0, self.padding)
        condition, alpha_bar = self.conditioning(t, label), self.alpha_bar.to(t.device)[t]
        guess = self.guess(image, alpha_bar, count) if self.config.masked else None
        if self.config.attention == "so3-end":
            noise, variance = self._invariant(image, condition, guess, count, impl)
        else:
            noise, variance = self._patches(self._front(image, condition, guess, count, impl), condition)
        if self.config.prediction == "correction":
            noise = guess.noise + alpha_bar.to(guess.noise).sqrt().view(-1, 1, 1, 1) * noise
        return centred(noise.to(image.dtype), mask, self.config), variance

    def _patches(self, image: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        rows = self.config.patch_rows
        tokens = self.transformer(patchify(image, rows), condition)
        return unpatchify(tokens, rows, COLUMNS).chunk(2, dim=1)

    def _front(self, image: Tensor, condition: Tensor, guess: Guess | None, count: Tensor | None, impl: str) -> Tensor:
        if self.config.attention == "code":
            return torch.cat((self.ring(image[:, 0], image[:, 2]).unsqueeze(1), image[:, 1:]), dim=1)
        if self.config.attention == "none":
            return image
        scalars, vectors, stands, _ = self._encode(image, condition, guess, count, impl)
        positions = image[:, 0] + _unpack(self.to_positions(vectors).squeeze(-1), stands)
        elements = channels_to_rows(image[:, 1:-1]) + _unpack(self.to_elements(scalars), stands)
        return torch.cat((positions.unsqueeze(1), rows_to_channels(elements), image[:, -1:]), dim=1)

    def _invariant(
        self, image: Tensor, condition: Tensor, guess: Guess, count: Tensor, impl: str
    ) -> tuple[Tensor, Tensor]:
        rows, elements = self.config.patch_rows, self.elements
        scalars, vectors, stands, atoms = self._encode(image, condition, guess, count, impl)
        of_rows = channels_to_rows(image[:, 1:]), guess.rows.to(image.dtype)
        features = torch.cat((_unpack(scalars, stands), *of_rows), dim=-1)
        tokens = self.transformer(features.unflatten(1, (-1, rows)).flatten(-2), condition)
        found = tokens.unflatten(-1, (rows, -1)).flatten(1, 2)
        width = scalars.shape[-1]
        noise, variance, shift, gate, position_variance = found.split(
            (elements + COLUMNS, elements + COLUMNS, width, width, 1), dim=-1
        )
        moved = self.decoder(scalars, vectors, shift[stands], gate[stands], condition, atoms, impl)
        shared = (position_variance.squeeze(-1) * stands).sum(-1) / stands.sum(-1).clamp(min=1)
        positions = _unpack(moved, stands).unsqueeze(1)
        shared = shared[:, None, None, None].expand_as(positions)
        noise = torch.cat((positions, rows_to_channels(noise)), dim=1)
        return noise, torch.cat((shared, rows_to_channels(variance)), dim=1)

    def _encode(
        self, image: Tensor, condition: Tensor, guess: Guess, count: Tensor, impl: str
    ) -> tuple[Tensor, Tensor, Tensor, Atoms]:
        """Scalars (T, C), vectors (T, 3, C), the rows (B, I) bool where the atoms stand, and the atoms."""
        stands = atom_rows(count, self.config.rows)
        slots = atom_rows(count, self.config.max_atoms)
        molecule, bonds = stands.nonzero()[:, 0], guess.bonds.to(image.dtype)
        rows = torch.cat((channels_to_rows(image[:, 1:]), self.index_code.expand(len(image), -1, -1)), dim=-1)
        invariants = torch.cat((rows[stands], bonds.sum(dim=2)[slots], condition[molecule]), dim=-1)
        positions = image[:, 0][stands]
        atoms = Atoms(
            positions * self.config.position_scale,
            molecule,
            F.pad(count.cumsum(0), (1, 0)),
            bonds[slots.unsqueeze(1) & slots.unsqueeze(2)],
        )
        return *self.encoder(invariants, positions, condition, atoms, impl), stands, atoms

    def _check(self, image: Tensor, t: Tensor, label: Tensor, count: Tensor | None) -> None:
        config = self.config
        batch = image.shape[0] if image.dim() else 0
        if tuple(image.shape[1:]) != (config.channels, config.rows, COLUMNS):
            expected = f"(B, {config.channels}, {config.rows}, {COLUMNS})"
            raise ValueError(f"image must have shape {expected}, got {tuple(image.shape)}")
        given = {"t": t, "label": label} | ({"count": count} if config.masked else {})
        for name, value in given.items():
            if value is None or tuple(value.shape) != (batch,):
                shape = None if value is None else tuple(value.shape)
                raise ValueError(f"{name} must have shape ({batch},), got {shape}")


def _unpack(values: Tensor, atoms: Tensor) -> Tensor:
    """Values (T, F) of atoms into their rows: (B, I, F), 0 elsewhere."""
    return values.new_zeros(*atoms.shape, values.shape[-1]).masked_scatter(atoms.unsqueeze(-1), values)
