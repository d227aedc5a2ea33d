"""The fastest configuration of every Triton kernel, measured."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ditkernels.triton import configs
from ditkernels.triton.configs import Config, Key
from ditkernels.tuning.problems import Call, Problem, call

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 4e-2, torch.float16: 1e-2}
Timer = Callable[[Callable[[], object]], float]


def tune(
    problem: Problem,
    device: torch.device,
    known: dict[Key, Config],
    timer: Timer | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Iterator[tuple[Key, Config]]:
    """The fastest candidate of every kernel of a call that is not known yet, one kernel after the other.

    timer: milliseconds that a function takes; triton.testing.do_bench by default
    say: takes a line per candidate

    A candidate whose results differ from those of the rule's configuration, or that does not fit on the GPU, is said
    and left out.
    """
    passes = _Passes(call(problem, device), problem.dtype)
    chosen = dict(known)
    for step in ("forward", "backward"):
        for key in passes.keys(step):
            if key in chosen:
                continue
            times: dict[Config, float] = {}
            for candidate in _candidates(key):
                outcome = passes.measure(step, {**chosen, key: candidate}, timer or _milliseconds)
                if isinstance(outcome, float):
                    times[candidate] = outcome
                    outcome = f"{outcome:.4f} ms"
                say(f"{key.form} {key.kernel}: {candidate} {outcome}")
            if not times:
                raise RuntimeError(f"no candidate of {key} runs on this GPU")
            chosen[key] = min(times, key=times.get)
            yield key, chosen[key]


class _Passes:
    """The two passes of a call, their results with the rule's configurations, and their measurement with others."""

    def __init__(self, given: Call, dtype: torch.dtype):
        self.given, self.tolerance = given, TOLERANCE[dtype]
        with configs.override(_rule):
            self.state = given.forward()
            self.expected = {"forward": self.state, "backward": given.backward(*self.state)}

    def run(self, step: str) -> tuple[Tensor, ...]:
        return self.given.forward() if step == "forward" else self.given.backward(*self.state)

    def keys(self, step: str) -> list[Key]:
        seen: dict[Key, None] = {}
        with configs.override(lambda key: seen.setdefault(key)):
            self.run(step)
        return list(seen)

    def measure(self, step: str, table: dict[Key, Config], timer: Timer) -> float | str:
        """Milliseconds, or why the configuration cannot be used."""
        from triton.compiler.errors import CompilationError
        from triton.runtime.errors import OutOfResources

        with configs.override(table.get):
            try:
                results = self.run(step)
            except (OutOfResources, CompilationError) as error:
                return f"does not fit: {' '.join(str(error).split())[:200]}"
            worst = max(map(_difference, results, self.expected[step]), default=0.0)
            if not worst <= self.tolerance:
                return f"differs by {worst:.1e}"
            return timer(lambda: self.run(step))


def _rules(key: Key):
    return importlib.import_module(f"ditkernels.{key.operator}.impl.triton.rules")


def _rule(key: Key) -> Config:
    return _rules(key).rule(key)


def _candidates(key: Key) -> list[Config]:
    return list(dict.fromkeys([_rule(key), *_rules(key).candidates(key)]))


def _difference(found: Tensor, expected: Tensor) -> float:
    """Largest difference relative to the largest element; -inf of both (lse of an empty row) is none, NaN infinite."""
    if found.numel() == 0:
        return 0.0
    found, expected = found.float(), expected.float()
    there = found != expected
    difference = torch.where(there, found - expected, 0.0).abs().nan_to_num(nan=torch.inf, posinf=torch.inf).amax()
    return float(difference / expected.nan_to_num(neginf=0.0).abs().amax().clamp(min=1e-6))


def _milliseconds(function: Callable[[], object]) -> float:
    from triton.testing import do_bench

    return float(do_bench(function, return_mode="median"))
