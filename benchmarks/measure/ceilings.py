"""What the machine can do at most, measured in the same run as everything that is compared with it."""

from __future__ import annotations

from functools import cache

import torch

from benchmarks.measure.cpu import CpuTimer
from benchmarks.measure.turns import Turns

BUDGET_S = 1.5
CPU_BYTES, CUDA_BYTES = 2**29, 2**31
CPU_SIZE, CUDA_SIZE = 1536, 8192
ROW_WIDTH = 256
HALF = ("bfloat16", "float16")
SLOW_S = 2e-3
"""A product of 256 x 256 that takes longer makes the large one take seconds."""


def _best(device: torch.device, **runs) -> dict[str, float]:
    """Least seconds of each run: a ceiling is what the machine can do, not what it did while disturbed."""
    if device.type == "cuda":
        from benchmarks.measure.cuda import CudaTimer

        timers = {name: CudaTimer([run]) for name, run in runs.items()}
    else:
        timers = {name: CpuTimer(run) for name, run in runs.items()}
    turns = Turns(timers, BUDGET_S, next(iter(timers)))
    times = turns.run()
    return {name: min(times.seconds[name]) for name in runs}


@cache
def read_bandwidth(device: torch.device) -> float:
    """Bytes per second at which all threads read memory: the faster of sum(x) and dot(x, x) of a large float32 tensor.

    Both readers are vectorized loops of PyTorch and BLAS that do next to nothing with what they read.
    """
    x = torch.rand(_bytes(device) // 4, device=device)
    times = _best(device, sum=x.sum, dot=lambda: torch.dot(x, x))
    return x.nbytes / min(times.values())


@cache
def copy_bandwidth(device: torch.device) -> float:
    """Bytes read plus bytes written per second by a copy between two large tensors."""
    source = torch.rand(_bytes(device) // 8, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / _best(device, copy=lambda: target.copy_(source))["copy"]


def matmul_rate(device: torch.device, dtype: str) -> float:
    """Operations per second of PyTorch's own matrix product, the faster of two large square matrices and of many rows
    with a square of 256; for half precision also by way of float32, which is faster on processors without instructions
    for it.
    """
    rate = _matmul_rate(device, dtype)
    return max(rate, _matmul_rate(device, "float32")) if dtype in HALF else rate


@cache
def _matmul_rate(device: torch.device, dtype: str) -> float:
    size = CUDA_SIZE if device.type == "cuda" else CPU_SIZE
    x, y = _square(device, dtype, size)
    if device.type == "cpu" and CpuTimer(lambda: x[:256, :256] @ y[:256, :256])() > SLOW_S:
        size //= 4  # some processors have no instructions for half precision
        x, y = _square(device, dtype, size)
    rows = x.reshape(-1, min(ROW_WIDTH, size))
    weight = y[: rows.shape[1], : rows.shape[1]].contiguous()
    times = _best(device, square=lambda: x @ y, rows=lambda: rows @ weight)
    return max(2 * size**3 / times["square"], 2 * rows.numel() * len(weight) / times["rows"])


def floor_seconds(device: torch.device, dtype: str, nbytes: int | None, flops: int | None) -> float | None:
    """The least time that so many bytes and operations take here: bytes at the highest bandwidth seen, operations at
    the rate of the matrix product. None where neither is known.
    """
    if nbytes is None and flops is None:
        return None
    bandwidth = max(read_bandwidth(device), copy_bandwidth(device))
    return max((nbytes or 0) / bandwidth, (flops or 0) / matmul_rate(device, dtype))


def measured(device: torch.device, dtypes: set[str]) -> dict:
    """All ceilings for the results file, in GB/s and GFLOP/s."""
    return {
        "read_gbs": read_bandwidth(device) / 1e9,
        "copy_gbs": copy_bandwidth(device) / 1e9,
        "matmul_gflops": {dtype: matmul_rate(device, dtype) / 1e9 for dtype in sorted(dtypes)},
    }


def _square(device: torch.device, dtype: str, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = (torch.rand(size, size, device=device).to(getattr(torch, dtype)) for _ in range(2))
    return x, y


def _bytes(device: torch.device) -> int:
    return CUDA_BYTES if device.type == "cuda" else CPU_BYTES
