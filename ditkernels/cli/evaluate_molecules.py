"""`ditkernels evaluate-molecules`: validity, stability, novelty and class of generated molecules."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import click

from ditkernels.cli.outputs import SOME_FAILED


@click.command(name="evaluate-molecules", short_help="Measure generated molecules: stability, validity, class.")
@click.argument("inputs", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--reference",
    default="qm9",
    show_default=True,
    metavar="NAME|FILE",
    help="Training molecules for novelty, and the rows of the data and of noise.",
)
@click.option(
    "--failures",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=None,
    help="Table of failed samples that `ditkernels molecules --failures` wrote beside a single IN; they count.",
)
@click.option("--asked", type=int, default=None, help="Samples asked for; those that no IN holds count as failed.")
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Also write the rows here.")
@click.pass_context
def command(
    ctx: click.Context,
    inputs: tuple[Path, ...],
    reference: str,
    failures: Path | None,
    asked: int | None,
    json_path: Path | None,
) -> None:
    """Measure the molecules in each IN (an SD file with bonds and hydrogens), a row each.

    The table always has the row of the training data, and of Gaussian noise, which shows what each ruler is worth. A
    record that cannot be read, or has no 3D coordinates, is named and counts as a failed sample.

    Exit code: 0 done, 3 some records could not be read, 2 wrong usage, 1 other errors.
    """
    from ditkernels.models.metrics.evaluate import measure
    from ditkernels.models.metrics.files import read_generated, without_hydrogens
    from ditkernels.models.metrics.reference import load_reference
    from ditkernels.models.metrics.table import LEGEND, confusion_markdown, markdown

    if len(inputs) > 1 and (failures is not None or asked is not None):
        raise click.UsageError("--failures and --asked belong to a single IN")
    if failures is not None and asked is not None:
        raise click.UsageError("--failures and --asked both count the failed samples; give one of them")
    broken: list[tuple[str, str]] = []
    try:
        known = load_reference(reference)
        rows = []
        for path in inputs:
            left_out: list[tuple[str, str]] = []
            samples = read_generated(path, lambda *found, into=left_out: into.append(found))
            broken += left_out
            if bare := without_hydrogens(samples):
                click.echo(f"{path}: {bare} molecules lack hydrogens, which EDM's ruler needs", err=True)
            lost = [label for _, label in left_out] + (_lost(failures) if failures else [])
            held = len(samples) + len(lost)
            if not held and not asked:
                raise ValueError(f"{path} holds no record")
            if asked is not None and asked < held:
                raise ValueError(f"--asked is {asked}, but {path} holds {held} records")
            lost += [""] * ((asked or held) - held)
            rows.append(measure(path.name, samples, lost, known.keys))
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    for sentence, _ in broken:
        click.echo(sentence, err=True)
    click.echo(markdown([*rows, *known.rows]))
    for row in rows:
        if text := confusion_markdown(row):
            click.echo(f"{row['name']}, classes\n\n{text}")
    click.echo(LEGEND)
    if json_path is not None:
        json_path.write_text(json.dumps([*rows, *known.rows], indent=1) + "\n")
    ctx.exit(SOME_FAILED if broken else 0)


def _lost(path: Path) -> list[str]:
    """Classes asked of the samples in a table of failures. Raises ValueError for a file that is none."""
    with path.open(newline="") as handle:
        table = csv.DictReader(handle)
        if not {"sample", "class", "reason"} <= set(table.fieldnames or ()):
            raise ValueError(f"{path} is no table of failures: columns sample, class and reason are missing")
        return [row["class"] for row in table]
