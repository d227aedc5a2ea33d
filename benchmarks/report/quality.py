"""The quality of conformers as tables, from results/quality/*.json, which `ditkernels evaluate --output` writes."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.report.tables import as_markdown
from benchmarks.result_files import RESULTS


def quality_part(results: Path = RESULTS / "quality") -> str:
    """Markdown of all evaluations, one table each."""
    blocks = []
    for path in sorted(results.glob("*.json")):
        blocks.append(_quality_table(json.loads(path.read_text())))
    return "\n\n".join(blocks) or "No results are committed yet: `ditkernels evaluate --output` writes them."


def _quality_table(result: dict) -> str:
    source = result["source"] or result["data"]
    samples = "two per reference" if result["samples"] == "2K" else f"{result['samples']} per molecule"
    title = (
        f"{source}, {result['split'] or 'all'}: {result['molecules']} molecules, {result['references']} reference "
        f"conformers, samples: {samples}, seed {result['seed']} ({result['date']})"
    )
    thresholds = [f"{threshold:g}" for threshold in result["thresholds"]]
    header = ["method (mean / median)"]
    header += [f"{name} {d} Å, %" for name in ("COV-R", "COV-P") for d in thresholds]
    header += ["AMR-R, Å", "AMR-P, Å", "bond lengths, Å", "bond angles, °", "right stereo, %", "before mirroring, %"]
    header += ["molecules without result"]
    rows = []
    for method in result["methods"]:

        def pair(key: str, form: str, scale: float = 1.0, method=method) -> str:
            values = (method["mean"][key], method["median"][key])
            return " / ".join("-" if value is None else format(scale * value, form) for value in values)

        cells = [method["name"]]
        cells += [pair(f"{name}@{d}", ".1f", 100) for name in ("cov_r", "cov_p") for d in thresholds]
        cells += [pair("amr_r", ".3f"), pair("amr_p", ".3f")]
        cells += [pair("bond_length_error", ".4f"), pair("bond_angle_error", ".2f")]
        stereo = (method["mean"]["right_stereo"], method["mean"]["right_stereo_unmirrored"])
        cells += ["-" if value is None else f"{100 * value:.1f}" for value in stereo]
        cells.append(f"{method['molecules_failed']} of {method['molecules']}")
        rows.append(cells)
    return as_markdown((title, header, rows))
