"""The checks of compute-sanitizer: which calls it watches, and what is said of its verdicts."""

import shutil
import subprocess
from types import SimpleNamespace

import pytest

from benchmarks.gpu import sanitize, smallest
from ditkernels.pair_attention.descriptors import FORMS as PAIR_FORMS
from ditkernels.so3_attention.descriptors import FORMS as SO3_FORMS
from tests.support.triton import needs_triton


def test_every_form_is_watched():
    forms = {(problem.operator, problem.form) for problem in smallest.problems()}
    pair, so3 = (
        {(f"{name}_attention", form) for form in of} for name, of in (("pair", PAIR_FORMS), ("so3", SO3_FORMS))
    )
    assert forms == pair | so3


@needs_triton
def test_every_kernel_is_launched():
    """Of both operators, but the schedule's and the sums' that they share."""
    from ditkernels.triton.launch import recorded

    with recorded("sm_90") as launches:
        for problem in smallest.problems():
            smallest.run(problem, "meta")
    names = {
        launch.kernel.fn.__module__.removeprefix("ditkernels.") + "." + launch.kernel.__name__ for launch in launches
    }
    kernels = {name for name in names if "attention" in name}
    assert {name.rpartition(".")[2] for name in kernels if name.startswith("pair")} == {
        *("forward_kernel", "backward_kernel", "reduce_kernel", "weights_kernel", "features_kernel", "rows_kernel")
    }
    assert {name.rpartition(".")[2] for name in kernels if name.startswith("so3")} == {
        *("forward_kernel", "rows_kernel", "tokens_kernel", "values_kernel"),
        *("query_radial_kernel", "value_radial_kernel", "geometry_kernel"),
    }


def test_without_the_tool_one_line_says_so(monkeypatch, capsys):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert sanitize.sanitize() == 0
    assert capsys.readouterr().out.count("\n") == 1


@pytest.mark.parametrize(
    ("outcome", "failed", "said"),
    [
        (0, 0, "racecheck: found nothing"),
        (9, 3, "racecheck: FOUND ERRORS"),
        (1, 3, "racecheck: ended with exit code 1"),
    ],
)
def test_verdicts(monkeypatch, capsys, outcome, failed, said):
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    commands = []

    def run(command, **options):
        commands.append(command)
        return SimpleNamespace(returncode=outcome)

    assert sanitize.sanitize(run) == failed
    assert said in capsys.readouterr().out
    assert [command[2] for command in commands] == ["memcheck", "racecheck", "initcheck"]


def test_a_check_that_does_not_end_has_failed(monkeypatch, capsys):
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")

    def run(command, timeout, **options):
        raise subprocess.TimeoutExpired(command, timeout)

    assert sanitize.sanitize(run) == 3
    assert "initcheck: was stopped after 5 minutes" in capsys.readouterr().out
