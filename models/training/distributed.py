"""The process group of a run started by ``torchrun``; a single process otherwise."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from torch import distributed


@dataclass(frozen=True)
class World:
    """rank, size: this process and their number; device: where its network lives."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sum over all processes (in place)."""
        if self.size > 1:
            distributed.all_reduce(tensor)
        return tensor

    def barrier(self) -> None:
        if self.size > 1:
            distributed.barrier()

    def close(self) -> None:
        if self.size > 1:
            distributed.destroy_process_group()


def start_world(device: str) -> World:
    """Join the process group that torchrun's environment variables describe (gloo on CPU, nccl on CUDA).

    ``device``: auto, cpu, cuda or cuda:<n>; auto takes CUDA where there is one. Raises ValueError if it is not there.
    """
    size, rank, local = (int(os.environ.get(name, default)) for name, default in
                         (("WORLD_SIZE", 1), ("RANK", 0), ("LOCAL_RANK", 0)))  # fmt: skip
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"unknown device {device!r}; choose auto, cpu, cuda or cuda:<n>") from error
    if chosen.type == "cuda":
        if not torch.cuda.is_available():
            raise ValueError(f"device {device!r} was asked for, but torch {torch.__version__} sees no CUDA device")
        chosen = torch.device("cuda", local if chosen.index is None else chosen.index)
        torch.cuda.set_device(chosen)
    if size > 1:
        distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    return World(rank, size, chosen)
