"""Fair timing on a noisy machine: contestants take turns in one process, and every ratio is taken within a turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

# Below this a call is repeated once untimed before it is timed: its data may be in cache from its own last call, as in
# a loop over layers, and not from the other contestant's. Above, the call itself overwrites the caches.
WARM_BELOW_S = 0.05
MIN_ROUNDS, MAX_ROUNDS = 3, 40


@dataclass
class Times:
    """Seconds per call of each contestant, one entry per round."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, seconds: float) -> None:
        self.seconds.setdefault(name, []).append(seconds)

    def median(self, name: str) -> float:
        return float(np.median(self.seconds[name]))

    def spread(self, name: str) -> float:
        """Interquartile range over the median."""
        low, middle, high = np.percentile(self.seconds[name], (25, 50, 75))
        return float((high - low) / middle)

    def ratio(self, slow: str, fast: str) -> float:
        """Median over the rounds of time(slow) / time(fast): both saw the same state of the machine. A contestant that
        sat out later rounds is compared in its own.
        """
        pairs = zip(self.seconds[slow], self.seconds[fast], strict=False)
        return float(np.median([a / b for a, b in pairs]))


def timed(run: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def warm_timed(run: Callable[[], object], expected: float) -> float:
    if expected < WARM_BELOW_S:
        run()
    return timed(run)


def rounds_for(contestants: Mapping[str, Callable[[], object]], budget: float) -> tuple[dict[str, float], int]:
    """Expected seconds per call, and how many rounds fit into `budget` seconds; each has been called once before."""
    expected = {name: timed(run) for name, run in contestants.items()}
    per_round = sum(t * (2 if t < WARM_BELOW_S else 1) for t in expected.values())
    return expected, int(min(max(budget / per_round, MIN_ROUNDS), MAX_ROUNDS))


def take_turns(contestants: Mapping[str, Callable[[], object]], budget: float) -> Times:
    """Time all contestants round by round for about `budget` seconds."""
    for run in contestants.values():
        run()
    expected, rounds = rounds_for(contestants, budget)
    times = Times()
    for _ in range(rounds):
        for name, run in contestants.items():
            times.add(name, warm_timed(run, expected[name]))
    return times


def read_bandwidth(budget: float = 2.0, mebibytes: int = 512) -> float:
    """Bytes per second at which all threads read memory: the faster of sum(x) and dot(x, x) over a float32 buffer.

    512 MiB is far beyond any cache; both readers are vectorized loops of PyTorch and BLAS that do next to nothing with
    what they read. The median over the rounds of the faster one is returned.
    """
    buffer = torch.rand(mebibytes * 2**20 // 4)
    times = take_turns({"sum": buffer.sum, "dot": lambda: torch.dot(buffer, buffer)}, budget)
    return buffer.nbytes / min(times.median("sum"), times.median("dot"))


def matmul_rate(budget: float = 2.0, size: int = 1536) -> float:
    """Operations per second of PyTorch's own float32 matrix product of two square matrices."""
    x, y = torch.rand(size, size), torch.rand(size, size)
    times = take_turns({"matmul": lambda: x @ y}, budget)
    return 2 * size**3 / times.median("matmul")
