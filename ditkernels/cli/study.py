"""`ditkernels study`: the studies of D3MES, each with its table."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from ditkernels.cli.study_data import data_option, folder_option, hydrogens, reference, rulers


@click.group("study", short_help="Studies of molecule generation, with their tables.")
def command() -> None:
    """Answer one question about molecule generation and write its table and JSON."""


command.add_command(reference)
command.add_command(rulers)
command.add_command(hydrogens)

models_argument = click.argument("models", nargs=-1, required=True, metavar="NAME=MODEL...")
steps_option = click.option("--steps", type=int, default=250, show_default=True, help="Of the sampler.")
label_option = click.option("--class", "label", default="any", show_default=True, metavar="any|acyclic|cyclic")


def sampling_options(function: Callable) -> Callable:
    """Samples per row and seed, seeds, steps, molecules to compare with, and where results go."""
    for option in (
        folder_option,
        click.option("--reference", default="qm9", show_default=True, metavar="NAME|FILE"),
        steps_option,
        click.option("--seeds", type=int, default=3, show_default=True, help="Seeds 0, 1, ..."),
        click.option("-n", "--number", type=int, default=1000, show_default=True, help="Samples per row and seed."),
    ):
        function = option(function)
    return function


@command.command("arms")
@models_argument
@sampling_options
@click.option("--guidance", type=float, default=1.0, show_default=True)
@label_option
@click.option("--name", default="arms", show_default=True, help="Of the result files.")
def arms(models, number, seeds, steps, guidance, label, reference, name, results) -> None:
    """Sample each MODEL with the same options and seeds and measure it."""
    from ditkernels.models.studies.arms import measure_arm

    pairs, known = _pairs(models), _reference(reference)
    options, rows = {"steps": steps, "guidance": guidance, "label": label}, []
    with _samples(len(pairs) * seeds * number) as bar:
        for arm, model in pairs:
            rows.append(measure_arm(arm, model, known, number, range(seeds), bar.update, **options))
    line = _command_line("arms", pairs, number=number, seeds=seeds, steps=steps, guidance=f"{guidance:g}",
                         **{"class": label}, reference=_short(reference), name=name)  # fmt: skip
    _finish(results, name, "Arms of D3MES", line, rows, known, confusion=True)


@command.command("guidance")
@models_argument
@click.option("--values", default="0,1,1.5,2,3,5", show_default=True, help="Guidance scales; 0 asks for no class.")
@sampling_options
@label_option
def guidance(models, values, number, seeds, steps, label, reference, results) -> None:
    """Sample each MODEL at every scale of guidance: do more samples have the class, and what does it cost?"""
    from ditkernels.models.studies.arms import measure_arm

    pairs, scales, known, rows = _pairs(models), _scales(values), _reference(reference), []
    with _samples(len(pairs) * len(scales) * seeds * number) as bar:
        for name, model in pairs:
            for scale in scales:
                options = {"steps": steps, "guidance": scale, "label": label}
                row = measure_arm(f"{name}, s = {scale:g}", model, known, number, range(seeds), bar.update, **options)
                rows.append(row | {"guidance": scale})
    line = _command_line("guidance", pairs, values=values, number=number, seeds=seeds, steps=steps,
                         **{"class": label}, reference=_short(reference))  # fmt: skip
    _finish(results, "guidance", "Guidance", line, rows, known, confusion=True)


@command.command("sizes")
@models_argument
@click.option("--bins", default="1-6,7,8,9", show_default=True, help="Numbers of heavy atoms that are measured apart.")
@sampling_options
@click.option("--name", default="sizes", show_default=True, help="Of the result files.")
def sizes(models, bins, number, seeds, steps, reference, name, results) -> None:
    """Ask each MODEL for small and for large molecules, and measure them apart."""
    from ditkernels.models.studies.sizes import measure_sizes, parse_bins
    from ditkernels.models.weights import load_model

    pairs, bounds, known, rows = _pairs(models), parse_bins(bins), _reference(reference), []
    with _samples(len(pairs) * len(bounds) * seeds * number) as bar:
        for of_model, model in pairs:
            network = load_model(model, family="d3mes")
            rows += measure_sizes(of_model, network, bounds, known, number, range(seeds), bar.update, steps=steps)
    line = _command_line("sizes", pairs, bins=bins, number=number, seeds=seeds, steps=steps,
                         reference=_short(reference), name=name)  # fmt: skip
    title = f"Sizes of molecules: {', '.join(of_model for of_model, _ in pairs)}"
    _finish(results, name, title, line, rows, known)


@command.command("patches")
@models_argument
@click.option("--small", default="1-6", show_default=True, help="Numbers of heavy atoms that are also measured apart.")
@sampling_options
def patches(models, small, number, seeds, steps, reference, results) -> None:
    """Compare MODELs that were trained alike but for the rows of the image in a token; each is sampled twice."""
    from ditkernels.models.studies.patches import measure_patches, size_table
    from ditkernels.models.studies.sizes import parse_bins
    from ditkernels.models.weights import load_model

    pairs, known, few = _pairs(models), _reference(reference), []
    (bounds,), rows = parse_bins(small), []
    with _samples(2 * len(pairs) * seeds * number) as bar:
        for name, model in pairs:
            network = load_model(model, family="d3mes")
            found = measure_patches(name, network, bounds, known, number, range(seeds), bar.update, steps=steps)
            rows.append(found[0])
            few.append(found[1])
    line = _command_line("patches", pairs, small=small, number=number, seeds=seeds, steps=steps,
                         reference=_short(reference))  # fmt: skip
    _finish(results, "patches", "Rows per token", line, [*rows, *few], known, before=size_table(rows))


@command.command("rotation")
@models_argument
@data_option
@click.option("-n", "--number", type=int, default=256, show_default=True, help="Molecules, and pairs of samples.")
@steps_option
@folder_option
def rotation(models, data, number, steps, results) -> None:
    """Turn molecules and noise and see whether each MODEL's output and samples turn with them."""
    from ditkernels.models.data.readers import open_reader
    from ditkernels.models.studies.clean import clean_images
    from ditkernels.models.studies.results import write_study
    from ditkernels.models.studies.rotation import (
        error_table,
        output_errors,
        sample_changes,
        sample_table,
        untrained,
    )
    from ditkernels.models.weights import load_model

    pairs, rows = _pairs(models), []
    for name, model in pairs:
        network = load_model(model, family="d3mes")
        images, count = clean_images(open_reader(data), network.config, number)
        changes = sample_changes(network, count, steps=steps)
        rows.append({"name": name, "outputs": output_errors(network, images, count), "samples": changes})
        rows.append({"name": f"{name}, untrained", "outputs": output_errors(untrained(network), images, count)})
    text = f"{error_table(rows)}\n{sample_table(rows)}"
    line = _command_line("rotation", pairs, data=data.name, number=number, steps=steps)
    for path in write_study(results, "rotation", "Turned molecules, turned noise", line, {"rows": rows}, text):
        click.echo(path)
    click.echo(text)


