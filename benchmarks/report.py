"""Puts the committed results into the README: tables, and a plot of the speed-ups. Nothing is measured here.

    python -m benchmarks.report            rewrite the marked parts of README.md, and benchmarks/results/speedup.png
    python -m benchmarks.report --check    exit 1 if README.md is not what the committed results give

Parts are marked by `<!-- benchmarks:begin -->` ... `<!-- benchmarks:end -->` (results/cpu-*.json, cuda-*.json) and
`<!-- quality:begin -->` ... `<!-- quality:end -->` (results/quality/*.json, written by `ditkernels evaluate`).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if __package__ in (None, ""):
    sys.path.insert(0, str(ROOT))

from benchmarks.tables import as_markdown, tables  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
README = ROOT / "README.md"
PLOT = RESULTS / "speedup.png"

# Columns of the speed tables that the README leaves out; the JSON and the terminal have all of them.
_LONG = ("±", "compile ms", "GB/s", "GFLOP/s", "e3nn error")


def benchmark_part(results: Path = RESULTS) -> str:
    """Markdown of all devices with results."""
    blocks = []
    for path in sorted(results.glob("c*-*.json")):
        sections = json.loads(path.read_text())
        environments = {json.dumps(section["environment"], sort_keys=True): None for section in sections.values()}
        for text in environments:
            here = json.loads(text)
            blocks.append(
                f"Measured on {here['device']}, {here['threads']} threads, {here['system']}, Python {here['python']}, "
                f"torch {here['torch']}, {here['date']}."
            )
        for title, header, rows in tables(sections):
            kept = [column for column, name in enumerate(header) if name not in _LONG]
            header, rows = [header[column] for column in kept], [[row[column] for column in kept] for row in rows]
            blocks.append(as_markdown((title, header, rows)))
    if not blocks:
        return "No results are committed yet: `pytest benchmarks --save-results` writes them."
    return "\n\n".join([*blocks, "![speed-ups](benchmarks/results/speedup.png)"])


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


def insert(readme: str, part: str, text: str) -> str:
    """`readme` with what stands between the markers of `part` replaced.

    Raises:
        ValueError: if the markers are not both there, in order and once.
    """
    begin, end = f"<!-- {part}:begin -->", f"<!-- {part}:end -->"
    if readme.count(begin) != 1 or readme.count(end) != 1 or readme.index(begin) > readme.index(end):
        raise ValueError(f"the README needs the markers {begin} and {end}, once each and in this order")
    before, rest = readme.split(begin)
    return f"{before}{begin}\n{text}\n{end}{rest.split(end)[1]}"


def updated(readme: str, results: Path = RESULTS) -> str:
    """The README as the committed results want it."""
    readme = insert(readme, "benchmarks", benchmark_part(results))
    return insert(readme, "quality", quality_part(results / "quality"))


def plot(results: Path = RESULTS, path: Path = PLOT) -> bool:
    """Bar charts of the operators' speed-ups, one for each device and operator; False without results."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    measured = [json.loads(file.read_text()) for file in sorted(results.glob("c*-*.json"))]
    charts = [(name, sections[name]) for sections in measured for name in _BARS if name in sections]
    if not charts:
        return False
    figure, axes = plt.subplots(len(charts), 1, figsize=(10, 3.6 * len(charts)), squeeze=False, layout="constrained")
    for axis, (name, section) in zip(axes[:, 0], charts):
        rows = [row for row in section["rows"] if row["size"] in (44, 100)]
        bars, width = _BARS[name], 0.8 / len(_BARS[name])
        for number, (key, label) in enumerate(bars.items()):
            places = [x + (number - (len(bars) - 1) / 2) * width for x in range(len(rows))]
            axis.bar(places, [row[key] or 0 for row in rows], width, label=f"over {label}")
        axis.axhline(1, color="black", linewidth=0.8)
        axis.set(yscale="log", ylabel="speed-up", title=f"{name}, float32 — {section['environment']['device']}")
        axis.set_xticks(range(len(rows)), [_bar_label(row) for row in rows], fontsize=5)
        axis.legend(frameon=False, fontsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130, metadata={"Software": None})
    plt.close(figure)
    return True


# What the bars of a section show, and against whom.
_BARS = {
    "pair_attention": {"speedup_eager": "eager PyTorch", "speedup_compile": "torch.compile"},
    "so3_attention": {"speedup_eager": "eager PyTorch", "speedup_e3nn": "e3nn in its fastest mode"},
}


def _bar_label(row: dict) -> str:
    kind = [row["form"]]
    if "irreps" in row:
        kind += [row["irreps"], f"C = {row['channels']}"]
    return "\n".join([*kind, f"{row['batch']}×{row['size']}", "fwd" if row["passes"] == "forward" else "fwd+bwd"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="only tell whether README.md is up to date")
    check = parser.parse_args().check
    readme = README.read_text()
    wanted = updated(readme)
    if check:
        if wanted != readme:
            print("README.md does not match benchmarks/results: run `python -m benchmarks.report`", file=sys.stderr)
        return int(wanted != readme)
    README.write_text(wanted)
    if plot():
        print(f"README.md and {PLOT.relative_to(ROOT)} written")
    else:
        print("README.md written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
