"""The one place that launches Triton kernels, or records what it would have launched."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch

from ditkernels.triton import configs
from ditkernels.triton.configs import Config


@dataclass(frozen=True)
class Launch:
    """One kernel launch: enough to compile the kernel elsewhere.

    kernel: the function that triton.jit made
    grid: number of programs
    arguments: by name; tensors, numbers, or None
    config: block sizes (also among the arguments), warps and stages
    """

    kernel: object
    grid: tuple[int, ...]
    arguments: dict
    config: Config


_record: ContextVar[list[Launch] | None] = ContextVar("record", default=None)


@contextmanager
def recorded(architecture: str = configs.INTERPRETER) -> Iterator[list[Launch]]:
    """Inside, launches are appended to a list and not executed; with tensors on the meta device nothing is computed.

    architecture: whose configurations are chosen, such as "sm_90"
    """
    launches: list[Launch] = []
    token = _record.set(launches)
    try:
        with configs.assumed(architecture):
            yield launches
    finally:
        _record.reset(token)


def launch(kernel, grid: tuple[int, ...], config: Config, **arguments) -> None:
    """Run kernel on a grid of programs with the warps and stages of a configuration; nothing for an empty grid.

    arguments: every parameter of the kernel by name
    """
    if math.prod(grid) == 0:
        return
    record = _record.get()
    if record is not None:
        record.append(Launch(kernel, grid, arguments, config))
        return
    device = next(x.device for x in arguments.values() if isinstance(x, torch.Tensor))
    with torch.cuda.device(device if device.type == "cuda" else -1):
        kernel[grid](**arguments, **options(config, nvidia=device.type == "cuda" and torch.version.hip is None))


def options(config: Config, nvidia: bool) -> dict:
    """The compiler's options of a configuration."""
    # Fused multiply-adds are Triton's old default and not its new one: it is said here, for all versions.
    found = {"num_warps": config.warps, "num_stages": config.stages, "enable_fp_fusion": True}
    return {**found, "maxnreg": config.registers} if nvidia and config.registers else found
