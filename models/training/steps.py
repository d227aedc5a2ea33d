"""The stream of optimiser steps: which examples each holds, prepared in the background."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import numpy as np
import torch

from ditkernels.models.training.recipe import Examples, Recipe

# First word of the seed of every stream of random numbers, so that no two streams share numbers.
TRAINING, VALIDATION, PRIOR = 1, 2, 3

In = TypeVar("In")
Out = TypeVar("Out")


def generator_for(*words: int) -> torch.Generator:
    """CPU generator seeded by a hash of non-negative integers (seed, epoch, position, ...)."""
    state = np.random.SeedSequence(words).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(state[0]) << 31 ^ int(state[1]))


class StepData:
    """What one process works on in one optimiser step.

    micro_batches: this process's examples, one entry per accumulated micro-batch.
    total:         molecules of the step over all processes and micro-batches.
    epoch, position: place in the data after the step.
    """

    def __init__(self, micro_batches: list[Examples], total: int, epoch: int, position: int):
        self.micro_batches, self.total, self.epoch, self.position = micro_batches, total, epoch, position


def training_steps(recipe: Recipe, epoch: int, position: int, rank: int, size: int) -> Iterator[StepData]:
    """Endless optimiser steps from a place in the data on, each prepared in a thread while the one before runs.

    A step takes ``size * accumulate`` consecutive batches; process ``rank`` gets every ``size``-th of them. Which
    batches a step holds and all their random numbers depend on the seed and the place only, so two processes without
    accumulation see what one process sees with two accumulated micro-batches.
    """
    config = recipe.config
    batches = recipe.stream.iterate(epoch, position)

    def groups() -> Iterator[list[tuple[int, int, np.ndarray]]]:
        while True:
            yield list(islice(batches, size * config.accumulate))

    def prepare(group: list[tuple[int, int, np.ndarray]]) -> StepData:
        examples = [
            recipe.examples(entries, generator_for(TRAINING, config.seed, at_epoch, at_position))
            for at_epoch, at_position, entries in group[rank::size]
        ]
        last_epoch, last_position, _ = group[-1]
        return StepData(examples, sum(len(entries) for _, _, entries in group), last_epoch, last_position + 1)

    return in_background(groups(), prepare)


def in_background(items: Iterable[In], function: Callable[[In], Out], ahead: int = 2) -> Iterator[Out]:
    """``map(function, items)`` in order, evaluated by one thread up to ``ahead`` items before they are asked for."""
    with ThreadPoolExecutor(1, thread_name_prefix="ditkernels-data") as pool:
        pending: deque = deque()
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
