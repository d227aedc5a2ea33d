"""Records in, conformers out, in input order and in bounded memory.

    records -> tasks -> windows -> batches of conformers (different molecules together) -> sampler
            -> stereochemistry, mirror, relaxation -> rejected conformers once more, up to `attempts` rounds
            -> duplicates dropped -> outcomes

The prior noise of a conformer has its own random stream, so neither batch budgets nor failures of other records
change it. Batches are cut by input and options alone: the same run gives the same bits.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
import torch

from ditkernels.models.generation.batching import batches, windows
from ditkernels.models.generation.conformers import Conformer, judge, prune
from ditkernels.models.generation.options import GenerationOptions
from ditkernels.models.generation.sampling import Sampler, sample_tasks
from ditkernels.models.generation.tasks import Task, prepare
from ditkernels.models.molecule.featurize import UnsupportedMolecule
from ditkernels.models.molecule.records import Record


@dataclass(frozen=True)
class Outcome:
    """Result for one record.

    window: index of the first record of its window, where a resumed run starts.
    task: None if the record failed before sampling.
    conformers: the accepted ones in sample order; missing: number that stayed wrong; pruned: dropped duplicates.
    reason: why conformers are missing, None if none is.
    """

    record: Record
    window: int
    task: Task | None
    conformers: tuple[Conformer, ...] = ()
    missing: int = 0
    pruned: int = 0
    reason: str | None = None

    @property
    def failed(self) -> bool:
        """Nothing can be written for this record."""
        return not self.conformers


@dataclass(eq=False)
class _Work:
    """A record in the current window."""

    record: Record
    task: Task | None
    problem: str | None = None
    accepted: dict[int, Conformer] = field(default_factory=dict)
    rejected: dict[int, str] = field(default_factory=dict)
    open_samples: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class _Job:
    work: _Work
    sample: int
    attempt: int


class ConformerPipeline:
    """Turns records into outcomes; see the module.

    Args:
        sampler: integrates a batch from the prior; see `Sampler`.
        options: what to generate.
        layout: atom attribute layout of the network, "drugs" or "qm9".
    """

    def __init__(self, sampler: Sampler, options: GenerationOptions, layout: str = "drugs") -> None:
        self.sampler, self.options, self.layout = sampler, options, layout

    def run(self, records: Iterable[Record]) -> Iterator[Outcome]:
        """Outcomes in the order of `records`, each as soon as those before it are there."""
        works = (self._work(record) for record in records)
        costed = ((work, self._cost(work)) for work in works)
        for window in windows(costed, self.options.max_atoms_per_batch):
            yield from self._run_window(window)

    def _work(self, record: Record) -> _Work:
        try:
            task = prepare(record, self.options, self.layout)
        except UnsupportedMolecule as problem:
            return _Work(record, None, str(problem))
        return _Work(record, task, open_samples=set(range(self.options.conformers)))

    def _cost(self, work: _Work) -> int:
        return work.task.graph.num_atoms * self.options.conformers if work.task else 0

    def _run_window(self, window: list[_Work]) -> Iterator[Outcome]:
        first, done = window[0].record.index, 0
        for attempt in range(self.options.attempts):
            jobs = (
                (_Job(work, sample, attempt), work.task.graph.num_atoms)
                for work in window
                for sample in sorted(work.open_samples)
            )
            # The list is needed: batches change the open samples that the generator reads.
            for batch in list(batches(jobs, self.options.max_atoms_per_batch, self.options.max_pairs_per_batch)):
                self._run_batch(batch)
                while done < len(window) and not window[done].open_samples:
                    yield self._outcome(window[done], first)
                    done += 1
        for work in window[done:]:
            yield self._outcome(work, first)

    def _run_batch(self, batch: list[_Job]) -> None:
        batch = [job for job in batch if job.work.problem is None]
        if not batch:
            return
        sampled = self._sample_if_it_fits(batch)
        if sampled is None:
            self._halve(batch)
            return
        # The jobs of a molecule follow one another.
        for work, group in groupby(zip(batch, sampled), key=lambda pair: pair[0].work):
            self._settle(work, [Conformer(positions, job.sample, job.attempt) for job, positions in group])

    def _sample(self, batch: list[_Job]) -> list[np.ndarray]:
        return sample_tasks(
            self.sampler, [(job.work.task, job.sample, job.attempt) for job in batch], self.options.seed
        )

    def _sample_if_it_fits(self, batch: list[_Job]) -> list[np.ndarray] | None:
        """None if memory runs out; once this returns, the traceback holds no tensors any more."""
        try:
            return self._sample(batch)
        except (MemoryError, torch.OutOfMemoryError):
            return None
        except RuntimeError as error:
            # What torch's CPU allocator raises.
            if "allocate memory" not in str(error):
                raise
            return None

    def _halve(self, batch: list[_Job]) -> None:
        """Runs two halves of a batch that does not fit; a single conformer that does not fit fails its record."""
        if len(batch) == 1:
            work = batch[0].work
            work.problem = f"not enough memory for one conformer of {work.task.graph.num_atoms} atoms"
            work.open_samples.clear()
            return
        atoms = sum(job.work.task.graph.num_atoms for job in batch)
        warnings.warn(
            f"not enough memory for a batch of {len(batch)} conformers with {atoms} atoms, it is halved; lower "
            f"max_atoms_per_batch ({self.options.max_atoms_per_batch}) to avoid this",
            RuntimeWarning,
            stacklevel=2,
        )
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        half = len(batch) // 2
        self._run_batch(batch[:half])
        self._run_batch(batch[half:])

    def _settle(self, work: _Work, candidates: list[Conformer]) -> None:
        for candidate, verdict in zip(candidates, judge(work.task, candidates, self.options.minimize)):
            if isinstance(verdict, Conformer):
                work.accepted[candidate.sample] = verdict
                work.open_samples.discard(candidate.sample)
                work.rejected.pop(candidate.sample, None)
            else:
                work.rejected[candidate.sample] = verdict

    def _outcome(self, work: _Work, first: int) -> Outcome:
        if work.problem is not None:
            return Outcome(work.record, first, work.task, reason=work.problem)
        conformers = [work.accepted[sample] for sample in sorted(work.accepted)]
        asked, found = self.options.conformers, len(conformers)
        if self.options.prune_rms is not None and conformers:
            conformers = prune(work.task, conformers, self.options.prune_rms)
        reason = None
        if found < asked:
            causes = ", ".join(
                f"{cause} ({count}x)" for cause, count in sorted(Counter(work.rejected.values()).items())
            )
            attempts = "1 attempt" if self.options.attempts == 1 else f"{self.options.attempts} attempts"
            reason = f"{asked - found} of {asked} conformers missing after {attempts} each: {causes}"
        return Outcome(work.record, first, work.task, tuple(conformers), asked - found, found - len(conformers), reason)
