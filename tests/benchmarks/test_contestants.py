"""Who competes in a case: opponents that cannot run are named with the reason, the measured kernels must run."""

import pytest

from benchmarks import contestants, speed
from benchmarks.cases import FORMS, Case
from benchmarks.contestants import CONTESTANTS, absent, truth
from benchmarks.so3_cases import So3Case

CASE = Case(FORMS["dense"], 1, 5, "forward")


def broken(case, inputs):
    raise ArithmeticError("no compiler")


def prepare(case):
    inputs = case.inputs()
    return speed.prepared(case, inputs, truth(case, inputs))


def test_opponents_that_are_not_measured_have_a_reason(monkeypatch):
    case = So3Case("dense", "DiTMC", 16, 1, 5, "forward")
    assert absent(CASE) == {}
    assert absent(case) == {"compile": "skipped"}
    monkeypatch.setattr(contestants, "find_spec", lambda name: None)
    assert absent(case) == {"compile": "skipped", "e3nn": "not installed"}
    assert absent(CASE) == {}


def test_an_opponent_that_fails_is_named_with_its_error(monkeypatch):
    monkeypatch.setitem(CONTESTANTS, "compile", broken)
    runs, errors, reasons = prepare(CASE)
    assert list(runs) == list(errors) == ["fused", "eager"]
    assert reasons == {"compile": "failed: ArithmeticError"}
    assert max(errors.values()) < 1e-5


@pytest.mark.parametrize("name", ["fused", "eager"])
def test_what_is_measured_may_not_fail(monkeypatch, name):
    inputs = CASE.inputs()
    exact = truth(CASE, inputs)
    monkeypatch.setitem(CONTESTANTS, "compile", broken)
    monkeypatch.setitem(CONTESTANTS, name, broken)
    with pytest.raises(ArithmeticError, match="no compiler"):
        speed.prepared(CASE, inputs, exact)


def test_e3nn_is_measured_in_its_fastest_mode(monkeypatch):
    modes = pytest.importorskip("benchmarks.e3nn_modes")
    monkeypatch.setattr(modes, "MODES", ("eager", "script"))
    times = modes.mode_times.__wrapped__(So3Case("dense", "L = 1", 16, 1, 5, "forward"))
    row = times.row()
    assert times.fastest == min(("eager", "script"), key=lambda mode: row[f"{mode}_ms"])
    assert row["absent"] == {} and row["fastest"] == times.fastest