def _samples(total: int):
    from tqdm import tqdm

    return tqdm(total=total, unit="sample", file=sys.stderr)


def _reference(name: str):
    from ditkernels.models.metrics.reference import load_reference

    return load_reference(name)


def _finish(
    folder: Path, name: str, title: str, line: str, rows: Sequence[dict], known, before: str = "", confusion=False
) -> None:
    """Write and show the table of the rows, with those of the training data and of noise.

    before: text above the table. confusion: also what the first seed of every row was asked for, and what came.
    """
    from ditkernels.models.metrics.table import LEGEND, confusion_markdown, markdown
    from ditkernels.models.studies.results import write_study

    everything = [*rows, *known.rows]
    text = f"{before}\n{markdown(everything)}" if before else markdown(everything)
    classes = [
        f"{row['name']}, seed 0: samples by class\n\n{table}"
        for row in (rows if confusion else ())
        if (table := confusion_markdown(row["per_seed"][0]))
    ]
    content = "\n".join((text, *classes, LEGEND))
    for path in write_study(folder, name, title, line, {"rows": everything}, content):
        click.echo(path)
    click.echo(text)


def _pairs(models: tuple[str, ...]) -> list[tuple[str, str]]:
    """(name, model) of arguments NAME=MODEL."""
    pairs = [text.partition("=") for text in models]
    if any(not separator for _, separator, _ in pairs):
        raise click.UsageError("every model must be given as NAME=MODEL")
    return [(name, model) for name, _, model in pairs]


def _scales(text: str) -> list[float]:
    try:
        return [float(value) for value in text.split(",")]
    except ValueError as error:
        raise click.UsageError(f"--values must be numbers with commas between them, got {text!r}") from error


def _command_line(study: str, pairs: list[tuple[str, str]], **options: object) -> str:
    """The command that makes the files again, without the folders of this machine."""
    words = [f"{name}={_short(model)}" for name, model in pairs]
    return " ".join(
        ["ditkernels study", study, *words, *(f"--{key.replace('_', '-')} {value}" for key, value in options.items())]
    )


def _short(name: str) -> str:
    """A name, or that of a file or folder; of a checkpoint that of its run as well."""
    path = Path(name)
    return f"{path.parents[1].name}/{path.name}" if path.parent.name == "checkpoints" else path.name
