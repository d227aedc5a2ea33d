"""An evaluation from references and methods to a report of plain values, and the report as a table."""

from __future__ import annotations

import csv
import dataclasses
import io
import time
from collections.abc import Mapping, Sequence
from functools import partial

from ditkernels.models.evaluation.methods import Made, Method
from ditkernels.models.evaluation.parallel import Failure, map_molecules
from ditkernels.models.evaluation.references import ReferenceSet
from ditkernels.models.evaluation.score import MoleculeScore, failed_molecule, score_molecule, summarize

LISTED_FAILURES = 20


@dataclasses.dataclass(frozen=True)
class EvaluationOptions:
    """samples: conformers per molecule, None for two per reference (the protocol of the field); thresholds in Å;
    heavy_geometry: bond and angle errors of heavy atoms only; workers: processes that score."""

    samples: int | None = None
    thresholds: tuple[float, ...] = (0.5,)
    heavy_geometry: bool = False
    workers: int = 1

    def __post_init__(self) -> None:
        if self.samples is not None and self.samples < 1:
            raise ValueError(f"samples must be at least 1, got {self.samples}")
        if not self.thresholds or min(self.thresholds) <= 0:
            raise ValueError(f"thresholds must be positive numbers of Angstrom, got {self.thresholds}")

    def count(self, reference: ReferenceSet) -> int:
        return self.samples if self.samples is not None else 2 * reference.count


def evaluate(
    references: Sequence[ReferenceSet],
    methods: Mapping[str, Method],
    options: EvaluationOptions,
    progress: bool = False,
) -> tuple[list[dict], dict[str, list[MoleculeScore]]]:
    """Let every method make conformers of every molecule, and score them.

    Returns:
        One report per method (plain values, ready for JSON): name, seconds of generation (the start of worker
        processes included), conformers per second, the entries of `score.summarize`, and the reasons of the first
        failures; and the scores of every molecule.
    """
    mols, counts = [r.mol for r in references], [options.count(r) for r in references]
    reports, scores = [], {}
    for name, method in methods.items():
        start = time.perf_counter()
        made = method(mols, counts)
        seconds = time.perf_counter() - start
        scores[name] = _scores(references, made, counts, options, progress)
        summary = summarize(scores[name])
        failures = [
            {"molecule": r.name, "reason": s.reason} for r, s in zip(references, scores[name], strict=True) if s.reason
        ]
        reports.append(
            {
                "name": name,
                "seconds": seconds,
                "conformers_per_second": summary["conformers_generated"] / seconds,
                **summary,
                "failures": failures[:LISTED_FAILURES],
            }
        )
    return reports, scores


def _scores(
    references: Sequence[ReferenceSet],
    made: Sequence[Made | Failure],
    counts: Sequence[int],
    options: EvaluationOptions,
    progress: bool,
) -> list[MoleculeScore]:
    score = partial(_score, thresholds=options.thresholds, heavy_geometry=options.heavy_geometry)
    items = list(zip(references, made, counts))
    results = map_molecules(score, items, options.workers, "scoring", progress)
    return [
        failed_molecule(reference, result.reason, count, options.thresholds) if isinstance(result, Failure) else result
        for (reference, _, count), result in zip(items, results)
    ]


def _score(item: tuple[ReferenceSet, Made | Failure, int], thresholds, heavy_geometry) -> MoleculeScore:
    return score_molecule(*item, thresholds, heavy_geometry)


def report_table(reports: Sequence[dict]) -> str:
    """Means over molecules as a text table, one line per method; medians in the second half."""
    thresholds = [key.split("@")[1] for key in reports[0]["mean"] if key.startswith("cov_r@")]
    header = ["", *(f"COV-R {d}" for d in thresholds), "AMR-R", *(f"COV-P {d}" for d in thresholds), "AMR-P"]
    header += ["bonds", "angles", "stereo", "failed", "conf/s"]
    rows = [header]
    for statistic in ("mean", "median"):
        for report in reports:
            v = report[statistic]
            cells = [f"{report['name']} ({statistic})"]
            cells += [_percent(v[f"cov_r@{d}"]) for d in thresholds] + [_number(v["amr_r"], 3)]
            cells += [_percent(v[f"cov_p@{d}"]) for d in thresholds] + [_number(v["amr_p"], 3)]
            cells += [
                _number(v["bond_length_error"], 4),
                _number(v["bond_angle_error"], 2),
                _percent(v["right_stereo"]),
            ]
            cells += [f"{report['molecules_failed']}/{report['molecules']}", f"{report['conformers_per_second']:.1f}"]
            rows.append(cells)
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = ["  ".join(c.ljust(w) if n == 0 else c.rjust(w) for n, (c, w) in enumerate(zip(r, widths))) for r in rows]
    return "\n".join([*lines, "COV, stereo in percent; AMR, bonds in Å; angles in degrees"])


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def molecule_table(references: Sequence[ReferenceSet], scores: Mapping[str, Sequence[MoleculeScore]]) -> str:
    """All scores as CSV text, one line per method and molecule."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    thresholds = next(iter(scores.values()))[0].coverage.cov_r
    covered = [f"{name}@{d:g}" for name in ("cov_r", "cov_p") for d in thresholds]
    fields = [f.name for f in dataclasses.fields(MoleculeScore) if f.name != "coverage"]
    writer.writerow(["method", "molecule", "smiles", *covered, "amr_r", "amr_p", *fields])
    for method, rows in scores.items():
        for reference, score in zip(references, rows, strict=True):
            c = score.coverage
            values = [*c.cov_r.values(), *c.cov_p.values(), c.amr_r, c.amr_p, *(getattr(score, f) for f in fields)]
            writer.writerow([method, reference.name, reference.smiles, *values])
    return stream.getvalue()
