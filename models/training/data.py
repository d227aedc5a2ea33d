"""From the configuration to the data set, and the stream of prepared training examples."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from ditkernels.models.data.batching import BatchStream, all_batches
from ditkernels.models.data.dataset import MoleculeDataset, Source
from ditkernels.models.data.preprocess import preprocess
from ditkernels.models.data.readers import open_reader
from ditkernels.models.data.splits import keys_of_smiles_file
from ditkernels.models.training.config import TrainingConfig
from ditkernels.models.training.examples import TrainingExamples, draw_examples, generator_for

# First word of the seed of every stream of random numbers, so that no two streams share numbers.
_TRAINING, _VALIDATION = 1, 2

In = TypeVar("In")
Out = TypeVar("Out")


def open_dataset(
    config: TrainingConfig, progress: Callable[[Iterable, str], Iterable] | None = None
) -> MoleculeDataset:
    """Preprocess (or find in the cache) all sources of a configuration.

    ``progress`` wraps the iterator of finished chunks of a source, given its name. Raises ValueError for missing files.
    """
    root = Path(config.data.root or ".")
    sources = []
    for entry in config.data.sources:
        reader = open_reader(root / entry.path, entry.format)
        name = Path(entry.path).name.split(".")[0]
        wrap = (lambda chunks, name=name: progress(chunks, name)) if progress else None
        cache = preprocess(reader, config.model.layout, config.data.cache, config.data.workers, wrap)
        sources.append(Source(name, cache, entry.weight, entry.validation, entry.test))
    excluded = [keys_of_smiles_file(root / path) for path in config.data.exclude]
    return MoleculeDataset(sources, np.concatenate(excluded) if excluded else None)


class StepData:
    """What one process works on in one optimiser step.

    micro_batches: this process's examples, one entry per accumulated micro-batch.
    total:         molecules of the step over all processes and micro-batches.
    epoch, position: place in the data after the step.
    """

    def __init__(self, micro_batches: list[TrainingExamples], total: int, epoch: int, position: int):
        self.micro_batches, self.total, self.epoch, self.position = micro_batches, total, epoch, position


def training_steps(
    config: TrainingConfig,
    dataset: MoleculeDataset,
    stream: BatchStream,
    epoch: int,
    position: int,
    rank: int,
    size: int,
) -> Iterator[StepData]:
    """Endless optimiser steps from a place in the data on, each prepared in a thread while the one before runs.

    A step takes ``size * accumulate`` consecutive batches; process ``rank`` gets every ``size``-th of them. Which
    batches a step holds and all their random numbers depend on the seed and the place only, so two processes without
    accumulation see what one process sees with two accumulated micro-batches.
    """
    batches = stream.iterate(epoch, position)

    def groups() -> Iterator[list[tuple[int, int, np.ndarray]]]:
        while True:
            yield list(islice(batches, size * config.accumulate))

    def prepare(group: list[tuple[int, int, np.ndarray]]) -> StepData:
        examples = []
        for at_epoch, at_position, entries in group[rank::size]:
            generator = generator_for(_TRAINING, config.seed, at_epoch, at_position)
            molecules = dataset.collate(entries)
            examples.append(draw_examples(molecules, config.model, generator, time_sampling=config.time_sampling))
        last_epoch, last_position, _ = group[-1]
        return StepData(examples, sum(len(entries) for _, _, entries in group), last_epoch, last_position + 1)

    return in_background(groups(), prepare)


def validation_examples(config: TrainingConfig, dataset: MoleculeDataset) -> dict[str, list[TrainingExamples]]:
    """Per source, the first ``validation.molecules`` kept-aside molecules with fixed noise and evenly spaced times."""
    result: dict[str, list[TrainingExamples]] = {}
    for number, source in enumerate(dataset.sources):
        entries = dataset.entries("validation", number)
        rng = np.random.default_rng([_VALIDATION, config.seed, number])
        entries = np.sort(rng.permutation(entries)[: config.validation.molecules])
        examples = []
        for index, batch in enumerate(all_batches(rng.permutation(entries), dataset, config.batch)):
            generator = generator_for(_VALIDATION, config.seed, number, index)
            times = (torch.randperm(len(batch), generator=generator) + 0.5) / len(batch)
            examples.append(draw_examples(dataset.collate(batch), config.model, generator, times=times))
        if examples:
            result[source.name] = examples
    return result


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
