"""One run of one contestant on a CPU, by the clock on the wall."""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.cases import OwnTime

# Below this a run is repeated once untimed before it is timed: its data may be in cache from its own last run, as in a
# loop over layers, and not from the other contestant's. Above, the run itself overwrites the caches.
WARM_BELOW_S = 0.05


class CpuTimer:
    """Times a run; one that measures itself is taken at its word."""

    how = "wall clock"

    def __init__(self, run: Callable[[], object]):
        self.run, self.expected = run, WARM_BELOW_S

    def __call__(self) -> float:
        if self.expected < WARM_BELOW_S:
            self.run()
        start = time.perf_counter()
        result = self.run()
        self.expected = time.perf_counter() - start
        return result.seconds if isinstance(result, OwnTime) else self.expected
