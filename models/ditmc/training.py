"""How DiTMC is trained: flow matching on molecules with geometries."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ditkernels.models.data.batching import BatchBudget, BatchStream, all_batches
from ditkernels.models.data.dataset import MoleculeDataset, Source
from ditkernels.models.data.export import write_split
from ditkernels.models.data.preprocess import preprocess, report_table, write_report
from ditkernels.models.data.readers import open_reader
from ditkernels.models.data.splits import keys_of_smiles_file
from ditkernels.models.ditmc.config import DiTMCConfig
from ditkernels.models.ditmc.examples import TrainingExamples, draw_examples
from ditkernels.models.ditmc.flow import flow_matching_loss
from ditkernels.models.ditmc.model import RECOMPUTE, DiTMC
from ditkernels.models.training.config import TrainingConfig, require
from ditkernels.models.training.recipe import Progress
from ditkernels.models.training.recipe import Recipe as AbstractRecipe
from ditkernels.models.training.steps import VALIDATION, generator_for


@dataclass(frozen=True)
class SourceConfig:
    """One source of molecules.

    path:       file or folder, relative to ``data.root``.
    format:     npz, sdf or folder; null: recognised from the name.
    weight:     how often an epoch shows each training molecule.
    validation: share of the connectivities kept for validation, where the source names no split itself.
    test:       share kept for the final test.
    """

    path: str
    format: str | None = None
    weight: float = 1.0
    validation: float = 0.02
    test: float = 0.02


@dataclass(frozen=True)
class DataConfig:
    """root: folder of the sources (null: the environment variable DITKERNELS_DATA, else the config's folder);
    cache: folder of the preprocessing cache (null: DITKERNELS_CACHE, else ~/.cache/ditkernels); exclude: SMILES files
    (.csv with a column smiles, or one SMILES per line) whose molecules are not trained on; workers: processes for
    preprocessing (null: one per core)."""

    sources: tuple[SourceConfig, ...]
    root: str | None = None
    cache: str | None = None
    exclude: tuple[str, ...] = ()
    workers: int | None = None


@dataclass(frozen=True, kw_only=True)
class Training(TrainingConfig):
    """A training run of DiTMC.

    model:         name of a configuration (``ape-s``) or a mapping of its fields.
    batch:         budget of one micro-batch.
    time_sampling: ``uniform``, or ``late``: with probability 0.98 from Beta(1.9, 1), else uniform.
    recompute:     what the backward pass makes again instead of keeping it, for larger batches: ``none``, ``hidden``
                   (the hidden layers of the blocks' MLPs) or ``blocks`` (all but the result of every block).
    """

    model: DiTMCConfig
    data: DataConfig
    batch: BatchBudget = field(default_factory=BatchBudget)
    time_sampling: str = "uniform"
    recompute: str = "none"
    output: str = "runs/ditmc"

    def __post_init__(self):
        super().__post_init__()
        require(self.time_sampling in ("uniform", "late"), "time_sampling", "uniform or late", self.time_sampling)
        require(self.recompute in RECOMPUTE, "recompute", f"one of {', '.join(RECOMPUTE)}", self.recompute)
        require(bool(self.data.sources), "data.sources", "a list of at least one source", ())


def open_dataset(config: Training, progress: Progress | None = None) -> MoleculeDataset:
    """Preprocess (or find in the cache) all sources of a configuration. Raises ValueError for missing files."""
    root = Path(config.data.root or ".")
    sources = []
    for entry in config.data.sources:
        reader = open_reader(root / entry.path, entry.format)
        name = Path(entry.path).name.split(".")[0]
        cache = preprocess(
            reader, config.model.layout, config.data.cache, config.data.workers, _progress_of(progress, name)
        )
        sources.append(Source(name, cache, entry.weight, entry.validation, entry.test))
    excluded = [keys_of_smiles_file(root / path) for path in config.data.exclude]
    return MoleculeDataset(sources, np.concatenate(excluded) if excluded else None)


class Recipe(AbstractRecipe):
    """Flow matching (arXiv 2506.15378, eqs. 4-6) on ragged batches; see the base class."""

    unit = "Å²"

    def __init__(self, config: Training, progress: Progress | None = None) -> None:
        self.config = config
        self.dataset = open_dataset(config, progress)
        self.stream = BatchStream(self.dataset, config.batch, config.seed)
        # Networks with options that a step may leave out have parameters without gradient in that step.
        self.partial = config.model.self_conditioning or config.model.guidance_dropout > 0

    def network(self) -> DiTMC:
        network = DiTMC(self.config.model)
        network.set_recompute(self.config.recompute)
        return network

    def examples(self, entries: np.ndarray, generator: torch.Generator) -> TrainingExamples:
        molecules = self.dataset.collate(entries)
        return draw_examples(molecules, self.config.model, generator, time_sampling=self.config.time_sampling)

    def validation(self) -> dict[str, list[TrainingExamples]]:
        """Per source the first ``validation.molecules`` kept-aside molecules with fixed noise, times evenly spaced."""
        config, dataset = self.config, self.dataset
        result: dict[str, list[TrainingExamples]] = {}
        for number, source in enumerate(dataset.sources):
            entries = dataset.entries("validation", number)
            rng = np.random.default_rng([VALIDATION, config.seed, number])
            entries = np.sort(rng.permutation(entries)[: config.validation.molecules])
            examples = []
            for index, batch in enumerate(all_batches(rng.permutation(entries), dataset, config.batch)):
                generator = generator_for(VALIDATION, config.seed, number, index)
                times = (torch.randperm(len(batch), generator=generator) + 0.5) / len(batch)
                examples.append(draw_examples(dataset.collate(batch), config.model, generator, times=times))
            if examples:
                result[source.name] = examples
        return result

    def loss(self, network: nn.Module, examples: TrainingExamples) -> Tensor:
        return flow_matching_loss(
            network,
            examples.graph,
            examples.x1,
            examples.x0,
            examples.t,
            examples.z,
            condition_gate=examples.condition_gate,
            self_condition=examples.self_condition,
            impl=self.config.impl,
        )

    def report(self) -> list[str]:
        lines = []
        for number, source in enumerate(self.dataset.sources):
            sizes = (f"{len(self.dataset.entries(s, number))} {s}" for s in ("train", "validation", "test", "excluded"))
            lines += [report_table(source.cache), f"  used as {', '.join(sizes)}"]
        return lines

    def write_report(self, path: Path) -> None:
        write_report((source.cache for source in self.dataset.sources), path)

    def export(self, split: str, folder: Path) -> list[tuple[Path, int]]:
        written = []
        for number, source in enumerate(self.dataset.sources):
            path = folder / f"{source.name}_{split}.sdf"
            written.append((path, write_split(self.dataset, split, number, path)))
        return written


def _progress_of(progress: Progress | None, name: str) -> Callable[[Iterable], Iterable] | None:
    return None if progress is None else lambda chunks: progress(chunks, name)
