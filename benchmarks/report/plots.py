"""Plots of a result file: speed-ups, scaling with the size of a molecule, and the roofline with its measured ceilings.

Every picture carries a digest of the numbers that it shows, so that a stale one is found without drawing it again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from benchmarks.report.tables import label, own, speed_up

OPERATORS = ("pair_attention", "so3_attention")
OPPONENTS = {"eager": "eager PyTorch", "compile": "torch.compile", "e3nn": "e3nn, fastest mode"}
DIGEST = "Description"
"""The field of a PNG that holds the digest."""

Points = dict[str, list]


def speed_ups(results: dict) -> Points:
    """By case: how many times longer each opponent takes; typical sizes of both operators."""
    found = {}
    for record in _operators(results):
        if record["threads"] is None and record["batch"] in ("16x44", "4x100", "4x44", "drugs16", "256x44", "64x100"):
            ratios = {name: speed_up(record, name) for name in OPPONENTS}
            found[f"{record['operator'].removesuffix('_attention')} {label(record)}"] = list(ratios.values())
    return found


def scaling(results: dict) -> Points:
    """By contestant: (N, nanoseconds per pair) of the forward pass in float32."""
    found: Points = {}
    for record in _operators(results):
        plain = record["direction"] == "forward" and record["dtype"] == "float32" and record["threads"] is None
        kind = {"pair_attention": record["form"] in ("dense", "table"), "so3_attention": record["irreps"] == "L = 1"}
        small = record["channels"] == 128 and record["form"] == "basis" or record["operator"] == "pair_attention"
        if not plain or not kind[record["operator"]] or not small or record["molecules"] * record["atoms"] == 9:
            continue
        for name in (record["auto"], "eager"):
            row = record["results"].get(name, {})
            if "ms" in row and "x" in record["batch"]:
                line = f"{record['operator'].removesuffix('_attention')} {record['form']}, {name}"
                size = record["atoms"] // record["molecules"]
                found.setdefault(line, []).append([size, 1e6 * row["ms"] / record["pairs"]])
    return {line: sorted(points) for line, points in found.items() if len(points) > 2}


def roofline(results: dict) -> Points:
    """By kind of case: (operations per byte, GFLOP/s) of our back-end in float32; and the ceilings. Only of runs that
    measured all of them.
    """
    complete = {name: found for name, run in results["runs"].items() if (found := _roof_of(run["ceilings"]))}
    found: Points = {}
    for record in _operators(results):
        row = own(record)
        if (
            row is None
            or record["run"] not in complete
            or record["threads"] is not None
            or record["dtype"] != "float32"
        ):
            continue
        line = f"{record['operator'].removesuffix('_attention')} {record['form']}, {record['direction']}"
        found.setdefault(line, []).append([record["flops"] / record["bytes"], row["gflops"]])
    if found:
        found["ceilings"] = list(complete.values())
    return found


def _roof_of(ceilings: dict) -> list[float] | None:
    """The highest bandwidth and the rate of the matrix product, GB/s and GFLOP/s."""
    rate = ceilings["matmul_gflops"].get("float32")
    bandwidths = [ceilings[key] for key in ("read_gbs", "copy_gbs") if ceilings[key]]
    return [max(bandwidths), rate] if rate and bandwidths else None


def _operators(results: dict) -> list[dict]:
    return [r for r in results["cases"] if r["operator"] in OPERATORS and r["layers"] == 1 and r["bytes"]]


PLOTS: dict[str, Callable[[dict], Points]] = {"speed-ups": speed_ups, "scaling": scaling, "roofline": roofline}


def digest(points: Points) -> str:
    return hashlib.sha256(json.dumps(points, sort_keys=True).encode()).hexdigest()[:16]


def paths(folder: Path, device: str, results: dict) -> dict[str, Path]:
    """Where the plots that a result file allows are."""
    return {name: folder / "plots" / f"{device}-{name}.png" for name, points in PLOTS.items() if points(results)}


def stale(folder: Path, device: str, results: dict) -> list[Path]:
    """Plots that are missing or show other numbers."""
    found = []
    for name, path in paths(folder, device, results).items():
        if not path.exists() or digest(PLOTS[name](results)).encode() not in path.read_bytes():
            found.append(path)
    return found


def draw(folder: Path, device: str, results: dict) -> list[Path]:
    """Draw all plots, and return their paths."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    title = next(iter(results["runs"].values()))["device"]
    written = []
    for name, path in paths(folder, device, results).items():
        points = PLOTS[name](results)
        figure, axis = plt.subplots(figsize=(10, 0.28 * len(points) + 2 if name == "speed-ups" else 5.5))
        {"speed-ups": _bars, "scaling": _lines, "roofline": _roof}[name](axis, points)
        axis.set_title(f"{name.capitalize()}, {title}", fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=120, bbox_inches="tight", metadata={"Software": None, DIGEST: digest(points)})
        plt.close(figure)
        written.append(path)
    return written


def _bars(axis, points: Points) -> None:
    rows, height = list(points), 0.8 / len(OPPONENTS)
    for number, opponent in enumerate(OPPONENTS.values()):
        places = [len(rows) - row - number * height for row in range(len(rows))]
        values = [points[row][number] or 0 for row in rows]
        axis.barh(places, values, height, label=f"over {opponent}")
    axis.axvline(1, color="black", linewidth=0.8)
    axis.set(xscale="log", xlabel="how many times longer it takes than our back-end")
    axis.set_yticks([len(rows) - row - height for row in range(len(rows))], rows, fontsize=7)
    axis.legend(frameon=False, fontsize=8)


def _lines(axis, points: Points) -> None:
    for line, values in points.items():
        axis.plot(*zip(*values), marker="o", label=line, linestyle="--" if line.endswith("eager") else "-")
    axis.set(xscale="log", yscale="log", xlabel="atoms of a molecule, N", ylabel="ns per atom pair, forward, float32")
    axis.set_xticks([9, 18, 44, 100, 181], ["9", "18", "44", "100", "181"])
    axis.minorticks_off()
    axis.legend(frameon=False, fontsize=8)


def _roof(axis, points: Points) -> None:
    points = dict(points)
    ceilings = points.pop("ceilings")
    intensities = [x for values in points.values() for x, _ in values]
    low, high = min(intensities) / 2, max(intensities) * 2
    for bandwidth, rate in ceilings:
        knee = rate / bandwidth
        axis.plot([low, knee, max(high, 2 * knee)], [low * bandwidth, rate, rate], color="black", linewidth=0.8)
        text = f"{bandwidth:.0f} GB/s, {rate:.0f} GFLOP/s, measured"
        axis.annotate(text, (knee, rate), textcoords="offset points", xytext=(4, 3), fontsize=7)
    for number, (line, values) in enumerate(points.items()):
        style = {"marker": "^" if "backward" in line else "o", "color": f"C{number // 2 % 10}"}
        axis.plot(*zip(*values), linestyle="", label=line, **style)
    axis.set(xscale="log", yscale="log", xlabel="operations per byte that must move", ylabel="GFLOP/s")
    axis.legend(frameon=False, fontsize=7)
