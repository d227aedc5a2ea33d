"""New molecules: classes and sizes drawn, images sampled in batches, each turned into a molecule or a reason."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
import torch
from rdkit import Chem

from ditkernels.models.d3mes.dataset import CLASSES
from ditkernels.models.d3mes.image import decode
from ditkernels.models.d3mes.model import D3MES
from ditkernels.models.d3mes.sampler import STEPS, MoleculeNoise, sample
from ditkernels.models.d3mes.sizes import draw_size
from ditkernels.models.jobs import Entry
from ditkernels.models.molecule.assembly import BONDS, AssembledMolecule, agreement, assemble, minimized
from ditkernels.models.molecule.valence import RULES

FAILURE_COLUMNS = ("sample", "class", "atoms", "reason", "detail")
ANY = "any"
MINIMIZERS = ("none", "mmff")
# First words of the seeds, so that no two streams share numbers.
_LABELS, _SIZES = 1, 2


@dataclass(frozen=True)
class MoleculeOptions:
    """Options of one run. Raises ValueError for a value out of range.

    number: samples.
    label: "acyclic", "cyclic", or "any": drawn with the frequencies of the training molecules.
    guidance: strength s of the classifier-free guidance; 1 = none.
    seed: base of the random streams; with the number of a sample it fixes class, size and noise of the sample.
    steps: of the sampler. batch: samples at a time.
    hydrogens: "smallest" or "maximum" valence. bonds: of the sample ("rows"), or by distance ("geometry").
    minimize: "none", or "mmff" to relax every molecule with MMFF94.
    """

    number: int
    label: str = ANY
    guidance: float = 1.0
    seed: int = 0
    steps: int = STEPS
    batch: int = 256
    hydrogens: str = "smallest"
    bonds: str = "rows"
    minimize: str = "none"

    def __post_init__(self) -> None:
        for name in ("number", "steps", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")
        if not 0 <= self.guidance < float("inf"):
            raise ValueError(f"guidance must be a number of at least 0, got {self.guidance}")
        choices = {"label": (ANY, *CLASSES), "hydrogens": RULES, "bonds": BONDS, "minimize": MINIMIZERS}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True)
class Sample:
    """One sample: its number, the class that was asked of it ("" for a model of one class), and what came of it."""

    number: int
    label: str
    molecule: AssembledMolecule

    @property
    def failed(self) -> bool:
        return self.molecule.mol is None


class MoleculeGenerator:
    """Samples of a network in order of their numbers.

    network: D3MES in evaluation mode, on the device to work on.
    progress: told the number of every finished step of a batch.

    Raises ValueError for a class or a guidance that the network was not trained for.
    """

    def __init__(
        self,
        network: D3MES,
        options: MoleculeOptions,
        impl: str = "auto",
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self.network, self.options, self.impl, self.progress = network, options, impl, progress
        if network.config.classes < len(CLASSES):
            if options.label != ANY:
                raise ValueError(f"the class {options.label!r} was asked of a model that was trained without classes")
            if options.guidance != 1.0:
                raise ValueError(f"guidance {options.guidance:g} was asked of a model that was trained without classes")

    def samples(self, start: int = 0) -> Iterator[Sample]:
        """Samples from number ``start`` on; the same numbers give the same samples, whatever the start and batch."""
        for first in range(start, self.options.number, self.options.batch):
            yield from self._batch(range(first, min(first + self.options.batch, self.options.number)))

    def entries(self, model_name: str, start: int = 0) -> Iterator[Entry[Sample]]:
        """The samples as entries of a :class:`ditkernels.models.jobs.FileJob`; a window is a batch."""
        for found in self.samples(start):
            window = start + (found.number - start) // self.options.batch * self.options.batch
            text = "" if found.failed else sd_record(found, self.options, model_name)
            failure = failure_row(found) if found.failed else ""
            yield Entry(found.number, window, text, failure, int(not found.failed), found.failed, found)

    def _batch(self, numbers: range) -> Iterator[Sample]:
        options, config = self.options, self.network.config
        labels = [self._label(number) for number in numbers]
        counts = [self._size(number, label) for number, label in zip(numbers, labels, strict=True)]
        given = torch.tensor(counts) if config.masked else None
        images = sample(
            self.network,
            given,
            torch.tensor(labels),
            MoleculeNoise(options.seed, numbers, (config.channels, config.rows, 3)),
            steps=options.steps,
            guidance=options.guidance,
            impl=self.impl,
            callback=self.progress,
        )
        for number, label, raw in zip(numbers, labels, decode(images, given, config), strict=True):
            molecule = assemble(raw, hydrogens=options.hydrogens, bonds=options.bonds)
            if options.minimize == "mmff":
                molecule = minimized(molecule)
            yield Sample(number, CLASSES[label] if config.classes > 1 else "", molecule)

    def _label(self, number: int) -> int:
        if self.options.label != ANY:
            return CLASSES.index(self.options.label)
        if not self.network.config.masked or self.network.config.classes == 1:
            return 0
        weights = self.network.sizes.sum(1).double().cpu().numpy()
        if not weights.sum() > 0:
            raise ValueError("the model has no histogram of classes: it was not trained")
        rng = np.random.default_rng([_LABELS, self.options.seed, number])
        return int(rng.choice(len(weights), p=weights / weights.sum()))

    def _size(self, number: int, label: int) -> int:
        if not self.network.config.masked:
            return 0
        return draw_size(self.network.sizes, label, np.random.default_rng([_SIZES, self.options.seed, number]))


def sd_record(found: Sample, options: MoleculeOptions, model_name: str) -> str:
    """SD text of a molecule, with what it was asked to be and how its bonds agree with its distances."""
    mol = Chem.Mol(found.molecule.mol)
    mol.SetProp("_Name", f"sample {found.number + 1}")
    pairs, orders = agreement(found.molecule.raw)
    fields = {
        "smiles": found.molecule.smiles,
        "sample": str(found.number + 1),
        "class": found.label,
        "bond_agreement": f"{pairs:.3f}",
        "order_agreement": "" if np.isnan(orders) else f"{orders:.3f}",
        "ambiguous_elements": str(found.molecule.raw.ambiguous),
        "discarded_bonds": str(found.molecule.raw.dropped_bonds),
        "guidance": f"{options.guidance:g}",
        "hydrogens": options.hydrogens,
        "relaxed": "mmff94" if found.molecule.relaxed else "",
        "model": model_name,
        "seed": str(options.seed),
    }
    for name, value in fields.items():
        if value:
            mol.SetProp(name, value)
    return Chem.SDWriter.GetText(mol)


def failure_row(found: Sample) -> str:
    """CSV line of a sample that is no molecule."""
    molecule = found.molecule
    values = (found.number + 1, found.label, len(molecule.raw.elements), molecule.failure, molecule.detail)
    return csv_row(values)


def csv_row(values: tuple) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()
