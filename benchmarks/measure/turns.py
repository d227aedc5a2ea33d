"""Fair timing on a noisy machine: contestants take turns in one process, and every ratio is taken within a turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

MIN_ROUNDS, MAX_ROUNDS = 3, 40
SLOW_S, SLOW_ROUNDS = 0.5, 2
"""A contestant that takes longer sits out after these rounds, of which the one that finds this out is the first."""

Timer = Callable[[], float]
"""Runs a contestant once, or some times, and returns the seconds of one run."""


@dataclass
class Times:
    """Seconds per run of each contestant, one entry per round."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, seconds: float) -> None:
        self.seconds.setdefault(name, []).append(seconds)

    def median(self, name: str) -> float:
        return float(np.median(self.seconds[name]))

    def spread(self, name: str) -> float:
        """Interquartile range over the median."""
        return _spread(self.seconds[name])

    def ratios(self, slow: str, fast: str) -> list[float]:
        """time(slow) / time(fast), round by round: both saw the same state of the machine. A contestant that sat out
        later rounds is compared in its own.
        """
        return [a / b for a, b in zip(self.seconds[slow], self.seconds[fast], strict=False)]

    def ratio(self, slow: str, fast: str) -> float:
        return float(np.median(self.ratios(slow, fast)))

    def ratio_spread(self, slow: str, fast: str) -> float:
        return _spread(self.ratios(slow, fast))


def _spread(values: list[float]) -> float:
    low, middle, high = np.percentile(values, (25, 50, 75))
    return float((high - low) / middle)


class Turns:
    """Rounds over some timers for about `budget` seconds. One run of everybody finds out how many; it is a round itself
    where it took long.

    lead: the contestant that a caller may time itself, with `lead_turn`; every round is `others` and then `lead_turn`
    """

    def __init__(self, timers: Mapping[str, Timer], budget: float, lead: str):
        self.timers, self.lead, self.times = dict(timers), lead, Times()
        self.expected = {name: timer() for name, timer in self.timers.items()}
        slow = [seconds > SLOW_S for seconds in self.expected.values()]
        self.rounds = int(min(max(budget / sum(self.expected.values()), MIN_ROUNDS), MAX_ROUNDS))
        if all(slow):
            self.rounds = SLOW_ROUNDS
        if any(slow):
            for name, seconds in self.expected.items():
                self.times.add(name, seconds)
            self.rounds -= 1

    def others(self) -> None:
        """One turn of everybody but the lead."""
        for name, timer in self.timers.items():
            tired = self.expected[name] > SLOW_S and len(self.times.seconds.get(name, ())) >= SLOW_ROUNDS
            if name != self.lead and not tired:
                self.times.add(name, timer())

    def lead_turn(self) -> None:
        self.times.add(self.lead, self.timers[self.lead]())

    def run(self) -> Times:
        """All rounds."""
        for _ in range(self.rounds):
            self.others()
            self.lead_turn()
        return self.times
