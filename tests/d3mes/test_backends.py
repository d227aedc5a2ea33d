"""The equivariant attention of D3MES on every back-end that works here."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ditkernels.models.d3mes import D3MES
from ditkernels.models.d3mes.config import NAMED
from ditkernels.models.d3mes.diffusion import draw, loss
from ditkernels.so3_attention import available_impls

COUNTS = (5, 1, 9)
FEW = (3, 1)
"""For an interpreter."""
BACKENDS = [name for name in available_impls("cpu") if name != "reference"]


def results(network: D3MES, counts: tuple[int, ...], impl: str) -> list[torch.Tensor]:
    """Loss of every molecule, and the gradients of all weights."""
    generator = torch.Generator().manual_seed(3)
    config = network.config
    image = torch.randn(len(counts), config.channels, config.rows, 3, generator=generator)
    t, noise = draw(image.shape, generator)
    network.zero_grad()
    losses = loss(network, image, torch.arange(len(counts)) % 2, torch.tensor(counts), t, noise, impl=impl)
    losses.sum().backward()
    return [losses.detach(), *(p.grad.clone() for p in network.parameters() if p.grad is not None)]


@pytest.mark.parametrize("impl", BACKENDS)
@pytest.mark.parametrize("name", ["d3mes-so3-p", "d3mes-so3-e"])
def test_loss_and_gradients_are_those_of_the_reference(name, impl):
    small = {"width": 16, "heads": 2, "blocks": 1, "so3_channels": 16, "so3_heads": 2, "basis_size": 8}
    counts = COUNTS
    if impl == "triton":
        counts, small = FEW, small | {"so3_layers": 1}
        if name != "d3mes-so3-e":
            pytest.skip("the interpreter is slow, and the other network has the same layers")
    network = D3MES(replace(NAMED[name], **small))
    with torch.no_grad():  # a new network returns 0 whatever its attention does
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    for found, expected in zip(results(network, counts, impl), results(network, counts, "reference"), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()) + 1e-7)
