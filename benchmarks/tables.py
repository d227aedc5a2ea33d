"""Results as tables: plain text for the terminal, Markdown for the README."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.targets import verdicts

Table = tuple[str, Sequence[str], list[Sequence[str]]]
"""Title, header, rows of cells."""


def tables(results: dict) -> list[Table]:
    """All tables that the sections in `results` allow."""
    made = []
    if "pair_attention" in results:
        made.append(_attention(results["pair_attention"]))
    if "so3_attention" in results:
        made.append(_so3_attention(results["so3_attention"]))
    if "so3_e3nn_modes" in results:
        made.append(_e3nn_modes(results["so3_e3nn_modes"]["rows"]))
    rows = [row for section in ("memory", "so3_memory") for row in results.get(section, {}).get("rows", [])]
    if rows:
        made.append(_memory(rows))
    if "sampling" in results:
        made.append(_sampling(results["sampling"]))
    checks = verdicts(results)
    if checks:
        made.append(("Targets", ("target", "least", "measured", "met"), checks))
    return made


def _attention(section: dict) -> Table:
    header = ("form", "B × N", "pass", "fused ms", "±", "eager ms", "compile ms", "vs eager", "vs compile")
    header += ("GB/s", "of read bw", "GFLOP/s", "error", "eager error")
    rows = []
    for row in section["rows"]:
        rows.append(
            (
                row["form"],
                f"{row['batch']} × {row['size']}",
                row["passes"],
                f"{row['fused_ms']:.2f}",
                f"{100 * row['spread']:.0f} %",
                f"{row['eager_ms']:.1f}",
                _opponent(row, "compile_ms", ".1f"),
                f"{row['speedup_eager']:.1f}",
                _opponent(row, "speedup_compile", ".1f"),
                f"{row['gigabytes_per_second']:.1f}",
                f"{100 * row['bandwidth_share']:.0f} %",
                f"{row['gigaflops_per_second']:.1f}",
                f"{row['error']:.0e}",
                f"{row['error_eager']:.0e}",
            )
        )
    bandwidth = section["read_bandwidth"] / 1e9
    title = (
        f"pair_attention, float32, C = 256, H = 8 (read bandwidth of this machine in this run: {bandwidth:.1f} GB/s)"
    )
    return title + _skipped(section), header, rows


def _so3_attention(section: dict) -> Table:
    header = ("form", "irreps", "C", "B × N", "pass", "fused ms", "±", "eager ms", "compile ms", "e3nn ms", "e3nn mode")
    header += ("vs eager", "vs compile", "vs e3nn", "floor ms", "of floor", "GB/s", "GFLOP/s", "error", "e3nn error")
    rows = []
    for row in section["rows"]:
        rows.append(
            (
                row["form"],
                row["irreps"],
                str(row["channels"]),
                f"{row['batch']} × {row['size']}",
                row["passes"],
                f"{row['fused_ms']:.2f}",
                f"{100 * row['spread']:.0f} %",
                f"{row['eager_ms']:.0f}",
                _opponent(row, "compile_ms", ".0f"),
                _opponent(row, "e3nn_ms", ".0f"),
                row.get("e3nn_mode", "-"),
                f"{row['speedup_eager']:.1f}",
                _opponent(row, "speedup_compile", ".1f"),
                _opponent(row, "speedup_e3nn", ".1f"),
                f"{row['floor_ms']:.2f}",
                f"{100 * row['floor_share']:.0f} %",
                f"{row['gigabytes_per_second']:.1f}",
                f"{row['gigaflops_per_second']:.0f}",
                f"{row['error']:.0e}",
                _opponent(row, "error_e3nn", ".0e"),
            )
        )
    bandwidth, rate = section["read_bandwidth"] / 1e9, section["matrix_rate"] / 1e9
    title = (
        f"so3_attention, float32, H = 8, K = 64 (in this run: read bandwidth {bandwidth:.1f} GB/s, matrix product "
        f"{rate:.0f} GFLOP/s; floor: the larger of bytes and operations at these rates)"
    )
    return title + _skipped(section), header, rows


def _e3nn_modes(measured: list[dict]) -> Table:
    modes = measured[0]["modes"]
    header = ("irreps", "C", "N", "pass", "fused ms", *(f"e3nn {mode} ms" for mode in modes))
    header += (*(f"vs {mode}" for mode in modes), "fastest")
    rows = [
        (
            row["irreps"],
            str(row["channels"]),
            str(row["size"]),
            row["passes"],
            f"{row['fused_ms']:.2f}",
            *(_opponent(row, f"{mode}_ms", ".1f") for mode in modes),
            *(_opponent(row, f"speedup_{mode}", ".1f") for mode in modes),
            row["fastest"],
        )
        for row in measured
    ]
    return "Modes of e3nn, one molecule, dense form (eager: e3nn's default; compile: torch.compile)", header, rows


def _memory(measured: list[dict]) -> Table:
    header = ("form", "B × N", "layers", "fused MB", "eager MB", "eager / fused")
    rows = [
        (
            row["form"],
            f"{row['batch']} × {row['size']}",
            str(row["layers"]),
            f"{row['fused_bytes'] / 1e6:.1f}",
            f"{row['eager_bytes'] / 1e6:.1f}",
            f"{row['saving']:.1f}",
        )
        for row in measured
    ]
    return "Peak memory of forward + backward beyond the inputs, gradients included", header, rows


def _sampling(section: dict) -> Table:
    header = ("model", "conformers × atoms", "steps", "fused s", "conformers/s", "reference s", "released s")
    header += ("vs reference", "vs released")
    rows = [
        (
            row["model"],
            f"{row['conformers']} × {row['atoms']}",
            str(row["steps"]),
            f"{row['fused_s']:.2f}",
            f"{row['conformers'] / row['fused_s']:.2f}",
            f"{row['reference_s']:.1f}",
            _optional(row["released_s"], ".1f"),
            f"{row['speedup_reference']:.1f}",
            _optional(row["speedup"], ".1f"),
        )
        for row in section["rows"]
    ]
    return "DiTMC sampling (reference and released: scaled from a few steps)", header, rows


def _opponent(row: dict, key: str, form: str) -> str:
    """A value of an opponent, or why there is none."""
    name = key.removeprefix("speedup_").removeprefix("error_").removesuffix("_ms")
    return _optional(row.get(key), form, row.get("absent", {}).get(name, "-"))


def _skipped(section: dict) -> str:
    skipped = any("skipped" in row.get("absent", {}).values() for row in section["rows"])
    return "; skipped: takes too long to compile" if skipped else ""


def _optional(value: float | None, form: str, otherwise: str = "-") -> str:
    return otherwise if value is None else format(value, form)


def as_text(table: Table) -> str:
    """Aligned columns for a terminal."""
    title, header, rows = table
    widths = [max(len(line[column]) for line in (header, *rows)) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths)).rstrip()

    return "\n".join([title, line(header), line(["-" * width for width in widths]), *map(line, rows)])


def as_markdown(table: Table) -> str:
    """A GitHub table under its title."""
    title, header, rows = table
    lines = [f"**{title}**", "", "| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])
