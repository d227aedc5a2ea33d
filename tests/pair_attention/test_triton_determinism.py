"""The Triton kernels give equal bits in every run, and for a molecule in any batch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.pair_attention.cases import make_batch
from tests.support.triton import DEVICE, needs_triton, on_device

pytestmark = [needs_triton, pytest.mark.usefixtures("small_blocks")]

SIZES = [9, 1, 0, 8]  # of one, and of two blocks


@pytest.mark.parametrize("variant", ["dense-shared", "table", "projected", "displacement-table"])
def test_equal_bits_in_every_run(variant):
    batch = on_device(make_batch(variant, SIZES, width=8, dtype=torch.float32, mask=True, bias=True))
    cotangent = torch.randn_like(batch.query)
    out, first = batch.gradients("triton", cotangent, exclude_self=True)
    again, second = batch.gradients("triton", cotangent, exclude_self=True)
    assert torch.equal(out, again)
    for name in first:
        assert torch.equal(first[name], second[name]), name


@pytest.mark.parametrize("variant", ["dense", "displacement"])
def test_a_molecule_does_not_depend_on_its_batch(variant):
    """What belongs to an atom or to a pair has equal bits alone and beside larger and smaller molecules."""
    batch = make_batch(variant, [5, 12, 9], width=8, dtype=torch.float32)
    cotangent = torch.randn_like(batch.query)
    tokens, pairs = slice(5, 17), slice(25, 25 + 144)
    alone = replace(
        batch,
        query=batch.query[tokens],
        key=batch.key[tokens],
        value=batch.value[tokens],
        cu_seqlens=torch.tensor([0, 12], dtype=torch.int32),
        pair=replace(batch.pair, positions=batch.pair.positions[tokens])
        if variant == "displacement"
        else replace(batch.pair, a=batch.pair.a[pairs], b=batch.pair.b[pairs]),
    )
    out, found = on_device(batch).gradients("triton", on_device(cotangent))
    own_out, own = on_device(alone).gradients("triton", on_device(cotangent[tokens]))
    assert torch.equal(own_out, out[tokens])
    for name in {"query", "key", "value", "a", "b", "positions"} & set(own):
        of_batch = found[name][pairs if name in "ab" else tokens]
        if name == "positions" and DEVICE == "cpu":
            # The interpreter's matrix products are NumPy's, whose rounding depends on the place of a row.
            torch.testing.assert_close(own[name], of_batch)
        else:
            assert torch.equal(own[name], of_batch), name
