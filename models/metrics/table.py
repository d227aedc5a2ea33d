"""Rows of metrics as Markdown, always with the training data and with noise beside them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ditkernels.models.metrics.categories import CLASSES, FAILED

COLUMNS = (
    ("samples", "samples"),
    ("connected", "connected"),
    ("valid", "valid"),
    ("unique", "unique"),
    ("novel", "novel"),
    ("checks", "checks"),
    ("edm_atoms", "EDM atom"),
    ("edm_molecules", "EDM molecule"),
    ("edm_valid", "EDM valid"),
    ("edm_valid_unique", "EDM v. & u."),
    ("counts_atoms", "counts atom"),
    ("counts_molecules", "counts molecule"),
    ("class_all", "class, all"),
    ("class_valid", "class, valid"),
    ("class_rows", "class, rows"),
    ("agreement", "bonds agree"),
    ("order_agreement", "orders agree"),
)

LEGEND = """\
In percent. *connected*: the bonds of the sample join all its atoms; *valid*: of all samples, sanitised by RDKit with
the bonds and hydrogens of the sample, and in one part; *unique*: different ones among the valid; *novel*: different
ones that are no training molecule; *checks*: valid ones with plausible distances, angles, rings and double bonds
(thresholds of PoseBusters, without its energy). *EDM*: the ruler of arXiv 2203.17003 on atoms with hydrogens, bonds by
distance: stable atoms, stable molecules, valid, valid and unique. *counts*: the ruler of the released D3MES (arXiv
2501.07077) on heavy atoms, which noise passes, so that it says nothing. *class*: samples of the class that was asked
for, a failed sample being wrong; of the valid ones; and *rows*, by the graph of bonds alone, however wrong. *agree*:
bonds that the sample names and that EDM's ruler sees, over those that either does, and equal orders among the shared
ones. A sample that is no molecule counts in every column but the two of atoms, *class, valid* and *orders agree*. ± is
the standard deviation over seeds."""


def markdown(rows: Sequence[dict]) -> str:
    """A table of rows of :func:`ditkernels.models.metrics.evaluate.measure`, or of :func:`over_seeds` of them."""
    shown = [(key, title) for key, title in COLUMNS if any(row.get(key) is not None for row in rows)]
    lines = ["| | " + " | ".join(title for _, title in shown) + " |", "|---" * (len(shown) + 1) + "|"]
    for row in rows:
        cells = (_cell(key, row.get(key), row.get("sd", {}).get(key)) for key, _ in shown)
        lines.append(f"| {row['name']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def confusion_markdown(row: dict) -> str:
    """What was asked for (rows) against what came (columns), in samples; "" for a row without classes."""
    counts = row.get("confusion")
    if not counts:
        return ""
    lines = ["| asked | " + " | ".join((*CLASSES, FAILED)) + " |", "|---|---|---|---|"]
    lines += [f"| {asked} | " + " | ".join(str(found[key]) for key in (*CLASSES, FAILED)) + " |"
              for asked, found in counts.items()]  # fmt: skip
    return "\n".join(lines) + "\n"


def over_seeds(name: str, rows: Sequence[dict]) -> dict:
    """Mean and standard deviation (n - 1) of the metrics of several seeds; samples are added up."""
    result: dict = {"name": name, "samples": sum(row["samples"] for row in rows), "seeds": len(rows), "sd": {}}
    for key, _ in COLUMNS[1:]:
        values = [row[key] for row in rows if row.get(key) is not None]
        if values:
            result[key] = float(np.mean(values))
            if len(values) > 1:
                result["sd"][key] = float(np.std(values, ddof=1))
    return result


def _cell(key: str, value, deviation) -> str:
    if value is None:
        return "–"
    if key == "samples":
        return str(value)
    spread = f" ± {100 * deviation:.1f}" if deviation is not None else ""
    return f"{100 * value:.1f}{spread}"
