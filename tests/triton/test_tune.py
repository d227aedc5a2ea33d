"""Which of the candidates ``ditkernels tune`` chooses, with a clock of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner
from triton.runtime.errors import OutOfResources

from ditkernels.cli.tune import command
from ditkernels.pair_attention.impl.triton import rules
from ditkernels.triton import configs
from ditkernels.triton.configs import Config, Key
from ditkernels.tuning import tune as tuning
from ditkernels.tuning.problems import Problem

PROBLEM = Problem("pair_attention", "dense", torch.float32, channels=32, heads=2, molecules=2, atoms=5)
BEST, SECOND = (lambda rule: replace(rule, receivers=2, senders=8)), (lambda rule: replace(rule, receivers=8))


@pytest.fixture
def few_candidates(monkeypatch):
    """Two for every kernel, after the rule's own configuration."""
    monkeypatch.setattr(rules, "candidates", lambda key: [SECOND(rules.rule(key)), BEST(rules.rule(key))])


class Clock:
    """Milliseconds by the receivers of the configurations that a run takes: those of BEST are the fastest."""

    def __init__(self, monkeypatch):
        self.runs = 0
        self.chosen: list[Config] = []
        choose = configs.choose

        def watched(key: Key, rule: Callable[[Key], Config]) -> Config:
            self.chosen.append(choose(key, rule))
            return self.chosen[-1]

        monkeypatch.setattr("ditkernels.triton.call.choose", watched)

    def __call__(self, function: Callable[[], object]) -> float:
        self.runs += 1
        self.chosen.clear()
        function()
        return float(self.chosen[0].receivers)


def tuned(clock: Clock, known: dict[Key, Config] | None = None) -> tuple[dict[Key, Config], list[str]]:
    said: list[str] = []
    return dict(tuning.tune(PROBLEM, torch.get_default_device(), known or {}, clock, said.append)), said


@pytest.mark.usefixtures("few_candidates")
def test_the_fastest_is_chosen_for_every_kernel(monkeypatch):
    table, said = tuned(Clock(monkeypatch))
    assert [key.kernel for key in table] == ["forward", "backward"]
    assert all(config == BEST(rules.rule(key)) for key, config in table.items())
    assert len(said) == 6 and all(line.endswith(" ms") for line in said)


@pytest.mark.usefixtures("few_candidates")
def test_what_is_known_is_not_measured_again(monkeypatch):
    first, _ = tuned(Clock(monkeypatch))
    forward = next(iter(first))
    clock = Clock(monkeypatch)
    table, _ = tuned(clock, {forward: first[forward]})
    assert [key.kernel for key in table] == ["backward"] and clock.runs == 3


@pytest.mark.usefixtures("few_candidates")
@pytest.mark.parametrize(
    ("wrong", "what"), [(0.1, "differs by 1.0e-01"), (torch.nan, "differs by inf"), (None, "does not fit: out of res")]
)
def test_wrong_and_too_large_candidates_are_said_and_left_out(monkeypatch, wrong, what):
    clock, run = Clock(monkeypatch), tuning._Passes.run

    def spoiled(self, step):
        clock.chosen.clear()
        *results, last = run(self, step)
        if clock.chosen[0].receivers != 2:
            return (*results, last)
        if wrong is None:
            raise OutOfResources(300_000, 200_000, "shared memory")
        return (*results, last + wrong * last.abs().max())

    monkeypatch.setattr(tuning._Passes, "run", spoiled)
    table, said = tuned(clock)
    assert all(config == rules.rule(key) for key, config in table.items())
    assert sum(what in line for line in said) == 2


def test_without_a_gpu_the_command_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = CliRunner().invoke(command, ["-o", str(tmp_path / "table.json")])
    assert result.exit_code == 1 and "PyTorch sees none here" in result.output
    assert not (tmp_path / "table.json").exists()
