"""Who competes in a case: those that cannot run say why, and those that can compute the same."""

from dataclasses import replace

import pytest
import torch

from benchmarks import contestants
from benchmarks.cases import FORWARD, select
from benchmarks.cases.pair import pair_case
from benchmarks.cases.so3 import IRREPS, filter_degrees, irreps_of, so3_case
from benchmarks.contestants import Eager, named
from benchmarks.contestants.contestant import LEFT_OUT, version_of
from benchmarks.contestants.ours import automatic, backends
from benchmarks.contestants.tensor_products import CuEquivariance, E3nn
from benchmarks.measure.record import relative_error
from ditkernels.pair_attention import available_impls
from ditkernels.pair_attention.impl import BACKENDS

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SMALL = {"channels": 16, "heads": 2}
PAIR = pair_case("dense", (5, 5), FORWARD, **SMALL)
SO3 = so3_case("dense", "L = 2", 16, (5, 5), FORWARD, heads=2)


def reasons(case, device=CPU):
    return {c.name: c.why_not(case, device) for c in contestants.contestants(case, device)}


def test_every_back_end_of_ours_competes():
    assert backends(CPU) == [name for name in available_impls(CPU)[1:] if name != "triton"] == ["cpu"]
    assert set(backends(CPU)) <= set(reasons(PAIR))
    assert automatic(PAIR, CPU) == backends(CPU)[0]


def test_a_new_back_end_appears_by_itself(monkeypatch):
    class Everywhere:
        @staticmethod
        def unsupported(form, device, dtype):
            return "no dense" if form == "dense" else None

    monkeypatch.setitem(BACKENDS, "new", Everywhere)
    assert "new" in backends(CPU) and "new" in backends(CUDA)
    assert reasons(PAIR)["new"] == "no dense"
    assert reasons(replace(PAIR, form="table"))["new"] is None
    assert reasons(SO3)["new"] == "has no so3_attention"


def test_those_who_cannot_run_say_why():
    found = reasons(PAIR)
    assert found["eager"] is None and found["compile"] == found["flex, additive bias"] == LEFT_OUT
    assert "released" not in found and "e3nn eager" not in found
    assert reasons(replace(PAIR, lengths=(3, 5)))["sdpa, no pair information"] == "needs molecules of one size"
    both = replace(PAIR, direction="forward+backward", tags=frozenset({"flex", "compile"}))
    assert reasons(both)["flex, additive bias"] == "FlexAttention has no backward pass on a CPU"
    assert reasons(both)["compile"] is None
    assert reasons(SO3)["cuequivariance"] == reasons(SO3)["openequivariance"] == "its kernels need a GPU"
    network = next(case for case in select("core") if case.name.startswith("sampling pe3-b"))
    assert reasons(network)["released"] == "PE(3) has no such form here"


def test_packages_that_are_missing_are_named(monkeypatch):
    monkeypatch.setattr("benchmarks.contestants.contestant.find_spec", lambda name: None)
    found = reasons(replace(SO3, tags=frozenset({"e3nn"})), CUDA)
    assert found["e3nn eager"] == "e3nn is not installed"
    assert found["cuequivariance"] == "cuequivariance_torch is not installed"
    assert found["openequivariance"] == "openequivariance is not installed"


def test_versions_are_named():
    assert version_of("torch").startswith("torch 2.") and version_of("nothing") == "nothing"
    for contestant in contestants.everybody(CPU):
        assert contestant.version.split()[0] in contestant.version and contestant.version
    with pytest.raises(ValueError, match="no contestant is called 'x' on cpu"):
        named("x", CPU)


@pytest.mark.parametrize("form", ["dense", "basis"])
@pytest.mark.parametrize("irreps", IRREPS)
def test_e3nn_computes_the_same(form, irreps):
    pytest.importorskip("e3nn")
    same_output(E3nn("eager"), form, irreps)


@pytest.mark.parametrize("form", ["dense", "basis"])
@pytest.mark.parametrize("irreps", IRREPS)
def test_cuequivariance_computes_the_same(form, irreps, monkeypatch):
    """Its slow fallback on a CPU; the kernel needs a GPU."""
    pytest.importorskip("cuequivariance_torch")
    from benchmarks.contestants.cuequivariance import CuEquivarianceAttention

    def module(self, case, device):
        lists = [irreps_of(case)] * 3
        return CuEquivarianceAttention(*lists, filter_degrees(case), case.heads, case.channels, method="naive")

    monkeypatch.setattr(CuEquivariance, "module", module)
    same_output(CuEquivariance(), form, irreps)


def same_output(contestant, form, irreps):
    """The output, and the gradients of positions and path weights, which need no change of basis."""
    case = so3_case(form, irreps, 16, (5, 3, 1), "forward+backward", heads=2)
    work = case.set_up(case, CPU)
    ours, theirs = Eager().make(case, work)(), contestant.make(case, work)()
    assert len(theirs) == len(ours)
    assert relative_error(contestant.comparable(case, theirs), ours[:1]) < 1e-5
    assert relative_error(theirs[4:6], ours[4:6]) < 1e-5


def test_attention_without_pair_information_is_what_ours_is_without_it():
    case = pair_case("dense", (5, 5), FORWARD, **SMALL)
    work = case.set_up(case, CPU)
    ones = replace(work, tensors=(*work.tensors[:3], torch.ones_like(work.tensors[3])))
    found = named("sdpa, no pair information", CPU).make(case, ones)()[0].transpose(1, 2)
    torch.testing.assert_close(found, Eager().make(case, ones)()[0])


@pytest.mark.slow
def test_compiled_contestants_run():
    case = replace(PAIR, tags=frozenset({"compile", "flex"}))
    work = case.set_up(case, CPU)
    compiled = named("compile", CPU).make(case, work)()
    assert relative_error(compiled, Eager().make(case, work)()) < 1e-5
    biased = named("flex, additive bias", CPU).make(case, work)()[0]
    assert biased.shape == (2, 2, 5, 8) and biased.isfinite().all()
