"""What is generated from the result files: the page of all results beside them, and the marked parts of README.md.

The parts are between `<!-- benchmarks:begin -->` and `<!-- benchmarks:end -->`, and likewise for "quality" and
"molecules".
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.cases.networks import NETWORKS
from benchmarks.cases.pair import FOUR
from benchmarks.report import plots
from benchmarks.report.quality import quality_part
from benchmarks.report.studies import studies_part
from benchmarks.report.tables import as_markdown, short, tables
from benchmarks.report.targets import verdicts
from benchmarks.result_files import RESULTS, ROOT, load

README = ROOT / "README.md"
PAGE = "README.md"
"""The page of all results has this name in their folder, where a host of repositories shows it."""

_WAYS = ("forward", "forward+backward")
_SO3 = (
    ("L=1 C128", "4x44"),
    ("L=1 C128", "16x100"),
    ("L=2 C128", "4x44"),
    ("L=2 C128", "16x100"),
    ("DiTMC C256", "4x44"),
)
HEADLINES = (
    *(f"pair {form} {batch} {way} float32" for form in FOUR for batch in ("16x44", "4x100", "64x100") for way in _WAYS),
    *(f"so3 basis {irreps} {batch} forward+backward float32" for irreps, batch in _SO3),
    *(f"network {name} 16x44 evaluation float32" for name in NETWORKS),
    *(f"training {name} drugs4 step float32" for name in NETWORKS),
    *(f"sampling {name} 16x44 50 steps float32" for name in NETWORKS),
)
"""The cases of the table in README.md."""

PREAMBLE = """# Results

Made by `ditkernels bench report` from the JSON files in this folder, and from nothing else; how each number is made and
what the columns mean is in [benchmarks/README.md](../README.md). In bold: the back-end that `impl="auto"` takes.
Numbers of different runs are not compared: every ratio is taken between times of one run.
"""


def devices(folder: Path = RESULTS) -> dict[str, dict]:
    """The result files of a folder by device."""
    return {path.stem: load(path) for path in sorted(folder.glob("c*-*.json"))}


def page(folder: Path = RESULTS) -> str:
    """Markdown of everything that a folder holds."""
    blocks = [PREAMBLE]
    for device, results in devices(folder).items():
        blocks.append(f"## {device}\n\n{_runs(results)}")
        blocks += [
            f"![{name}]({path.relative_to(folder).as_posix()})" for name, path in _plots(folder, device, results)
        ]
        blocks += [as_markdown(table) for table in tables(results)]
    return "\n\n".join(block.rstrip() for block in blocks) + "\n"


def summary(folder: Path = RESULTS) -> str:
    """The part of README.md."""
    blocks = []
    for device, results in devices(folder).items():
        table = short(results, HEADLINES)
        if table is not None:
            runs = list(results["runs"].values())
            title = f"{_machine(runs[-1])}, {', '.join(sorted({run['date'] for run in runs}))}"
            blocks.append(as_markdown((title, *table[1:])))
        header = ("target", "least", "measured", "met")
        blocks.append(as_markdown((f"Targets, {device}", header, verdicts(results))))
        for name, path in _plots(folder, device, results):
            blocks.append(f"![{name}](benchmarks/results/{path.relative_to(folder).as_posix()})")
    if not blocks:
        return "No results are committed yet: `make bench BENCH=benchmarks/results` writes them."
    if not any(device.startswith("cuda") for device in devices(folder)):
        blocks.append("The suite has **not yet been run on a GPU**: `make bench-gpu` is for that.")
    return "\n\n".join(blocks)


def _plots(folder: Path, device: str, results: dict) -> list[tuple[str, Path]]:
    return list(plots.paths(folder, device, results).items())


def _machine(run: dict) -> str:
    threads = "" if "cuda" in run else f"{run['threads']} threads, "
    return f"{run['device']}, {threads}{run['system']}, Python {run['python']}, torch {run['torch']}"


def _runs(results: dict) -> str:
    return "\n".join(
        f"- run of {name}: {_machine(run)}. {_ceilings(run['ceilings'])}" for name, run in results["runs"].items()
    )


def _ceilings(ceilings: dict) -> str:
    known = [f"{key[:4]} {ceilings[key]:.1f} GB/s" for key in ("read_gbs", "copy_gbs") if ceilings[key]]
    known += [f"matrix product {dtype} {rate:.0f} GFLOP/s" for dtype, rate in ceilings["matmul_gflops"].items()]
    return f"Ceilings measured in it: {', '.join(known)}." if known else "No ceilings."


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


def updated(readme: str, folder: Path = RESULTS) -> str:
    """The README as the committed results want it."""
    parts = {
        "benchmarks": summary(folder),
        "quality": quality_part(folder / "quality"),
        "molecules": studies_part(folder / "studies"),
    }
    for part, text in parts.items():
        readme = insert(readme, part, text)
    return readme


def stale(folder: Path = RESULTS, readme: Path = README) -> list[Path]:
    """Generated files that are not what the results give."""
    found = [readme] if updated(readme.read_text(), folder) != readme.read_text() else []
    if not (folder / PAGE).exists() or (folder / PAGE).read_text() != page(folder):
        found.append(folder / PAGE)
    for device, results in devices(folder).items():
        found += plots.stale(folder, device, results)
    return found


def write(folder: Path = RESULTS) -> list[Path]:
    """The page and the plots of a folder of results; returns their paths."""
    written = [path for device, results in devices(folder).items() for path in plots.draw(folder, device, results)]
    (folder / PAGE).write_text(page(folder))
    return [folder / PAGE, *written]
