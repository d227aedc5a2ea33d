"""Which implementation runs: "auto" is a pure function, an explicit choice never falls back."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from ditkernels import _native
from ditkernels.pair_attention import available_impls, select_impl
from ditkernels.pair_attention.descriptors import FORMS
from ditkernels.pair_attention.impl import BACKENDS, triton
from tests.pair_attention.cases import make_batch
from tests.support.triton import needs_triton


@pytest.mark.parametrize("form", FORMS)
def test_auto_takes_the_first_back_end_that_can_run(form):
    cpu = torch.device("cpu")
    backends = [(name, backend) for name, backend in BACKENDS.items() if name != "triton"]  # it is for GPUs
    working = [name for name, backend in backends if backend.unsupported(form, cpu, torch.float32) is None]
    assert select_impl("cpu", torch.float32, form) == [*working, "reference"][0]
    assert select_impl("meta", torch.float32, form) == "reference"


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
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_native_library_runs_every_form_on_the_cpu(form, dtype):
    assert select_impl("cpu", dtype, form) == "cpu"
    assert "cpu" in available_impls("cpu", dtype)


def test_auto_runs_the_selected_back_end(monkeypatch):
    called = []
    backend = SimpleNamespace(unsupported=lambda form, *_: None if form == "dense" else "only dense")
    backend.forward = lambda form, q, *rest: (called.append(form), (torch.zeros_like(q), q.new_zeros(q.shape[:2])))[1]
    for name in reversed(list(BACKENDS)):  # put back in reverse, they have their order again
        monkeypatch.delitem(BACKENDS, name)
    monkeypatch.setitem(BACKENDS, "picky", backend)
    make_batch("dense", [3]).run("auto")
    make_batch("table", [3]).run("auto")
    assert called == ["dense"]


def test_explicit_choice_raises_with_reason_and_remedy(monkeypatch):
    broken = SimpleNamespace(unsupported=lambda *_: "the library was not built; reinstall it with a compiler")
    monkeypatch.setitem(BACKENDS, "broken", broken)
    with pytest.raises(RuntimeError, match="impl='broken' cannot run .*was not built; reinstall"):
        make_batch("table", [3]).run("broken")


def test_operator_names_a_missing_back_end():
    batch = make_batch("dense", [2])
    places = (
        torch.zeros(1, dtype=torch.int64),
        torch.tensor([2], dtype=torch.int32),
        torch.zeros(1, dtype=torch.int64),
        0,
    )
    with pytest.raises(RuntimeError, match="pair_attention has no back-end 'tpu'"):
        torch.ops.ditkernels.pair_attention_dense(
            batch.query, batch.key, batch.value, batch.pair.a, None, *places, None, None, 1.0, False, "tpu"
        )
