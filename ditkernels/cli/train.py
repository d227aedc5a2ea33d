"""``ditkernels train``: train a network from a YAML configuration."""

from __future__ import annotations

import sys
from pathlib import Path

import click

INTERRUPTED = 130


@click.command("train")
@click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--resume", is_flag=True, help="Continue from the newest checkpoint in the output folder.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the run (default: `output` of CONFIG).",
)
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key, e.g. schedule.steps=1000."
)
@click.option("--preprocess-only", is_flag=True, help="Build the preprocessing cache, print its report and stop.")
@click.option(
    "--export",
    type=click.Choice(["validation", "test"]),
    help="Write the molecules kept aside to <source>_<split>.sdf in the output folder and stop.",
)
@click.option("--plot-only", is_flag=True, help="Draw the loss curve of the output folder's log and stop.")
def command(
    config: Path,
    resume: bool,
    output: Path | None,
    overrides: tuple[str, ...],
    preprocess_only: bool,
    export: str | None,
    plot_only: bool,
) -> int:
    """Train a model as CONFIG (a YAML file) says: DiTMC for conformers, D3MES for new molecules.

    The output folder receives config.yaml, log.csv, log.png, data_report.json and checkpoints/step_*, each of which
    can be given to other commands as a model. Data paths are relative to `data.root` in CONFIG, else to the
    environment variable DITKERNELS_DATA. Ctrl-C writes a checkpoint and ends with code 130; --resume continues exactly
    where the run stopped. Several processes: torchrun --nproc-per-node N --no-python ditkernels train CONFIG.
    """
    from ditkernels.models.training.config import load_config
    from ditkernels.models.training.log import plot_log

    settings = load_config(config, overrides)
    folder = output or Path(settings.output)
    if plot_only:
        plot_log(folder / "log.csv", folder / "log.png")
        click.echo(f"{folder / 'log.png'}")
        return 0
    from ditkernels.models.training.distributed import start_world

    world = start_world(settings.device)
    try:
        return _train(settings, folder, world, resume, preprocess_only, export)
    finally:
        world.close()


def _train(settings, folder: Path, world, resume: bool, preprocess_only: bool, export: str | None) -> int:
    from ditkernels.models.families import family_of

    def say(sentence: str) -> None:
        if world.is_main:
            click.echo(sentence, err=True)

    if not world.is_main:
        world.barrier()  # the main process builds the caches, the others find them
    recipe = family_of(settings.model).training.Recipe(settings, _progress if world.is_main else None)
    if world.is_main:
        world.barrier()
        folder.mkdir(parents=True, exist_ok=True)
        recipe.write_report(folder / "data_report.json")
    for line in recipe.report():
        say(line)
    if export is not None and world.is_main:
        for path, count in recipe.export(export, folder):
            say(f"{path}: {count} molecules")
    if preprocess_only or export is not None:
        return 0

    from ditkernels.models.training.log import plot_log
    from ditkernels.models.training.trainer import Trainer

    trainer = Trainer(recipe, folder, world, resume, echo=say)
    parameters = sum(p.numel() for p in trainer.network.parameters())
    steps = settings.schedule.steps
    say(f"{parameters / 1e6:.2f} M parameters on {world.device}, {world.size} process(es), {steps} steps")
    signal_number = trainer.run()
    if world.is_main and (folder / "log.csv").exists():
        _plot(plot_log, folder)
    if signal_number is None:
        say(f"finished: {trainer.checkpoints}, newest is the trained model")
        return 0
    say(f"interrupted after step {trainer.step}, checkpoint written; continue with the same command and --resume")
    return INTERRUPTED


def _plot(plot_log, folder: Path) -> None:
    try:
        plot_log(folder / "log.csv", folder / "log.png")
    except (ImportError, ValueError) as error:  # the run itself is complete without its picture
        click.echo(f"the loss curve was not drawn: {error}", err=True)


def _progress(chunks, name: str):
    from tqdm import tqdm

    return tqdm(chunks, desc=f"preprocessing {name}", unit="chunk", file=sys.stderr)
