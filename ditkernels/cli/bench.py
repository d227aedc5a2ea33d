"""``ditkernels bench``: tables and plots from benchmark results, and their comparison with the committed ones.

The benchmarks are a part of the source tree, not of the installed package; ``make bench`` runs them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.group(name="bench", short_help="Tables and plots from benchmark results; regressions.")
def command() -> None:
    """Benchmark results: tables, plots, regressions. In a checkout of the source tree, ``make bench`` measures."""


@command.command()
@click.option("--check", is_flag=True, help="Write nothing; exit code 1 if a generated file is stale.")
def report(check: bool) -> None:
    """Write the README's tables, the page of all results and the plots from the committed result files alone."""
    _find_benchmarks()
    from benchmarks.report import page

    if check:
        found = page.stale()
        if found:
            raise click.ClickException(f"stale, run `ditkernels bench report`: {', '.join(map(str, found))}")
        return
    written = page.write()
    page.README.write_text(page.updated(page.README.read_text()))
    for path in (page.README, *written):
        click.echo(path)


@command.command()
@click.argument("new", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--with",
    "old",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Results to compare with; by default the committed ones of the same device.",
)
@click.option("--factor", type=click.FloatRange(1), help="How many times worse a ratio may be.  [default: 1.25]")
def compare(new: Path, old: Path | None, factor: float | None) -> None:
    """Compare the results NEW with earlier ones. The exit code is 1 if the ratio of eager PyTorch's time to that of one
    of our back-ends has become worse by more than a factor, and by more than its spread.
    """
    _find_benchmarks()
    from benchmarks.report.compare import FACTOR, changes
    from benchmarks.result_files import RESULTS, load

    old = RESULTS / new.name if old is None else old
    if not old.exists():
        raise click.ClickException(f"there are no committed results of this device, {old}")
    found = changes(load(old), load(new), FACTOR if factor is None else factor)
    for change in found:
        verdict = "WORSE" if change.worse else "ok"
        click.echo(f"{verdict:5}  {change.before:8.2f} -> {change.after:8.2f}  {change.contestant}: {change.case}")
    if worse := sum(change.worse for change in found):
        raise click.ClickException(f"{worse} of {len(found)} ratios are worse than in {old}")


def _find_benchmarks() -> None:
    """Make `benchmarks` importable from the source tree that this package is in, else from the present folder."""
    for folder in (Path(__file__).resolve().parents[2], Path.cwd()):
        if (folder / "benchmarks" / "result_files.py").exists():
            sys.path.insert(0, str(folder))
            return
    raise click.ClickException("the benchmarks are in the source tree, not in the package: call this in a checkout")
