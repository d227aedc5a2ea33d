"""Which implementation runs: "auto" is a pure function, an explicit choice never falls back."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from ditkernels import _native
from ditkernels.so3_attention import available_impls, select_impl
from ditkernels.so3_attention.descriptors import FORMS
from ditkernels.so3_attention.impl import BACKENDS, triton
from tests.so3_attention.cases import make_batch
from tests.so3_attention.test_operators import forward_arguments, operator
from tests.support.triton import needs_triton

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_auto_takes_the_first_back_end_that_can_run(form, dtype):
    cpu = torch.device("cpu")
    backends = [(name, backend) for name, backend in BACKENDS.items() if name != "triton"]  # it is for GPUs
    working = [name for name, backend in backends if backend.unsupported(form, cpu, dtype) is None]
    for _ in range(2):
        assert select_impl("cpu", dtype, form) == select_impl(cpu, dtype, form) == [*working, "reference"][0]
    assert select_impl("meta", dtype, form) == "reference"


@needs_triton
@pytest.mark.parametrize("form", FORMS)
def test_auto_never_takes_the_interpreter(form, monkeypatch):
    """Without the native library, too: whoever wants it says so."""
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    for name in reversed(list(BACKENDS)):  # put back in reverse, they have their order again
        monkeypatch.delitem(BACKENDS, name)
    monkeypatch.setitem(BACKENDS, "triton", triton)
    assert triton.unsupported(form, torch.device("cpu"), torch.float32) is None
    assert select_impl("cpu", torch.float32, form) == "reference"
    assert available_impls("cpu") == ["reference", "triton"]


@pytest.mark.skipif(not _native.available, reason=str(_native.reason))
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_native_library_runs_every_form_on_the_cpu(form, dtype):
    assert select_impl("cpu", dtype, form) == "cpu"
    assert available_impls("cpu", dtype)[:2] == ["reference", "cpu"]


def test_auto_runs_the_selected_back_end(monkeypatch):
    called = []

    def forward(form, q, *rest):
        called.append(form)
        return torch.zeros_like(q), q.new_zeros(q.shape[0], q.shape[2])

    for name in reversed(list(BACKENDS)):  # what is undone last comes last again
        monkeypatch.delitem(BACKENDS, name)
    picky = SimpleNamespace(unsupported=lambda form, *_: None if form == "dense" else "only dense", forward=forward)
    monkeypatch.setitem(BACKENDS, "picky", picky)
    dense, basis = (make_batch("natural-1", radial, [3]) for radial in ("dense", "bernstein"))
    assert (dense.run("auto") == 0).all()
    assert torch.equal(basis.run("auto"), basis.run("reference"))
    assert called == ["dense"]
    assert select_impl("cpu", torch.float32, "dense") == "picky"
    assert available_impls("cpu") == ["reference"]  # picky does not run every form


def test_explicit_choice_raises_with_reason_and_remedy(monkeypatch):
    broken = SimpleNamespace(unsupported=lambda *_: "the library was not built; reinstall it with a compiler")
    monkeypatch.setitem(BACKENDS, "broken", broken)
    with pytest.raises(RuntimeError, match="impl='broken' cannot run so3_attention .*was not built; reinstall"):
        make_batch("natural-1", "dense", [3]).run("broken")


def test_unknown_name():
    with pytest.raises(ValueError, match="impl must be 'auto', 'reference' or a back-end .* got 'fast'"):
        make_batch("natural-1", "dense", [3]).run("fast")


def test_operator_names_a_missing_back_end():
    batch = make_batch("natural-1", "dense", [2])
    with pytest.raises(RuntimeError, match="so3_attention has no back-end 'tpu'"):
        operator("dense")(*forward_arguments(batch, "tpu"))
