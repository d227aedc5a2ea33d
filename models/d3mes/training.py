"""How D3MES is trained: diffusion on the heavy atoms of molecules with geometries."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from rdkit import Chem
from torch import Tensor, nn

from ditkernels.models.d3mes.config import D3MESConfig
from ditkernels.models.d3mes.dataset import HeavyDataset
from ditkernels.models.d3mes.diffusion import TIMESTEPS, draw, loss
from ditkernels.models.d3mes.heavy import heavy_molecules
from ditkernels.models.d3mes.model import D3MES
from ditkernels.models.d3mes.sizes import count_sizes
from ditkernels.models.d3mes.split import TRAIN
from ditkernels.models.d3mes.split import VALIDATION as VALIDATION_SIZE
from ditkernels.models.data.batching import BatchBudget, BatchStream, all_batches
from ditkernels.models.data.readers import open_reader
from ditkernels.models.data.records import Record
from ditkernels.models.ditmc.geometry import random_rotations
from ditkernels.models.training.config import TrainingConfig, require
from ditkernels.models.training.recipe import Progress
from ditkernels.models.training.recipe import Recipe as AbstractRecipe
from ditkernels.models.training.steps import PRIOR, VALIDATION, generator_for

ORDERS = ("canonical", "random")
PRIOR_CHUNK = 4096


@dataclass(frozen=True)
class DataConfig:
    """One source of molecules.

    path:       file or folder, relative to ``root``. format: npz, sdf or folder; null: recognised from the name.
    train, validation, seed: sizes and seed of the split, see :func:`ditkernels.models.d3mes.split.split_rows`.
    balance:    an epoch shows as many molecules of one class as of the other (a fresh draw from the larger).
    rotate:     turn every molecule at random each time.
    order:      of the atoms, ``canonical`` (of the SMILES), or ``random`` each time.
    root, cache, workers: as in the configuration of DiTMC.
    """

    path: str
    format: str | None = None
    train: int = TRAIN
    validation: int = VALIDATION_SIZE
    seed: int = 0
    balance: bool = False
    rotate: bool = True
    order: str = "canonical"
    root: str | None = None
    cache: str | None = None
    workers: int | None = None

    def __post_init__(self):
        require(self.order in ORDERS, "data.order", f"one of {', '.join(ORDERS)}", self.order)


def _budget() -> BatchBudget:
    return BatchBudget(molecules=256, atoms=8192, pairs=400_000)


@dataclass(frozen=True, kw_only=True)
class Training(TrainingConfig):
    """A training run of D3MES.

    model: name of a configuration (``d3mes-so3-e``) or a mapping of its fields, with ``family: d3mes``.
    batch: budget of one micro-batch.
    """

    model: D3MESConfig
    data: DataConfig
    batch: BatchBudget = field(default_factory=_budget)
    output: str = "runs/d3mes"

    def __post_init__(self):
        super().__post_init__()
        require(self.model.classes <= 2, "model.classes", "1 or 2 (acyclic, cyclic)", self.model.classes)
        require(not self.data.balance or self.model.classes == 2, "data.balance", "false for one class", True)


@dataclass(frozen=True)
class Images:
    """B clean images with labels (null where dropped), numbers of atoms, steps and noise."""

    image: Tensor
    label: Tensor
    count: Tensor
    t: Tensor
    noise: Tensor

    @property
    def num_molecules(self) -> int:
        return len(self.label)

    def to(self, device: torch.device) -> Images:
        return Images(*(x.to(device, non_blocking=True) for x in vars(self).values()))


class Recipe(AbstractRecipe):
    """Noise prediction with learned variance, see :func:`ditkernels.models.d3mes.diffusion.loss`."""

    unit = "(dimensionless)"

    def __init__(self, config: Training, progress: Progress | None = None) -> None:
        self.config, data = config, config.data
        self.reader = open_reader(Path(data.root or ".") / data.path, data.format)
        self.name = Path(data.path).name.split(".")[0]
        molecules = heavy_molecules(self.reader, data.cache, data.workers, _progress_of(progress, self.name))
        self.dataset = HeavyDataset(molecules, config.model, data.train, data.validation, data.seed, data.balance)
        self.stream = BatchStream(self.dataset, config.batch, config.seed)

    def network(self) -> D3MES:
        network, entries = D3MES(self.config.model), self.dataset.entries("train")
        if self.config.model.masked:
            counts, labels = self.dataset.atom_counts[entries], self.dataset.labels[entries]
            network.sizes.copy_(count_sizes(counts, labels, *_shape(network.sizes)))
            generator = generator_for(PRIOR, self.config.seed)
            for part in np.array_split(entries, -(-len(entries) // PRIOR_CHUNK)):
                image, _, count = self._images(part, generator)
                network.guess.count_(image, count)
        return network

    def examples(self, entries: np.ndarray, generator: torch.Generator) -> Images:
        model = self.config.model
        image, label, count = self._images(entries, generator)
        dropped = torch.rand(len(label), generator=generator) < model.label_dropout
        label = torch.where(dropped, model.null_label, label)
        return Images(image, label, count, *draw(image.shape, generator))

    def validation(self) -> dict[str, list[Images]]:
        """Per class the first ``validation.molecules`` validation molecules, fixed noise, steps evenly spaced."""
        config, dataset = self.config, self.dataset
        result: dict[str, list[Images]] = {}
        for number, pool in enumerate(dataset.sources):
            rng = np.random.default_rng([VALIDATION, config.seed, number])
            entries = rng.permutation(dataset.entries("validation", number))[: config.validation.molecules]
            batches = []
            for index, batch in enumerate(all_batches(entries, dataset, config.batch)):
                generator = generator_for(VALIDATION, config.seed, number, index)
                image, label, count = self._images(batch, generator)
                places = torch.randperm(len(batch), generator=generator)
                t = ((places + 0.5) * TIMESTEPS / len(batch)).long()
                batches.append(Images(image, label, count, t, torch.randn(image.shape, generator=generator)))
            if batches:
                result[pool.name] = batches
        return result

    def loss(self, network: nn.Module, examples: Images) -> Tensor:
        x, count = examples, examples.count if self.config.model.masked else None
        return loss(network, x.image, x.label, count, x.t, x.noise, impl=self.config.impl).mean()

    def report(self) -> list[str]:
        molecules = self.dataset.molecules
        lines = [f"{self.name}: {len(molecules)} of {int(molecules.entries)} molecules"]
        reasons = {**molecules.reasons, **self.dataset.left_out}
        lines += [f"  left out {count:>7}  {reason}" for reason, count in reasons.items() if count]
        for number, pool in enumerate(self.dataset.sources):
            sizes = (f"{len(self.dataset.entries(part, number))} {part}" for part in ("train", "validation", "test"))
            lines.append(f"  {pool.name}: {', '.join(sizes)}; shown {pool.weight:.3g} times an epoch")
        return lines

    def write_report(self, path: Path) -> None:
        molecules = self.dataset.molecules
        facts = {
            "source": self.name,
            "entries": int(molecules.entries),
            "molecules": len(molecules),
            "left_out": {**molecules.reasons, **self.dataset.left_out},
            "used": {
                pool.name: {part: len(self.dataset.entries(part, number)) for part in ("train", "validation", "test")}
                for number, pool in enumerate(self.dataset.sources)
            },
        }
        path.write_text(json.dumps(facts, indent=1) + "\n")

    def export(self, split: str, folder: Path) -> list[tuple[Path, int]]:
        """The molecules as they are in the source, hydrogens included, with the SD field ``class``."""
        dataset, path = self.dataset, folder / f"{self.name}_{split}.sdf"
        wanted = {int(dataset.molecules.row[entry]): entry for entry in dataset.entries(split)}
        records = (record for chunk in self.reader.chunks() for record in self.reader.records(chunk))
        with Chem.SDWriter(str(path)) as writer:
            for row, record in enumerate(records):
                if row in wanted and isinstance(record, Record):
                    record.mol.SetProp("_Name", record.name)
                    record.mol.SetProp("class", "cyclic" if dataset.molecules.cyclic[wanted[row]] else "acyclic")
                    writer.write(record.mol)
        return [(path, len(wanted))]

    def _images(self, entries: np.ndarray, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        data = self.config.data
        rotations = random_rotations(len(entries), generator).double().numpy() if data.rotate else None
        shuffle = None
        if data.order == "random":
            shuffle = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
        return self.dataset.images(entries, rotations, shuffle)


def _shape(sizes: Tensor) -> tuple[int, int]:
    return sizes.shape[0], sizes.shape[1] - 1


def _progress_of(progress: Progress | None, name: str) -> Callable[[Iterable], Iterable] | None:
    return None if progress is None else lambda chunks: progress(chunks, name)
