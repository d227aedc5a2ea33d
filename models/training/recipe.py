"""What a family of networks brings to the trainer: its network, its data and its loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ditkernels.models.data.batching import BatchStream
from ditkernels.models.training.config import TrainingConfig

Progress = Callable[[Iterable, str], Iterable]
"""Wraps the iterator of finished pieces of a source, given its name."""


class Examples(Protocol):
    """One micro-batch with all its random draws, made on the CPU so that they do not depend on the device."""

    @property
    def num_molecules(self) -> int: ...

    def to(self, device: torch.device) -> Examples: ...


class Recipe(ABC):
    """One run of one family; made from its configuration, it opens (or builds) the preprocessed data.

    config:     the run.
    stream:     the training batches, see :class:`ditkernels.models.data.batching.BatchStream`.
    unit:       of the loss, for messages and axes: ``"Å²"``.
    partial:    a training step may leave parameters without a gradient.
    """

    config: TrainingConfig
    stream: BatchStream
    unit: str
    partial: bool = False

    @abstractmethod
    def __init__(self, config: TrainingConfig, progress: Progress | None = None) -> None: ...

    @abstractmethod
    def network(self) -> nn.Module:
        """A new network, initialised from the global random numbers."""

    @abstractmethod
    def examples(self, entries: np.ndarray, generator: torch.Generator) -> Examples:
        """Training examples of a batch."""

    @abstractmethod
    def validation(self) -> dict[str, list[Examples]]:
        """Per source, batches that are always the same."""

    @abstractmethod
    def loss(self, network: nn.Module, examples: Examples) -> Tensor:
        """Mean loss of the molecules of a batch."""

    @abstractmethod
    def report(self) -> list[str]:
        """What the data holds and what was left out, for the user."""

    @abstractmethod
    def write_report(self, path: Path) -> None:
        """The same as JSON."""

    @abstractmethod
    def export(self, split: str, folder: Path) -> list[tuple[Path, int]]:
        """Write the molecules of ``split`` to one SD file per source: paths and numbers of molecules."""
