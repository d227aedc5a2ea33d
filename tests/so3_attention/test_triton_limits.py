"""What the Triton kernels refuse, the smallest and strangest inputs that they take, determinism, and memory."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ditkernels import so3_attention
from ditkernels.so3_attention.descriptors import FORMS
from ditkernels.so3_attention.impl import BACKENDS, triton
from tests.so3_attention.cases import make_batch
from tests.support.triton import DEVICE, needs_triton, on_device

RADIALS = pytest.mark.parametrize("radial", ["dense", "bernstein-scaled", "gaussian"])


@needs_triton
@pytest.mark.parametrize("form", FORMS)
def test_what_runs_and_what_is_refused_with_a_remedy(form):
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        assert triton.unsupported(form, torch.device(DEVICE), dtype) is None
    assert "use float32" in triton.unsupported(form, torch.device(DEVICE), torch.float64)
    assert triton.unsupported(form, torch.device("meta"), torch.float32) is not None


@needs_triton
def test_the_cpu_is_refused_outside_the_interpreter(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(RuntimeError, match=r"impl='triton' cannot run .*need a GPU; move the tensors"):
        make_batch("scalars", "dense", [3], dtype=torch.float32).run("triton")


def test_the_package_can_be_imported_without_triton():
    """PyTorch imports it on its own account, where it can."""
    assert list(BACKENDS) == ["cpu", "triton"]
    code = "import sys; sys.modules['triton'] = None; import ditkernels.so3_attention.impl.triton"
    subprocess.run([sys.executable, "-c", code], check=True)


@needs_triton
@pytest.mark.usefixtures("large_blocks")
def test_an_index_of_bytes_counts_beyond_127():
    batch = make_batch("first-block", "gaussian-scaled", [3], heads=1, width=16, dtype=torch.float32)
    index = torch.randint(200, 256, (9,), dtype=torch.uint8)
    batch = replace(batch, radial=replace(batch.radial, index=index, scaling=torch.randn(256, 2, 4)))
    cotangent = batch.cotangent()
    expected, wanted = batch.to(torch.float64).gradients("reference", cotangent.double())
    out, found = on_device(batch).gradients("triton", on_device(cotangent))
    assert (out.cpu() - expected).abs().max() < 2e-5 * expected.abs().max()
    assert (found["scaling"].cpu() - wanted["scaling"]).abs().max() < 2e-5 * wanted["scaling"].abs().max()


@needs_triton
@pytest.mark.parametrize("sizes", [[], [0, 0]], ids=str)
@RADIALS
def test_no_atoms_at_all(radial, sizes):
    batch = make_batch("natural-1", radial, sizes, width=8, dtype=torch.float32, bias=True)
    out, found = on_device(batch).gradients("triton", on_device(batch.cotangent()))
    assert out.shape == (0, 4, 2, 8)
    for name, leaf in batch.leaves().items():
        assert found[name].shape == leaf.shape and (found[name] == 0).all(), name


@needs_triton
@RADIALS
def test_a_single_atom_that_may_not_see_itself(radial):
    batch = make_batch("natural-1", radial, [1], heads=1, width=16, dtype=torch.float32, bias=True)
    out, found = on_device(batch).gradients("triton", on_device(batch.cotangent()), exclude_self=True)
    for name, x in {"out": out, **found}.items():
        assert (x == 0).all(), name


@needs_triton
@pytest.mark.parametrize("name", ["query", "value", "positions"])
def test_nan_is_not_hidden(name):
    batch = make_batch("natural-1", "bernstein", [3], heads=1, width=16, dtype=torch.float32)
    out = on_device(replace(batch, **{name: torch.full_like(getattr(batch, name), torch.nan)})).run("triton")
    assert out[:, 1:].isnan().all()


@needs_triton
def test_large_logits_do_not_overflow():
    batch = make_batch("natural-1", "bernstein", [5], heads=1, width=16, dtype=torch.float32)
    batch = batch.with_leaves({"query": batch.query * 1000})
    out, found = on_device(batch).gradients("triton", on_device(batch.cotangent()))
    assert out.isfinite().all() and all(x.isfinite().all() for x in found.values())


@needs_triton
def test_tokens_and_gradients_may_have_any_strides():
    """A sum's gradient arrives with stride 0."""
    batch = on_device(make_batch("first-block", "dense", [3, 2], heads=1, width=16, dtype=torch.float32))
    parts = torch.cat([batch.query, batch.key, batch.value], dim=-1).chunk(3, dim=-1)
    assert not parts[0].is_contiguous()
    qk, values, outputs = batch.irreps
    out = so3_attention(
        *parts,
        batch.positions,
        batch.path_weight,
        batch.radial,
        irreps_qk=qk,
        irreps_v=values,
        irreps_out=outputs,
        cu_seqlens=batch.cu_seqlens,
        impl="triton",
    )
    assert torch.equal(out, batch.run("triton"))
    leaf = batch.query.clone().requires_grad_()
    (found,) = torch.autograd.grad(replace(batch, query=leaf).run("triton").sum(), leaf)
    _, wanted = batch.gradients("triton", torch.ones_like(out))
    assert torch.equal(found, wanted["query"])


@needs_triton
@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("radial", ["dense", "bernstein-scaled"])
def test_equal_bits_in_two_runs(radial):
    batch = on_device(make_batch("first-block", radial, [5], heads=1, width=16, dtype=torch.float32, mask=True))
    cotangent = on_device(batch.cotangent())
    out, gradients = batch.gradients("triton", cotangent)
    again, again_gradients = batch.gradients("triton", cotangent)
    assert torch.equal(again, out)
    assert all(torch.equal(again_gradients[name], gradients[name]) for name in gradients)


class Largest(TorchDispatchMode):
    """Remembers the bytes of the largest tensor that any operation returns."""

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves(result) if isinstance(x, torch.Tensor)]
        self.bytes = max([self.bytes, *(x.numel() * x.element_size() for x in tensors)])
        return result


@needs_triton
@pytest.mark.parametrize("irreps", ["L = 1", "L = 2"])
def test_nothing_of_pairs_times_channels_is_allocated(irreps):
    """Every gradient is asked for; with "meta" tensors the launchers do all but run kernels."""
    from ditkernels.triton.launch import recorded
    from ditkernels.tuning.problems import Problem, call

    problem = Problem("so3_attention", "basis", torch.float32, irreps, molecules=4, atoms=180)
    given = call(problem, "meta")
    differentiable = (*(field.differentiable for field in FORMS["basis"]), False)
    assert differentiable == (True, True, True, True, False, True, False)
    given = replace(given, needs=differentiable)
    with Largest() as largest, recorded() as launches:
        out, lse = given.forward()
        gradients = given.backward(out, lse)
    assert len(launches) > 5 and len(gradients) == 3 + 5
    assert 0 < largest.bytes < problem.pairs * problem.channels * 4 / 4


@needs_triton
def test_dense_gradients_are_the_only_tensors_of_pairs_times_channels():
    from ditkernels.triton.launch import recorded
    from ditkernels.tuning.problems import Problem, call

    problem = Problem("so3_attention", "dense", torch.float32, "L = 1", molecules=4, atoms=180)
    given = replace(call(problem, "meta"), needs=(True, True, False, False, False))
    with Largest() as largest, recorded():
        given.backward(*given.forward())
    assert 0 < largest.bytes < problem.pairs * problem.channels * 4 / 4
