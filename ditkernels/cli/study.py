"""`ditkernels study`: the studies of D3MES, each with its table."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ditkernels.cli.study_data import data_option, folder_option, hydrogens, reference, rulers


@click.group("study", short_help="Studies of molecule generation, with their tables.")
def command() -> None:
    """Answer one question about molecule generation and write its table and JSON."""


command.add_command(reference)
command.add_command(rulers)
command.add_command(hydrogens)


@command.command("arms")
@click.argument("models", nargs=-1, required=True, metavar="NAME=MODEL...")
@click.option("-n", "--number", type=int, default=1000, show_default=True, help="Samples per seed.")
@click.option("--seeds", type=int, default=3, show_default=True, help="Seeds 0, 1, ...")
@click.option("--steps", type=int, default=250, show_default=True, help="Of the sampler.")
@click.option("--guidance", type=float, default=1.0, show_default=True)
@click.option("--class", "label", default="any", show_default=True, metavar="any|acyclic|cyclic")
@click.option("--reference", default="qm9", show_default=True, metavar="NAME|FILE")
@click.option("--name", default="arms", show_default=True, help="Of the result files.")
@folder_option
def arms(models, number, seeds, steps, guidance, label, reference, name, results) -> None:
    """Sample each MODEL with the same options and seeds and measure it."""
    from tqdm import tqdm

    from ditkernels.models.metrics.reference import load_reference
    from ditkernels.models.metrics.table import LEGEND, markdown
    from ditkernels.models.studies.arms import measure_arm
    from ditkernels.models.studies.results import write_study

    pairs, known = _pairs(models), load_reference(reference)
    rows = []
    with tqdm(total=len(pairs) * seeds * number, unit="sample", file=sys.stderr) as bar:
        for arm, model in pairs:
            options = {"steps": steps, "guidance": guidance, "label": label}
            rows.append(measure_arm(arm, model, known, number, range(seeds), bar.update, **options))
    text = markdown([*rows, *known.rows])
    command_line = " ".join(
        ["ditkernels study arms", *(f"{arm}={Path(model).name}" for arm, model in pairs)]
        + [f"-n {number} --seeds {seeds} --steps {steps} --guidance {guidance:g} --class {label} --name {name}"]
    )
    facts = {"rows": [*rows, *known.rows]}
    for path in write_study(results, name, "Arms of D3MES", command_line, facts, f"{text}\n{LEGEND}"):
        click.echo(path)
    click.echo(text)


def _pairs(models: tuple[str, ...]) -> list[tuple[str, str]]:
    """(name, model) of arguments NAME=MODEL."""
    pairs = [text.partition("=") for text in models]
    if any(not separator for _, separator, _ in pairs):
        raise click.UsageError("every model must be given as NAME=MODEL")
    return [(name, model) for name, _, model in pairs]


def _command_line(study: str, pairs: list[tuple[str, str]], **options: object) -> str:
    """The command that makes the files again, without the folders of this machine."""
    words = [f"{name}={Path(model).name}" for name, model in pairs]
    return " ".join(
        ["ditkernels study", study, *words, *(f"--{key.replace('_', '-')} {value}" for key, value in options.items())]
    )


@command.command("sizes")
@click.argument("models", nargs=-1, required=True, metavar="NAME=MODEL...")
@click.option("--bins", default="1-6,7,8,9", show_default=True, help="Numbers of heavy atoms that are measured apart.")
@click.option("-n", "--number", type=int, default=1000, show_default=True, help="Samples per bin and seed.")
@click.option("--seeds", type=int, default=3, show_default=True, help="Seeds 0, 1, ...")
@click.option("--steps", type=int, default=250, show_default=True, help="Of the sampler.")
@click.option("--reference", default="qm9", show_default=True, metavar="NAME|FILE")
@folder_option
def sizes(models, bins, number, seeds, steps, reference, results) -> None:
    """Ask each MODEL for small and for large molecules, and measure them apart."""
    from tqdm import tqdm

    from ditkernels.models.metrics.reference import load_reference
    from ditkernels.models.metrics.table import LEGEND, markdown
    from ditkernels.models.studies.results import write_study
    from ditkernels.models.studies.sizes import measure_sizes, parse_bins
    from ditkernels.models.weights import load_model

    pairs, bounds, known = _pairs(models), parse_bins(bins), load_reference(reference)
    rows = []
    with tqdm(total=len(pairs) * len(bounds) * seeds * number, unit="sample", file=sys.stderr) as bar:
        for name, model in pairs:
            network = load_model(model, family="d3mes")
            rows += measure_sizes(name, network, bounds, known, number, range(seeds), bar.update, steps=steps)
    text = markdown([*rows, *known.rows])
    line = _command_line("sizes", pairs, bins=bins, number=number, seeds=seeds, steps=steps)
    title = "Sizes of molecules"
    for path in write_study(results, "sizes", title, line, {"rows": [*rows, *known.rows]}, f"{text}\n{LEGEND}"):
        click.echo(path)
    click.echo(text)


@command.command("patches")
@click.argument("models", nargs=-1, required=True, metavar="NAME=MODEL...")
@click.option("--small", default="1-6", show_default=True, help="Numbers of heavy atoms that are also measured apart.")
@click.option("-n", "--number", type=int, default=1000, show_default=True, help="Samples per seed, twice.")
@click.option("--seeds", type=int, default=3, show_default=True, help="Seeds 0, 1, ...")
@click.option("--steps", type=int, default=250, show_default=True, help="Of the sampler.")
@click.option("--reference", default="qm9", show_default=True, metavar="NAME|FILE")
@folder_option
def patches(models, small, number, seeds, steps, reference, results) -> None:
    """Compare MODELs that were trained alike but for the rows of the image in a token."""
    from tqdm import tqdm

    from ditkernels.models.metrics.reference import load_reference
    from ditkernels.models.metrics.table import LEGEND, markdown
    from ditkernels.models.studies.patches import measure_patches, size_table
    from ditkernels.models.studies.results import write_study
    from ditkernels.models.studies.sizes import parse_bins
    from ditkernels.models.weights import load_model

    pairs, known, few = _pairs(models), load_reference(reference), []
    (bounds,), rows = parse_bins(small), []
    with tqdm(total=2 * len(pairs) * seeds * number, unit="sample", file=sys.stderr) as bar:
        for name, model in pairs:
            network = load_model(model, family="d3mes")
            found = measure_patches(name, network, bounds, known, number, range(seeds), bar.update, steps=steps)
            rows.append(found[0])
            few.append(found[1])
    everything = [*rows, *few, *known.rows]
    text = f"{size_table(rows)}\n{markdown(everything)}"
    line = _command_line("patches", pairs, small=small, number=number, seeds=seeds, steps=steps)
    for path in write_study(results, "patches", "Rows per token", line, {"rows": everything}, f"{text}\n{LEGEND}"):
        click.echo(path)
    click.echo(text)


@command.command("rotation")
@click.argument("models", nargs=-1, required=True, metavar="NAME=MODEL...")
@data_option
@click.option("-n", "--number", type=int, default=256, show_default=True, help="Molecules, and pairs of samples.")
@click.option("--steps", type=int, default=250, show_default=True, help="Of the sampler.")
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
