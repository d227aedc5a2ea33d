"""Triton kernels: rows of padding and of forbidden pairs hold NaN and indices out of range, and nothing shows it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ditkernels import so3_attention
from ditkernels.layout import Layout
from ditkernels.so3_attention.impl import reference
from tests.so3_attention.cases import PAIR_FIELDS, make_batch
from tests.support.layouts import pad
from tests.support.triton import needs_triton, on_device

pytestmark = [needs_triton, pytest.mark.usefixtures("small_blocks")]

SIZES = [5, 0, 2]  # padded to 5 atoms: two blocks, the second nearly empty
FORMS = pytest.mark.parametrize("radial", ["dense", "bernstein-scaled"])
TOKEN_ROWS = ("query", "key", "value", "positions")
PAIR_ROWS = ("mask", "bias", *PAIR_FIELDS)


def assert_close(found: torch.Tensor, exact: torch.Tensor, name: str) -> None:
    """Within rounding of float64, relative to the largest element."""
    assert (found.cpu() - exact).abs().max() <= 2e-5 * exact.abs().max().clamp(min=1e-3), name


def padded(name: str, x):
    rows = x is not None and name in (*TOKEN_ROWS, *PAIR_ROWS)
    return pad(x, SIZES, name in PAIR_ROWS) if rows else x


def pad_batch(batch):
    """The batch in padded form; its cu_seqlens stays that of the ragged one."""
    own = {name: padded(name, getattr(batch, name)) for name in (*TOKEN_ROWS, "mask", "bias")}
    return replace(
        batch, **own, radial=replace(batch.radial, **{n: padded(n, x) for n, x in vars(batch.radial).items()})
    )


@pytest.mark.parametrize("options", [False, True], ids=["plain", "mask-bias-exclude"])
@FORMS
def test_padding_holds_anything_and_gets_zeros(radial, options):
    batch = make_batch("natural-1", radial, SIZES, heads=1, width=16, dtype=torch.float32, mask=options, bias=options)
    cotangent = torch.randn(len(SIZES), max(SIZES), 4, 1, 16)
    ragged = torch.cat([cotangent[b, :n] for b, n in enumerate(SIZES)])
    expected, wanted = batch.to(torch.float64).gradients("reference", ragged.double(), exclude_self=options)

    given = on_device(pad_batch(batch)).requires_grad()
    tokens = (given.query, given.key, given.value, given.positions, given.path_weight, given.radial)
    places = {"lengths": on_device(torch.tensor(SIZES)), "mask": given.mask, "bias": given.bias}
    qk, values, outputs = given.irreps
    irreps = {"irreps_qk": qk, "irreps_v": values, "irreps_out": outputs}
    out = so3_attention(*tokens, **irreps, **places, exclude_self=options, impl="triton")
    leaves = given.leaves()
    found = torch.autograd.grad(out, list(leaves.values()), on_device(cotangent))

    def same(name, x, exact):
        exact = padded(name, exact)
        if name in (*TOKEN_ROWS, *PAIR_ROWS):
            assert (x.cpu()[exact.isnan()] == 0).all(), name  # also says that nothing there is NaN
        outside = exact.isnan()
        assert_close(x.cpu().masked_fill(outside, 0), exact.masked_fill(outside, 0), name)

    same("query", out.detach(), expected)
    for name, x in zip(leaves, found, strict=True):
        same(name, x, wanted[name])


@FORMS
def test_forbidden_pairs_hold_anything(radial):
    """Also their bias, and also where a whole receiver is forbidden."""
    batch = make_batch("natural-1", radial, [6, 2], heads=1, width=16, dtype=torch.float32, bias=True)
    mask = torch.rand(40) > 0.3
    mask[6:12] = False
    batch = replace(batch, mask=mask)
    cotangent = batch.cotangent()
    expected, wanted = batch.to(torch.float64).gradients("reference", cotangent.double())

    def poisoned(x):
        bad = torch.nan if x.is_floating_point() else 99
        return torch.where(mask.reshape(-1, *[1] * (x.dim() - 1)), x, torch.full_like(x, bad))

    rows = {name: poisoned(x) for name, x in vars(batch.radial).items() if name in PAIR_FIELDS and x is not None}
    given = on_device(replace(batch, radial=replace(batch.radial, **rows), bias=poisoned(batch.bias)))
    out, found = given.gradients("triton", on_device(cotangent))
    assert (out[1] == 0).all()
    assert_close(out, expected, "out")
    for name, exact in wanted.items():
        assert_close(found[name], exact, name)
        if name in ("bias", *rows):
            assert (found[name][~mask.to(found[name].device)] == 0).all(), name


@FORMS
def test_bias_of_minus_infinity_closes_a_pair(radial):
    """No weight, no gradient, no NaN; also where it closes all pairs of a receiver, or those of one head."""
    batch = make_batch("first-block", radial, [2, 5], heads=2, width=8, dtype=torch.float32, bias=True)
    closed = torch.rand_like(batch.bias) < 0.3
    closed[:2] = True
    closed[4:9, 0] = True
    closed[4:6, 1] = False
    batch = replace(batch, bias=batch.bias.masked_fill(closed, -torch.inf))
    cotangent = batch.cotangent()
    expected, wanted = batch.to(torch.float64).gradients("reference", cotangent.double())
    out, found = on_device(batch).gradients("triton", on_device(cotangent))
    assert (out[0] == 0).all() and (out[2, :, 0] == 0).all() and (out[2, :, 1] != 0).any()
    assert_close(out, expected, "out")
    for name, exact in wanted.items():
        assert_close(found[name], exact, name)


@pytest.mark.parametrize("pad_rows", [False, True], ids=["ragged", "padded"])
def test_lse_is_that_of_the_reference(pad_rows):
    """Minus infinity for padding and for a receiver without an allowed sender."""
    batch = make_batch("natural-1", "dense", SIZES if pad_rows else [5, 1, 2], heads=1, width=16, dtype=torch.float32)
    layout = Layout.ragged(batch.cu_seqlens, batch.query.shape[0])
    if pad_rows:
        layout = Layout.padded(len(SIZES), max(SIZES), torch.tensor(SIZES), torch.device("cpu"))
        batch = pad_batch(batch)
    tokens = [x.reshape(-1, 4, 1, 16) for x in (batch.query, batch.key, batch.value)]
    pairs = [x.reshape(-1, 2, 16) for x in (batch.radial.a, batch.radial.g)]
    fields = (batch.positions.reshape(-1, 3), batch.path_weight, *pairs)
    places = (layout.offsets, layout.lengths, layout.pair_offsets, layout.pair_stride)
    statics = (0.3, True, "|".join(batch.irreps), "", 0.0)
    _, expected = reference.attention("dense", *tokens, fields, *places, None, None, *statics)
    given = [on_device(x) if isinstance(x, torch.Tensor) else x for x in (*tokens, *fields, *places)]
    _, lse = torch.ops.ditkernels.so3_attention_dense(*given, None, None, *statics, "triton")
    assert lse.dtype == torch.float32 and (expected == -torch.inf).any()
    torch.testing.assert_close(lse.cpu(), expected)
