"""The CPU kernels give equal bits in every run and for every number of threads."""

from __future__ import annotations

import pytest
import torch

from ditkernels import _native
from tests.so3_attention.cases import make_batch, symmetric_index

pytestmark = pytest.mark.skipif(not _native.available, reason=str(_native.reason))

# More than one chunk per molecule, more than one group of chunks, unequal sizes.
SIZES = [70, 5, 33, 1, 64, 17]
FORMS = pytest.mark.parametrize("irreps, radial", [("natural-2", "dense"), ("parity-1", "bernstein-scaled")])


@pytest.fixture
def restore_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@FORMS
def test_number_of_threads_does_not_matter(restore_threads, irreps, radial):
    batch = make_batch(irreps, radial, SIZES, width=8, dtype=torch.float32, mask=True, bias=True)
    cotangent = batch.cotangent()
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(batch.gradients("cpu", cotangent, exclude_self=True))
    for out, gradients in results[1:]:
        assert torch.equal(out, results[0][0])
        assert all(torch.equal(gradients[name], results[0][1][name]) for name in gradients)


@FORMS
def test_twenty_runs_on_two_threads(restore_threads, irreps, radial):
    torch.set_num_threads(2)
    batch = make_batch(irreps, radial, [33, 5, 40, 17], width=8, dtype=torch.float32)
    cotangent = batch.cotangent()
    out, gradients = batch.gradients("cpu", cotangent)
    for _ in range(19):
        again, again_gradients = batch.gradients("cpu", cotangent)
        assert torch.equal(again, out)
        assert all(torch.equal(again_gradients[name], gradients[name]) for name in gradients)


@pytest.mark.parametrize("sizes", [[40, 11, 40, 17, 33], [150, 3, 5, 1]], ids=["small", "large"])
@pytest.mark.parametrize("symmetric", [True, False])
@FORMS
def test_a_molecule_does_not_depend_on_its_batch(irreps, radial, symmetric, sizes):
    """Alone or beside others a molecule's output has equal bits: also where the batch decides that both directions of
    a pair share their radial weights (molecules in one piece) or do not (a single molecule is split).
    """
    batch = make_batch(irreps, radial, sizes, width=8, dtype=torch.float32)
    if symmetric and radial != "dense":
        batch = symmetric_index(batch)
    assert torch.equal(batch.molecule(0).run("cpu"), batch.run("cpu")[: sizes[0]])
