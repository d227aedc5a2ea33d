"""Runs of one contestant on a GPU, between device events. **Not yet run on a GPU.**

Inputs are rotated over copies that together exceed the L2 cache twice, so that no run finds its inputs there. Runs
under 100 µs are captured into a CUDA graph and replayed, which leaves the launches out; where that fails, and for
longer runs, the device sleeps first, so that the host is ahead of it and no launch is waited for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from benchmarks.cases import Work

GRAPH_BELOW_S = 100e-6
REGION_S = 2e-3
"""The least time between two events."""
MAX_COPIES = 16
WARM_UP = 3


def copies_beyond_cache(nbytes: int, cache: int, room: int) -> int:
    """How many copies of inputs of `nbytes` exceed a cache twice; at most MAX_COPIES, and no more than the room for all
    of them, which holds for their gradients and intermediate results, too, allows.
    """
    wanted = -(-2 * cache // max(nbytes, 1)) + 1
    return max(1, min(wanted, MAX_COPIES, room // max(8 * nbytes, 1)))


def rotated(work: Work, device: torch.device) -> list[Work]:
    """Copies of the work beyond the L2 cache; a network, which has no input tensors of its own, is one."""
    if not work.tensors:
        return [work]
    nbytes = sum(x.nbytes for x in work.tensors)
    free, _ = torch.cuda.mem_get_info(device)
    number = copies_beyond_cache(nbytes, torch.cuda.get_device_properties(device).L2_cache_size, free)
    return [work, *(replace(work, tensors=tuple(x.clone() for x in work.tensors)) for _ in range(number - 1))]


class CudaTimer:
    """Times a round of runs that do the same on different copies of the inputs.

    how: "graph" or "events"
    host_seconds: what launching one run costs the host, without waiting for the device
    """

    def __init__(self, runs: Sequence[Callable[[], object]]):
        self.runs = list(runs)
        for run in self.runs * WARM_UP:
            run()
        torch.cuda.synchronize()
        self.host_seconds = self._host()
        self.repeats, self.how, self._round = 1, "events", self._plain
        seconds = self()
        if seconds < GRAPH_BELOW_S and (graph := self._captured()) is not None:
            self.how, self._round = "graph", graph.replay
            seconds = self()
        self.repeats = max(1, int(REGION_S / (seconds * len(self.runs))))

    def __call__(self) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        if self.how == "events":
            self._backlog()
        start.record()
        for _ in range(self.repeats):
            self._round()
        end.record()
        end.synchronize()
        return 1e-3 * start.elapsed_time(end) / (self.repeats * len(self.runs))

    def _plain(self) -> None:
        for run in self.runs:
            run()

    def _host(self) -> float:
        start = time.perf_counter()
        self._plain()
        seconds = (time.perf_counter() - start) / len(self.runs)
        torch.cuda.synchronize()
        return seconds

    def _backlog(self) -> None:
        """Keep the device busy for as long as the host needs to launch everything, at most 50 ms."""
        seconds = min(1.5 * self.host_seconds * self.repeats * len(self.runs), 0.05)
        rate = torch.cuda.get_device_properties(torch.cuda.current_device()).clock_rate  # kHz
        torch.cuda._sleep(int(seconds * rate * 1e3))

    def _captured(self) -> torch.cuda.CUDAGraph | None:
        """A graph of one round, None where something in it cannot be captured (then events are used, and named)."""
        graph, side = torch.cuda.CUDAGraph(), torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        try:
            with torch.cuda.stream(side):
                self._plain()
            torch.cuda.current_stream().wait_stream(side)
            with torch.cuda.graph(graph):
                self._plain()
        except RuntimeError:
            torch.cuda.synchronize()
            return None
        return graph
