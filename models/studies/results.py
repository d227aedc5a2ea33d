"""Result files of studies: JSON with the command and versions that made it, and the Markdown table made from it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import rdkit
import torch

import ditkernels


def write_study(folder: Path, name: str, title: str, command: str, facts: dict, text: str) -> list[Path]:
    """Write ``name.json`` and ``name.md``.

    command: that makes the files again. facts: what was measured. text: Markdown, without title.
    """
    record = {
        "study": name,
        "command": command,
        "date": datetime.now(timezone.utc).date().isoformat(),
        "versions": {"ditkernels": ditkernels.__version__, "torch": torch.__version__, "rdkit": rdkit.__version__},
        **facts,
    }
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.json", folder / f"{name}.md"]
    paths[0].write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    paths[1].write_text(f"# {title}\n\n`{command}`, {record['date']}\n\n{text.strip()}\n")
    return paths


def percent_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Markdown; floats are shares and shown in percent, None as a dash."""

    def cell(value: object) -> str:
        if value is None:
            return "–"
        return f"{100 * value:.1f}" if isinstance(value, float) else str(value)

    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(map(cell, row))} |" for row in rows)]) + "\n"
