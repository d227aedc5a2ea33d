"""The commands of `ditkernels study` that need data and no model, and the options that all of them share."""

from __future__ import annotations

import sys
from pathlib import Path

import click

RESULTS = Path("benchmarks/results/studies")
Split = tuple[int, int] | None

folder_option = click.option(
    "--results",
    type=click.Path(file_okay=False, path_type=Path),
    default=RESULTS,
    show_default=True,
    help="Folder of the result files.",
)
data_option = click.option(
    "--data",
    required=True,
    type=click.Path(exists=True, path_type=Path),
    help="Molecules with hydrogens and geometry, such as qm9_nof_b3lyp.npz.",
)
part_option = click.option(
    "--part",
    type=click.Choice(["test", "validation", "train", "all"]),
    default="test",
    show_default=True,
    help="Of the split that D3MES is trained with; all: every molecule of the data.",
)
split_option = click.option(
    "--split",
    type=click.IntRange(min=0),
    nargs=2,
    metavar="TRAIN VALIDATION",
    help="Molecules of two parts, as `data.train` and `data.validation` of the training; the rest are the test.  "
    "[default: those of QM9, 100000 17748]",
)


@click.command("reference")
@data_option
@split_option
@click.option("--molecules", type=int, default=10_000, show_default=True, help="Of which the data's row is computed.")
@click.option("--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Reference file, .npz.")
def reference(data: Path, split: Split, molecules: int, output: Path) -> None:
    """Make a reference for `evaluate-molecules` from the training molecules of a data set."""
    import numpy as np

    from ditkernels.models.metrics.reference import write_reference

    training = [record.mol for record in _records(data, "train", split)[0]]
    chosen = np.random.default_rng(0).permutation(len(training))[:molecules]
    found = write_reference(output, training, [training[k] for k in chosen])
    click.echo(f"{output}: {len(found.keys)} training molecules, rows of {len(chosen)}")


@click.command("rulers")
@data_option
@part_option
@split_option
@click.option(
    "--samples",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Samples with published scores: gschnet_qm9_samples.npz (ptr, pos_e4, z).",
)
@click.option("-n", "--number", type=click.IntRange(min=1), default=10_000, show_default=True, help="Molecules a row.")
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Seeds 0, 1, ... of the noise.")
@folder_option
def rulers(data: Path, part: str, split: Split, samples: Path, number: int, seeds: int, results: Path) -> None:
    """Real molecules, samples with published scores, and noise, by both rulers of stability."""
    import numpy as np

    from ditkernels.models.metrics.evaluate import of_molecule
    from ditkernels.models.studies.results import write_study
    from ditkernels.models.studies.rulers import TEXT, noise_row, read_samples, ruler_row, rulers_table

    published = read_samples(samples)[:number]
    records, _ = _records(data, part, split)
    chosen = np.random.default_rng(0).permutation(len(records))[:number]
    rows = [ruler_row(f"{data.name}, {part}", [of_molecule(records[k].mol) for k in chosen])]
    rows.append(ruler_row(samples.name, published))
    rows += [noise_row(number, range(seeds), sigma) for sigma in (1.5, 1.4)]
    line = f"ditkernels study rulers --data {data.name} {_part(part, split)} --samples {samples.name} -n {number}"
    line += f" --seeds {seeds}"
    text = rulers_table(rows)
    for path in write_study(results, "rulers", "Two rulers of stability", line, {"rows": rows}, f"{text}\n{TEXT}"):
        click.echo(path)
    click.echo(text)


@click.command("hydrogens")
@data_option
@part_option
@split_option
@click.option("--name", default="hydrogens", show_default=True, help="Of the result files.")
@folder_option
def hydrogens(data: Path, part: str, split: Split, name: str, results: Path) -> None:
    """Take the hydrogens from real molecules and put them back by valence."""
    from tqdm import tqdm

    from ditkernels.models.studies.hydrogens import TEXT, hydrogens_table, measure_hydrogens
    from ditkernels.models.studies.results import write_study

    records, left_out = _records(data, part, split)
    facts = measure_hydrogens(tqdm(records, unit="molecule", file=sys.stderr)) | {"left_out": left_out}
    line = f"ditkernels study hydrogens --data {data.name} {_part(part, split)} --name {name}"
    missing = "".join(f" Left out: {count}, {reason}." for reason, count in left_out.items())
    text = f"{facts['molecules']} molecules of {data.name}, {part}.{missing}\n\n{hydrogens_table(facts)}"
    title = f"Hydrogens put back by valence: {data.name}"
    for path in write_study(results, name, title, line, {"data": data.name, "part": part, **facts}, f"{text}\n{TEXT}"):
        click.echo(path)
    click.echo(text)


def _part(part: str, split: Split) -> str:
    """The options as a command line has them."""
    return f"--part {part}" + ("" if split is None else f" --split {split[0]} {split[1]}")


def _records(data: Path, part: str, split: Split) -> tuple[list, dict[str, int]]:
    from tqdm import tqdm

    from ditkernels.models.data.readers import open_reader
    from ditkernels.models.studies.parts import records_of

    return records_of(open_reader(data), part, lambda chunks: tqdm(chunks, unit="chunk", file=sys.stderr), split)
