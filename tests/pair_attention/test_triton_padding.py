"""Triton kernels: rows of padding and of forbidden pairs hold NaN and indices out of range, and nothing shows it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ditkernels import pair_attention
from ditkernels.layout import Layout
from ditkernels.pair_attention.descriptors import FORMS, tensors
from ditkernels.pair_attention.impl import reference
from tests.pair_attention.cases import VARIANTS, make_batch
from tests.support.layouts import pad
from tests.support.triton import needs_triton, on_device

pytestmark = [needs_triton, pytest.mark.usefixtures("small_blocks")]

SIZES = [9, 0, 4]  # padded to 9 atoms: two blocks of senders, the second nearly empty


def assert_close(found: torch.Tensor, exact: torch.Tensor, name: str) -> None:
    """Within rounding of float64, relative to the largest element."""
    assert (found.cpu() - exact).abs().max() <= 2e-5 * exact.abs().max().clamp(min=1e-3), name


def rows_of(batch) -> dict[str, str]:
    """Which tensors have a row per token ("T") or per pair ("P")."""
    named = {"query": "T", "key": "T", "value": "T", "mask": "P", "bias": "P"}
    return named | {field.name: field.rows for field in FORMS[batch.pair.form] if field.rows in ("T", "P")}


def padded(batch):
    rows = rows_of(batch)

    def one(name, x):
        return x if x is None or name not in rows else pad(x, batch.sizes, rows[name] == "P")

    tokens = {name: one(name, getattr(batch, name)) for name in ("query", "key", "value", "mask", "bias")}
    pair = replace(batch.pair, **{name: one(name, x) for name, x in vars(batch.pair).items()})
    return replace(batch, **tokens, pair=pair)


def gradients(batch, cotangent, **options):
    """Output and gradients of the padded batch, which keeps the ragged boundaries in cu_seqlens."""
    lengths = torch.tensor(SIZES, dtype=torch.int32)
    given = on_device(padded(batch).requires_grad())
    leaves = {name: x.detach().requires_grad_() for name, x in given.leaves().items()}
    given = given.with_leaves(leaves)
    places = {"lengths": on_device(lengths), "mask": given.mask, "bias": given.bias}
    out = pair_attention(given.query, given.key, given.value, given.pair, impl="triton", **places, **options)
    found = torch.autograd.grad(out, list(leaves.values()), on_device(cotangent))
    return out.detach().cpu(), {name: x.cpu() for name, x in zip(leaves, found, strict=True)}


PLAIN = ("dense", "dense-shared", "table", "projected", "displacement-table")


@pytest.mark.parametrize(
    ("variant", "options"),
    [*((variant, False) for variant in PLAIN), *((variant, True) for variant in VARIANTS)],
    ids=lambda x: x if isinstance(x, str) else "mask-bias-exclude" if x else "plain",
)
def test_padding_holds_anything_and_gets_zeros(variant, options):
    batch = make_batch(variant, SIZES, width=8, dtype=torch.float32, mask=options, bias=options)
    cotangent = torch.randn(len(SIZES), max(SIZES), 2, 8)
    ragged = torch.cat([cotangent[b, :n] for b, n in enumerate(SIZES)])
    expected, wanted = batch.to(torch.float64).gradients("reference", ragged.double(), exclude_self=options)
    out, found = gradients(batch, cotangent, exclude_self=options)
    rows = rows_of(batch)

    def same(name, x, exact):
        if name in rows:
            exact = pad(exact, SIZES, rows[name] == "P")
            assert (x[exact.isnan()] == 0).all(), name  # also says that nothing there is NaN
            exact = exact.nan_to_num(0.0)
        assert_close(x, exact, name)

    same("query", out, expected)
    for name, exact in wanted.items():
        same(name, found[name], exact)


@pytest.mark.parametrize("variant", ["dense", "dense-shared", "projected", "table", "displacement-table"])
def test_forbidden_pairs_hold_anything(variant):
    """Also their bias, and also where a whole receiver is forbidden."""
    batch = make_batch(variant, [10, 3], width=8, dtype=torch.float32, bias=True)
    mask = torch.rand(109) > 0.3
    mask[10:20] = False
    batch = replace(batch, mask=mask)
    cotangent = torch.randn_like(batch.query)
    expected, wanted = batch.to(torch.float64).gradients("reference", cotangent.double())

    def poisoned(x):
        bad = torch.nan if x.is_floating_point() else 99
        return torch.where(mask.reshape(-1, *[1] * (x.dim() - 1)), x, torch.full_like(x, bad))

    rows = {name for name, kind in rows_of(batch).items() if kind == "P"}
    pair = replace(batch.pair, **{n: poisoned(x) for n, x in vars(batch.pair).items() if n in rows and x is not None})
    given = on_device(replace(batch, pair=pair, bias=poisoned(batch.bias)))
    out, found = given.gradients("triton", on_device(cotangent))
    assert (out[1] == 0).all()
    assert_close(out, expected, "out")
    for name, exact in wanted.items():
        assert_close(found[name], exact, name)
        if name in rows:
            assert (found[name][~mask.to(found[name].device)] == 0).all(), name


@pytest.mark.parametrize("variant", ["dense", "table", "displacement-table"])
def test_bias_of_minus_infinity_closes_a_pair(variant):
    """No weight, no gradient, no NaN; also where it closes all pairs of a receiver, or those of one head."""
    batch = make_batch(variant, [3, 10], width=8, dtype=torch.float32, bias=True)
    closed = torch.rand_like(batch.bias) < 0.3
    closed[:3] = True
    closed[9:19, 0] = True
    batch = replace(batch, bias=batch.bias.masked_fill(closed, -torch.inf))
    cotangent = torch.randn_like(batch.query)
    expected, wanted = batch.to(torch.float64).gradients("reference", cotangent.double())
    out, found = on_device(batch).gradients("triton", on_device(cotangent))
    assert (out[0] == 0).all() and (out[3, 0] == 0).all() and (out[3, 1] != 0).any()
    assert_close(out, expected, "out")
    for name, exact in wanted.items():
        assert_close(found[name], exact, name)


@pytest.mark.parametrize("pad_rows", [False, True], ids=["ragged", "padded"])
def test_lse_is_that_of_the_reference(pad_rows):
    """Minus infinity for padding and for a receiver without an allowed sender."""
    batch = make_batch("dense", [9, 1, 4] if not pad_rows else SIZES, width=8, dtype=torch.float32)
    tokens = batch.query.shape[0]
    layout = Layout.ragged(batch.cu_seqlens, tokens)
    if pad_rows:
        layout = Layout.padded(len(SIZES), max(SIZES), torch.tensor(SIZES), torch.device("cpu"))
        batch = padded(batch)
    flat = [x.reshape(-1, 2, 8) for x in (batch.query, batch.key, batch.value)]
    fields = [x.reshape(-1, 16) for x in tensors(batch.pair)]
    places = (layout.offsets, layout.lengths, layout.pair_offsets, layout.pair_stride)
    _, expected = reference.attention("dense", *flat, tuple(fields), *places, None, None, 0.3, True)
    given = [on_device(x) if isinstance(x, torch.Tensor) else x for x in (*flat, *fields, *places)]
    _, lse = torch.ops.ditkernels.pair_attention_dense(*given, None, None, 0.3, True, "triton")
    assert lse.dtype == torch.float32 and (expected == -torch.inf).any()
    torch.testing.assert_close(lse.cpu(), expected)
