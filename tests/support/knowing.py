"""A network of D3MES that knows one molecule of every size up to 5."""

from __future__ import annotations

import torch

from ditkernels.models.d3mes import D3MES
from ditkernels.models.d3mes.diffusion import TRAINING
from tests.support.d3mes import images_of, molecules, small_config

CHAIN = {1: "C", 2: "CO", 3: "CCO", 4: "CC(=O)N", 5: "CCCCC"}


class Knowing(D3MES):
    """Returns the noise that leads to the molecule with the number of atoms, of which that with 5 is in two parts."""

    def __init__(self, classes=2):
        super().__init__(small_config("dtm", classes=classes))
        found = molecules(CHAIN.values())
        self.clean = torch.zeros(10, self.config.channels, self.config.rows, 3)
        for size, image in zip(CHAIN, images_of(found, self.config), strict=True):
            # On a line, near enough for no distance to matter.
            image[0, :size] = torch.arange(size)[:, None] * torch.tensor([1.2, 0.4, 0.1]) / self.config.position_scale
            image[0, :size] -= image[0, :size].mean(0)
            self.clean[size] = image
        self.clean[5, -1, 3] = self.clean[5, -1, 8]
        self.sizes[:] = torch.tensor([0.0, 1, 1, 1, 1, 1, 0, 0, 0, 0])
        self.batches = []

    def forward(self, image, t, label, count, impl="auto"):
        self.batches.append((label.tolist(), count.tolist()))
        bar = TRAINING.alpha_bar[int(t[0])]
        return (image - bar**0.5 * self.clean[count]) / (1 - bar) ** 0.5, torch.full_like(image, -1.0)
