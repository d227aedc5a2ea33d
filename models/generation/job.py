"""A resumable run of a conformer pipeline over records into files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import dropwhile
from pathlib import Path

from ditkernels.models.generation.output import FAILURE_COLUMNS, csv_row, failure_row, sd_records
from ditkernels.models.generation.pipeline import ConformerPipeline, Outcome
from ditkernels.models.jobs import Entry, FileJob, Tally
from ditkernels.models.molecule.records import Record


class ConformerJob(FileJob[Outcome]):
    """Runs a pipeline over records into files; see the base class for what it raises.

    Args:
        pipeline: makes the outcomes.
        output, failures, identity, resume: see the base class.
        model_name, seed: written into the records.
    """

    def __init__(
        self,
        pipeline: ConformerPipeline,
        output: Path,
        failures: Path | None,
        identity: str,
        *,
        model_name: str,
        seed: int,
        resume: bool = False,
    ) -> None:
        super().__init__(output, failures, csv_row(FAILURE_COLUMNS), identity, resume=resume)
        self.pipeline, self.model_name, self.seed = pipeline, model_name, seed

    def run(self, records: Iterable[Record], report: Callable[[Outcome], None]) -> Tally:
        """Writes what `records` (the whole input, from its start) still lacks; calls `report` after every record."""

        def entries(start: int) -> Iterator[Entry[Outcome]]:
            waiting = dropwhile(lambda record: record.index < start, records)
            return map(self._entry, self.pipeline.run(waiting))

        return self.write(entries, report)

    def _entry(self, outcome: Outcome) -> Entry[Outcome]:
        return Entry(
            index=outcome.record.index,
            window=outcome.window,
            sd=sd_records(outcome, self.model_name, self.seed),
            failure=failure_row(outcome),
            structures=len(outcome.conformers),
            missing=outcome.missing > 0,
            outcome=outcome,
        )
