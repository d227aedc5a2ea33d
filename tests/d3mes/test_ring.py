"""The attention of the released program, against its definition molecule by molecule and edge by edge."""

from __future__ import annotations

import torch
from torch.testing import assert_close

from ditkernels.models.d3mes.diffusion import draw, loss
from ditkernels.models.d3mes.ring import RingAttention
from tests.support.d3mes import images_of, molecules, small_network


def ring():
    module = RingAttention().double()
    module.reset_parameters()
    return module


def test_rows_follow_from_the_row_before():
    module, (positions, bonds) = ring(), torch.randn(2, 3, 8, 3, dtype=torch.float64)
    updated = module(positions, bonds)
    for b in range(3):
        for i in range(8):
            receiver = (i + 1) % 8
            value = module.radial(bonds[b, i])[:3] @ positions[b, i]
            expected = module.project @ torch.cat((value.view(1), positions[b, receiver]))
            assert_close(updated[b, receiver], expected)


def test_queries_and_keys_have_no_influence():
    module, (positions, bonds) = ring(), torch.randn(2, 3, 8, 3, dtype=torch.float64)
    before = module(positions, bonds)
    with torch.no_grad():
        module.query.normal_()
        module.radial[-1].weight[3:].normal_()
        assert torch.equal(module(positions, bonds), before)


def test_queries_and_keys_have_no_gradient():
    model = small_network("code")
    image = images_of(molecules(), model.config).double()
    t, noise = draw(image.shape, torch.Generator().manual_seed(0))
    loss(model, image, torch.zeros_like(t), None, t, noise.double()).sum().backward()
    assert not model.ring.query.grad.any()
    values, keys = model.ring.radial[-1].weight.grad.split(3)
    assert not keys.any() and values.any()
    assert model.ring.project.grad.any()
