"""`ditkernels molecules`: new molecules in three dimensions into an SD file."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import click

from ditkernels.cli.outputs import SOME_FAILED, check_output, weights_digest


@click.command(name="molecules", short_help="Generate new 3D molecules into an SDF file.")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="OUT.sdf",
    help="SD file to write.",
)
@click.option("-n", "--number", type=int, default=100, show_default=True, help="Samples.")
@click.option(
    "--class",
    "label",
    default="any",
    show_default=True,
    metavar="any|acyclic|cyclic",
    help="What to ask for; any: as often as in the training data.",
)
@click.option("--guidance", type=float, default=1.0, show_default=True, help="Strength of the guidance by the class.")
@click.option("--seed", type=int, default=0, show_default=True, help="Base of the random streams.")
@click.option(
    "--model",
    default="d3mes-qm9",
    show_default=True,
    metavar="NAME|DIR",
    help="A shipped model, or a folder with weights.",
)
@click.option("--steps", type=int, default=250, show_default=True, help="Steps of the sampler, at most 1000.")
@click.option("--batch", type=int, default=256, show_default=True, help="Samples at a time.")
@click.option(
    "--hydrogens",
    default="smallest",
    show_default=True,
    metavar="smallest|maximum",
    help="Valence up to which hydrogens are added.",
)
@click.option(
    "--bonds",
    default="rows",
    show_default=True,
    metavar="rows|geometry",
    help="Bonds as the model says, or by distance.",
)
@click.option(
    "--minimize", default="none", show_default=True, metavar="none|mmff", help="Relax every molecule with MMFF94."
)
@click.option("--device", default=None, metavar="cpu|cuda", help="Where to run.  [default: the GPU where there is one]")
@click.option("--impl", default="auto", show_default=True, metavar="NAME", help="Back-end of the attention.")
@click.option(
    "--failures",
    default=None,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.csv",
    help="Table of the samples that are no molecule: sample, class, atoms, reason, detail.",
)
@click.option("--resume", is_flag=True, help="Continue an interrupted run with the same options.")
@click.option("--overwrite", is_flag=True, help="Replace an existing output file.")
@click.pass_context
def command(
    ctx: click.Context,
    output: Path,
    failures: Path | None,
    resume: bool,
    overwrite: bool,
    model: str,
    device: str | None,
    impl: str,
    **settings: object,
) -> None:
    """Generate molecules with D3MES and write them to OUT.sdf, with bonds and hydrogens.

    A sample that is no molecule (atoms with too many bonds, several parts, atoms on each other) is not written; the
    last lines on stdout count the reasons. Sample k is the same whatever the number of samples, the batch, or the
    others.

    Exit code: 0 every sample is a molecule, 3 some are none, 2 wrong usage, 1 other errors.
    """
    from tqdm import tqdm

    from ditkernels import __version__
    from ditkernels.models.d3mes.generate import FAILURE_COLUMNS, MoleculeGenerator, MoleculeOptions, csv_row
    from ditkernels.models.generation.sampling import choose_device
    from ditkernels.models.jobs import FileJob, fingerprint
    from ditkernels.models.weights import load_model

    try:
        check_output((), output, failures, resume, overwrite)
        options = MoleculeOptions(**settings)
        network = load_model(model, choose_device(device), family="d3mes")
        steps = tqdm(total=options.steps, unit="step", desc="batch", leave=False, position=1, file=sys.stderr)
        generator = MoleculeGenerator(network, options, impl, progress=lambda step: _show(steps, step))
        identity = {
            "version": __version__,
            "options": options.as_dict(),
            "weights": weights_digest(network),
            "device": str(next(network.parameters()).device),
            "impl": impl,
            "failures": failures is not None,
        }
        job = FileJob(output, failures, csv_row(FAILURE_COLUMNS), fingerprint(identity, []), resume=resume)
    except (ValueError, FileNotFoundError) as error:
        raise click.UsageError(str(error)) from error

    reasons, done_before = Counter(), job.tally.records

    def report(found) -> None:
        bar.update()
        reasons[found.molecule.failure] += found.failed

    try:
        with tqdm(
            total=options.number, initial=job.tally.records, unit="sample", desc="molecules", file=sys.stderr
        ) as bar:
            tally = job.write(lambda start: generator.entries(Path(model).name, start), report)
    except KeyboardInterrupt:
        click.echo(
            f"interrupted after {job.tally.records} samples, which are in {output}; --resume continues", err=True
        )
        raise
    finally:
        steps.close()
    click.echo(f"samples {tally.records} / molecules {tally.written} / failed {tally.failed}")
    for reason, count in reasons.most_common():
        if count:
            click.echo(f"  {count:>6}  {reason}{' (since it was resumed)' if done_before else ''}")
    ctx.exit(0 if tally.complete else SOME_FAILED)


def _show(bar, step: int) -> None:
    """The steps of the batch in work."""
    bar.n = step
    bar.refresh()
