"""Results as tables: a line for each contestant of a case. Plain text for the terminal, Markdown for pages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.report.targets import verdicts

Table = tuple[str, Sequence[str], list[Sequence[str]]]
"""Title, header, rows of cells."""

TITLES = {
    "pair_attention": "pair_attention",
    "so3_attention": "so3_attention",
    "block": "DiTMC blocks with the gradients of all inputs and weights",
    "network": "DiTMC, one evaluation",
    "training": "DiTMC, a training step",
    "sampling": "DiTMC, sampling in 50 steps",
    "startup": "A fresh process: import (eager: `import torch` alone), and first call",
}
MISSING = "–"


def tables(results: dict) -> list[Table]:
    """All tables that a result file allows."""
    made = []
    for operator, title in TITLES.items():
        timed = [r for r in results["cases"] if r["operator"] == operator and _timed(r) and r["threads"] is None]
        if timed:
            made.append((title, *_times(timed)))
    threads = [record for record in results["cases"] if record["threads"] is not None and _timed(record)]
    if threads:
        made.append(("Scaling with threads", *_threads(threads)))
    peaks = [record for record in results["cases"] if _peaked(record)]
    if peaks:
        made.append(("Peak memory of a pass beyond its inputs, gradients included", *_memory(peaks)))
    if checks := verdicts(results):
        made.append(("Targets", ("target", "least", "measured", "met"), checks))
    return made


def own(record: dict) -> dict | None:
    """The numbers of the back-end that impl="auto" takes; None where that is the reference."""
    row = record["results"].get(record["auto"], {})
    return row if record["auto"] != "eager" and "ms" in row else None


def label(record: dict) -> str:
    """What distinguishes a case within a table of its operator."""
    words = [record["form"]]
    if record["irreps"]:
        words.append(f"{record['irreps'].replace(' ', '')} C={record['channels']}")
    words.append(record["batch"].replace("x", "×"))
    if record["direction"] not in ("process", "50 steps", "step", "evaluation"):
        words.append(record["direction"])
    return ", ".join([*filter(None, words), record["dtype"]])


def _timed(record: dict) -> bool:
    return any("ms" in row for row in record["results"].values())


def _peaked(record: dict) -> bool:
    return any("peak_bytes" in row for row in record["results"].values())


def _times(records: list[dict]) -> tuple[Sequence[str], list[Sequence[str]]]:
    header = ["case", "contestant", "ms", "±", "× eager", "GB/s", "of copy", "GFLOP/s", "of matmul", "of floor"]
    header += ["error"]
    rows = []
    for record in records:
        for name, row in record["results"].items():
            if "ms" in row:
                rows.append([label(record), _name(record, name), *_numbers(row)])
    rows += [[cases, name, reason, *[""] * (len(header) - 3)] for cases, name, reason in _absent(records)]
    return header, rows


def _name(record: dict, name: str) -> str:
    """The contestant, with the run of its numbers if that is not the run of the others."""
    run = record["results"][name].get("run")
    text = f"{name} (run of {run})" if run else name
    return f"**{text}**" if name == record["auto"] else text


def _numbers(row: dict) -> list[str]:
    return [
        _milliseconds(row["ms"]),
        _percent(row["spread"]),
        _digits(row.get("ratio")),
        _digits(row.get("gbs")),
        _percent(row.get("of_copy")),
        _digits(row.get("gflops")),
        _percent(row.get("of_matmul")),
        _percent(row.get("of_floor")),
        MISSING if row.get("error") is None else f"{row['error']:.0e}",
    ]


def _absent(records: list[dict]) -> list[tuple[str, str, str]]:
    """(cases, contestant, reason): who was not measured, and why, once for each reason."""
    found: dict[tuple[str, str], list[str]] = {}
    for record in records:
        for name, row in record["results"].items():
            if "absent" in row:
                found.setdefault((name, row["absent"]), []).append(label(record))
    lines = []
    for (name, reason), cases in found.items():
        concerned = sum(name in record["results"] for record in records)
        if len(cases) == concerned:
            text = "all of these cases"
        else:
            text = cases[0] if len(cases) == 1 else f"{len(cases)} others of these cases"
        lines.append((text, name, f"not measured: {reason}"))
    return lines


def _threads(records: list[dict]) -> tuple[Sequence[str], list[Sequence[str]]]:
    header = ("case", "threads", "contestant", "ms", "±", "× eager")
    rows = []
    for record in sorted(records, key=lambda r: (r["form"], r["threads"])):
        for name, row in record["results"].items():
            if "ms" in row:
                numbers = (_milliseconds(row["ms"]), _percent(row["spread"]), _digits(row.get("ratio")))
                rows.append((label(record), str(record["threads"]), _name(record, name), *numbers))
    return header, rows


def _memory(records: list[dict]) -> tuple[Sequence[str], list[Sequence[str]]]:
    header = ("case", "layers", "contestant", "MB", "eager / this", "bytes per pair", "eager / this")
    rows = []
    for record in records:
        for name, row in record["results"].items():
            if "peak_bytes" in row:
                what = f"{record['operator']}, {label(record)}"
                numbers = [f"{row['peak_bytes'] / 1e6:.1f}", _digits(row.get("saving"))]
                pair = row.get("pair_bytes")
                numbers += [MISSING if pair is None else f"{pair:.0f}", _digits(row.get("pair_saving"))]
                rows.append((what, str(record["layers"]), _name(record, name), *numbers))
    return header, rows


def short(results: dict, keep: Iterable[str]) -> Table | None:
    """One line for each of some cases: our time, and how many times longer the others take."""
    rows, wanted = [], list(keep)
    for record in results["cases"]:
        row = own(record)
        if record["name"] not in wanted or row is None:
            continue
        what = f"{record['operator']}, {label(record)}"
        cells = [what, _milliseconds(row["ms"]), _digits(row.get("ratio"))]
        cells += [against(record, "compile"), against(record, "e3nn"), against(record, "released")]
        rows.append([*cells, _percent(row.get("of_copy")), _percent(row.get("of_floor"))])
    header = (
        "case",
        "ms",
        "vs eager",
        "vs torch.compile",
        "vs e3nn, fastest mode",
        "vs released",
        "of copy",
        "of floor",
    )
    return ("Measured in one run each", header, rows) if rows else None


def speed_up(record: dict, opponent: str) -> float | None:
    """How many times longer the fastest contestant takes whose name starts with `opponent`; None if not measured."""
    if own(record) is None:
        return None
    found = [row["vs_lead"] for name, row in record["results"].items() if name.startswith(opponent) and "ms" in row]
    return min(found, default=None)


def against(record: dict, opponent: str) -> str:
    return _digits(speed_up(record, opponent))


def _milliseconds(x: float) -> str:
    return f"{x:.3f}" if x < 1 else f"{x:.2f}" if x < 100 else f"{x:.0f}"


def _digits(x: float | None) -> str:
    if x is None:
        return MISSING
    return f"{x:.2f}" if x < 10 else f"{x:.1f}" if x < 100 else f"{x:.0f}"


def _percent(x: float | None) -> str:
    return MISSING if x is None else f"{100 * x:.0f} %" if x >= 0.1 else f"{100 * x:.1f} %"


def as_text(table: Table) -> str:
    """Aligned columns for a terminal."""
    title, header, rows = table
    rows = [[cell.replace("**", "") for cell in row] for row in rows]
    # A reason is a sentence in a column of numbers: it may stand over the next ones.
    widths = [max(len(line[column]) for line in (header, *_without_reasons(rows))) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths)).rstrip()

    return "\n".join([title, line(header), line(["-" * width for width in widths]), *map(line, rows)])


def _without_reasons(rows: list[Sequence[str]]) -> list[Sequence[str]]:
    return [["" if cell.startswith("not measured") else cell for cell in row] for row in rows]


def as_markdown(table: Table) -> str:
    """A GitHub table under its title."""
    title, header, rows = table
    lines = [f"**{title}**", "", "| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])
