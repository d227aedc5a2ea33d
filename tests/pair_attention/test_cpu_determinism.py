"""The CPU kernels give equal bits in every run and for every number of threads."""

from __future__ import annotations

import pytest
import torch

from ditkernels import _native
from tests.pair_attention.cases import make_batch

pytestmark = pytest.mark.skipif(not _native.available, reason=str(_native.reason))

# More than one chunk per molecule, more than one group of chunks, unequal sizes.
SIZES = [70, 5, 33, 1, 64, 17]


@pytest.fixture
def restore_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("variant", ["dense", "table", "projected", "displacement-table"])
def test_number_of_threads_does_not_matter(restore_threads, variant):
    batch = make_batch(variant, SIZES, heads=2, width=8, dtype=torch.float32, mask=True, bias=True)
    cotangent = torch.randn_like(batch.query)
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(batch.gradients("cpu", cotangent, exclude_self=True))
    for out, gradients in results[1:]:
        assert torch.equal(out, results[0][0])
        assert all(torch.equal(gradients[name], results[0][1][name]) for name in gradients)


@pytest.mark.parametrize("variant", ["dense-shared", "table", "projected", "displacement-table"])
def test_twenty_runs_on_two_threads(restore_threads, variant):
    torch.set_num_threads(2)
    batch = make_batch(variant, SIZES, heads=2, width=8, dtype=torch.float32)
    cotangent = torch.randn_like(batch.query)
    out, gradients = batch.gradients("cpu", cotangent)
    for _ in range(19):
        again, again_gradients = batch.gradients("cpu", cotangent)
        assert torch.equal(again, out)
        assert all(torch.equal(again_gradients[name], gradients[name]) for name in gradients)


@pytest.mark.parametrize("variant", ["dense", "table"])
def test_a_molecule_does_not_depend_on_its_batch(variant):
    """Alone or beside others, in whatever chunks, a molecule's output has equal bits."""
    batch = make_batch(variant, [40, 40], heads=2, width=8, dtype=torch.float32)
    out = batch.run("cpu")
    pairs = 40 * 40

    tensors = vars(batch.pair).values()
    pair = type(batch.pair)(*(x[:pairs] if x.shape[0] == 2 * pairs else x for x in tensors))
    alone = type(batch)(batch.query[:40], batch.key[:40], batch.value[:40], pair, batch.cu_seqlens[:2])
    assert torch.equal(alone.run("cpu"), out[:40])
