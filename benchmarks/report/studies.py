"""The quality of generated molecules, from results/studies/*.json, which `ditkernels study` writes."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.result_files import RESULTS
from ditkernels.models.metrics.table import LEGEND, confusion_markdown, markdown

MAIN = "arms"
"""The study whose table is in README.md; the others are linked."""


def studies_part(results: Path = RESULTS / "studies") -> str:
    """Markdown of the main study, with the classes of its last model alone, and links to the tables of the others."""
    path = results / f"{MAIN}.json"
    if not path.exists():
        return "No results are committed yet: `ditkernels study arms` writes them."
    study = json.loads(path.read_text())
    blocks = [f"`{study['command']}`, {study['date']}", markdown(study["rows"]).strip()]
    classes = [(row["name"], confusion_markdown(row.get("per_seed", [row])[0])) for row in study["rows"]]
    blocks += [f"{name}, seed 0, samples by class\n\n{table.strip()}" for name, table in classes if table][-1:]
    blocks.append(LEGEND)
    others = sorted(p for p in results.glob("*.md") if p.stem != MAIN)
    links = [f"[{_title(p)}](benchmarks/results/studies/{p.name})" for p in others]
    if links:
        blocks.append(f"Other studies: {', '.join(links)}.")
    return "\n\n".join(blocks)


def _title(path: Path) -> str:
    """The first heading of a Markdown file."""
    return path.read_text().splitlines()[0].lstrip("# ").strip()
