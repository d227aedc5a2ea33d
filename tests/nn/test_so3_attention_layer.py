"""The SO(3) attention layer: projections around the operator, for both layouts."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from ditkernels.nn import SO3Attention
from ditkernels.so3_attention import RadialBasis, available_impls, so3_attention
from tests.support.rotations import random_orthogonal, turned

CU_SEQLENS = torch.tensor([0, 3, 5, 6], dtype=torch.int32)
PAIRS = 14


@pytest.fixture(params=available_impls(torch.device("cpu"), torch.float64))
def impl(request):
    return request.param


def layer_of(irreps_in="0+ 1-", irreps_out=None, filter_degrees=2, **options):
    return SO3Attention(
        irreps_in, irreps_out or irreps_in, 8, 2, filter_degrees=filter_degrees, basis_size=6, **options
    ).double()


def inputs(layer, channels=8):
    return torch.randn(6, layer.irreps_in.dim, channels).double(), torch.randn(6, 3).double()


def test_layer_is_the_operator_between_projections(impl):
    layer = layer_of("0+ 1-", "0+ 1+ 1-")
    x, positions = inputs(layer)
    index, scaling = torch.randint(0, 4, (PAIRS,)), torch.rand(4, 2, 6).double()
    q, k, v = (projection(x).view(6, 4, 2, 4) for projection in (layer.query, layer.key, layer.value))
    radial = RadialBasis("bernstein", layer.weight_a, layer.weight_g, index=index, scaling=scaling)
    attended = so3_attention(
        q, k, v, positions, layer.path_weight, radial,
        irreps_qk="0+ 1-", irreps_v="0+ 1-", irreps_out="0+ 1+ 1-", cu_seqlens=CU_SEQLENS, exclude_self=True,
    )  # fmt: skip
    out = layer(x, positions, index=index, scaling=scaling, cu_seqlens=CU_SEQLENS, exclude_self=True, impl=impl)
    assert_close(out, layer.out(attended.reshape(6, 7, 8)))


@pytest.mark.parametrize(
    ("irreps_in", "irreps_out", "degrees", "determinant"),
    [
        ("0+", "0+ 1-", 2, -1),
        ("0+ 1-", "0+ 1-", 2, -1),
        ("0+ 1+ 0- 1-", "0+ 1+ 0- 1-", 2, 1),
        ("0+ 1+ 0- 1-", "0+ 1+ 0- 1-", 2, -1),
        ("0+ 1- 2+", "1-", 3, -1),
        ("0 1 2", "0 1 2", 3, 1),
    ],
)
def test_commutes_with_rotations(irreps_in, irreps_out, degrees, determinant, impl):
    layer = layer_of(irreps_in, irreps_out, degrees)
    x, positions = inputs(layer)
    q = random_orthogonal(5, determinant)
    out = layer(x, positions, cu_seqlens=CU_SEQLENS, impl=impl)
    rotated = layer(turned(x, irreps_in, q), positions @ q.T + 1.5, cu_seqlens=CU_SEQLENS, impl=impl)
    assert_close(rotated, turned(out, irreps_out, q), atol=1e-11, rtol=0)


def test_padded_batch_agrees_with_the_ragged_one(impl):
    layer = layer_of(radial="gaussian", cutoff=5.0)
    x, positions = inputs(layer)
    padded_x, padded_positions = torch.full((3, 3, 4, 8), 7.0).double(), torch.zeros(3, 3, 3).double()
    for b, (start, end) in enumerate(zip(CU_SEQLENS[:-1], CU_SEQLENS[1:], strict=True)):
        padded_x[b, : end - start], padded_positions[b, : end - start] = x[start:end], positions[start:end]
    torch.nn.init.normal_(layer.out.bias)
    ragged = layer(x, positions, cu_seqlens=CU_SEQLENS, impl=impl)
    padded = layer(padded_x, padded_positions, lengths=torch.tensor([3, 2, 1]), impl=impl)
    assert_close(torch.cat((padded[0], padded[1, :2], padded[2, :1])), ragged)


def test_options_reach_the_operator(impl):
    layer = layer_of()
    x, positions = inputs(layer)
    mask = torch.ones(PAIRS, dtype=torch.bool)
    mask[:3] = False
    cutoff = torch.ones(PAIRS).double()
    cutoff[3:6] = 0
    bias = torch.randn(PAIRS, 2).double()
    options = dict(cu_seqlens=CU_SEQLENS, exclude_self=True, impl=impl)
    out = layer(x, positions, mask=mask, bias=bias, cutoff=cutoff, **options)
    assert (out[:2] == 0).all() and (out[5] == 0).all()
    assert (out[2:5].flatten(1) != 0).any(dim=1).all()
    assert not torch.allclose(out[2], layer(x, positions, **options)[2])


@pytest.mark.parametrize("coincide", [False, True])
def test_gradients_are_finite_and_reach_every_parameter(coincide, impl):
    layer = layer_of("0+ 1+ 0- 1-")
    x, positions = inputs(layer)
    if coincide:
        positions[1] = positions[0]
    positions.requires_grad_()
    layer(x, positions, cu_seqlens=CU_SEQLENS, impl=impl).sin().sum().backward()
    for name, parameter in layer.named_parameters():
        assert torch.isfinite(parameter.grad).all() and parameter.grad.abs().sum() > 0, name
    assert torch.isfinite(positions.grad).all()


def test_path_weights_start_with_variance_one_over_the_number_of_paths():
    layer = SO3Attention("0+ 1+ 0- 1-", "0+ 1+ 0- 1-", 512, 8, filter_degrees=2, basis_size=4)
    assert [path.output for path in layer.paths] == [0, 0, 1, 1, 1, 2, 2, 3, 3, 3]
    for row, count in zip(layer.path_weight, [2, 2, 3, 3, 3, 2, 2, 3, 3, 3], strict=True):
        assert abs(row.var().item() * count - 1) < 0.2
        assert row.abs().max() <= 2 / 0.8796 / count**0.5


def test_parameters():
    shapes = {name: tuple(p.shape) for name, p in layer_of("0+", "0+ 1-").named_parameters()}
    assert shapes == {
        "weight_a": (6, 1, 8), "weight_g": (6, 2, 8), "path_weight": (2, 8), "out.weight": (2, 8, 8), "out.bias": (8,),
        "query.weight": (1, 8, 8), "key.weight": (1, 8, 8), "value.weight": (1, 8, 8),
    }  # fmt: skip
    assert layer_of("0+ 1-", "1-").out.bias is None


def test_bfloat16_autocast_stays_close(impl):
    layer = layer_of("0+ 1+ 0- 1-").float()
    x, positions = (value.float() for value in inputs(layer))
    exact = layer(x, positions, cu_seqlens=CU_SEQLENS, impl=impl)
    with torch.autocast("cpu", torch.bfloat16):
        rough = layer(x, positions, cu_seqlens=CU_SEQLENS, impl=impl)
    assert (rough - exact).abs().max() < 0.05 * exact.abs().max()


def test_compiles_to_the_same_numbers(impl):
    layer = layer_of("0+ 1+ 0- 1-", "0+ 1-")
    x, positions = inputs(layer)
    options = dict(cu_seqlens=CU_SEQLENS, exclude_self=True, impl=impl)
    out = torch.compile(layer, backend="aot_eager", fullgraph=True)(x, positions, **options)
    assert_close(out, layer(x, positions, **options))


def test_training_lowers_the_loss(impl):
    layer = layer_of()
    x, positions = inputs(layer)
    target = torch.randn(6, 4, 8).double()
    optimizer = torch.optim.Adam(layer.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        loss = (layer(x, positions, cu_seqlens=CU_SEQLENS, impl=impl) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("0+", "0+", 8, 3), {}, "heads must divide dim = 8, got 3"),
        (("0+", "0+", 8, 2), {"filter_degrees": 4}, "filter_degrees must be 1, 2 or 3, got 4"),
        (("0+", "0+", 8, 2), {"basis_size": 0}, "basis_size must be at least 1, got 0"),
        (("0+", "0+", 8, 2), {"radial": "fourier"}, "radial must be one of bernstein, gaussian, bessel"),
        (
            ("0+", "0+", 8, 2),
            {"radial": "gaussian"},
            "cutoff must be a positive distance .*, got None",
        ),
        (("0+", "0+", 8, 2), {"radial": "bessel", "cutoff": -1.0}, "cutoff must be a positive distance"),
        (("0+", "0+", 8, 2), {"cutoff": 5.0}, "cutoff must be None for radial='bernstein', got 5.0"),
        (("0+", "0-", 8, 2), {}, r"irreps_out must be reachable from 0\+, no path leads to 0-"),
    ],
)
def test_bad_arguments_are_named(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        SO3Attention(*arguments, **{"filter_degrees": 2, "basis_size": 6, **options})


def test_wrong_components_are_named():
    with pytest.raises(ValueError, match=r"x must have shape \(\.\.\., 4, 8\) for irreps 0\+ 1-, got \(6, 3, 8\)"):
        layer_of()(torch.zeros(6, 3, 8).double(), torch.zeros(6, 3).double(), cu_seqlens=CU_SEQLENS)
