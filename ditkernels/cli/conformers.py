"""`ditkernels conformers`: molecules in, an SD file of conformers out."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ditkernels.cli.outputs import SOME_FAILED, check_output, weights_digest


@click.command(name="conformers", short_help="Sample 3D conformers of molecules into an SDF file.")
@click.argument("inputs", nargs=-1, required=True, metavar="IN...")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="OUT.sdf",
    help="SD file to write.",
)
@click.option("-n", "--conformers", type=int, default=10, show_default=True, help="Conformers per molecule.")
@click.option("--seed", type=int, default=0, show_default=True, help="Base of the random streams.")
@click.option(
    "--model", default="ape-s", show_default=True, metavar="NAME|DIR", help="A shipped model, or a folder with weights."
)
@click.option("--steps", type=int, default=50, show_default=True, help="Steps of the integration.")
@click.option("--grid", default="uniform", show_default=True, metavar="uniform|log", help="Spacing of the steps.")
@click.option("--method", default="euler", show_default=True, metavar="euler|heun", help="Rule of integration.")
@click.option(
    "--prior", default=None, metavar="harmonic|gaussian", help="Distribution at the start.  [default: the model's]"
)
@click.option(
    "--attempts",
    type=int,
    default=8,
    show_default=True,
    help="Samplings per conformer until its stereochemistry is right.",
)
@click.option(
    "--prune-rms",
    type=float,
    default=None,
    metavar="ANGSTROM",
    help="Drop conformers within this heavy-atom RMS deviation of an earlier one.",
)
@click.option(
    "--minimize", default="none", show_default=True, metavar="none|mmff", help="Relax every conformer with MMFF94."
)
@click.option("--largest-fragment", is_flag=True, help="Keep the largest of several disconnected fragments.")
@click.option(
    "--max-atoms", type=int, default=250, show_default=True, help="Refuse larger molecules (hydrogens included)."
)
@click.option(
    "--max-atoms-per-batch",
    type=int,
    default=2048,
    show_default=True,
    help="Atoms of one batch; raise it on a large GPU.",
)
@click.option(
    "--max-pairs-per-batch",
    type=int,
    default=None,
    help="Atom pairs of one batch.  [default: 64 per atom of the batch]",
)
@click.option("--device", default=None, metavar="cpu|cuda", help="Where to run.  [default: the GPU where there is one]")
@click.option("--impl", default="auto", show_default=True, metavar="NAME", help="Back-end of the attention.")
@click.option("--cuda-graph", is_flag=True, help="Replay CUDA graphs (on a GPU; not yet run on one).")
@click.option("--smiles-column", default=None, metavar="NAME", help="SMILES column of CSV input.  [default: smiles]")
@click.option("--title-column", default=None, metavar="NAME", help="Title column of CSV input.")
@click.option(
    "--failures",
    default=None,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.csv",
    help="Table of what failed: line, title, smiles, reason.  [default: reasons on stderr]",
)
@click.option("--resume", is_flag=True, help="Continue an interrupted run with the same input and options.")
@click.option("--overwrite", is_flag=True, help="Replace an existing output file.")
@click.pass_context
def command(
    ctx: click.Context,
    inputs: tuple[str, ...],
    output: Path,
    failures: Path | None,
    resume: bool,
    overwrite: bool,
    model: str,
    device: str | None,
    impl: str,
    cuda_graph: bool,
    smiles_column: str | None,
    title_column: str | None,
    max_pairs_per_batch: int | None,
    prior: str | None,
    **settings: object,
) -> None:
    """Sample conformers of the molecules in IN and write them to OUT.sdf, in input order.

    IN: SMILES files (.smi: SMILES, white space, title), tables (.csv), SD files (.sdf), each also with .gz; `-` for
    SMILES lines from standard input; or SMILES. Comment lines (#...) and a header line of a .smi file are not
    counted; every other line is a record, also an empty one.

    R/S and E/Z are checked on every conformer: a mirror image is reflected, anything else is sampled again, and what
    stays wrong is not written. A record with some of its conformers missing counts as written and is listed among
    the failures, too.

    The last line on stdout counts the records. Exit code: 0 all conformers written, 3 some failed or missing, 2
    wrong usage, 1 other errors.
    """
    from tqdm import tqdm

    from ditkernels import __version__
    from ditkernels.models.generation.job import ConformerJob
    from ditkernels.models.generation.options import MAX_PAIRS_PER_ATOM, GenerationOptions
    from ditkernels.models.generation.pipeline import ConformerPipeline
    from ditkernels.models.generation.sampling import choose_device, network_sampler
    from ditkernels.models.jobs import fingerprint
    from ditkernels.models.molecule.records import STDIN, check_input, read_records
    from ditkernels.models.weights import load_model

    columns = {"smiles_column": smiles_column, "title_column": title_column}
    from_stdin = STDIN in inputs
    try:
        check_output(inputs, output, failures, resume, overwrite)
        for name in inputs:
            check_input(name)
        # The dry pass also finds a missing column before anything is written.
        total = None if from_stdin else sum(1 for _ in read_records(inputs, **columns))
        network = load_model(model).to(choose_device(device))
        if max_pairs_per_batch is None:
            max_pairs_per_batch = MAX_PAIRS_PER_ATOM * settings["max_atoms_per_batch"]
        options = GenerationOptions(
            **settings, max_pairs_per_batch=max_pairs_per_batch, prior=prior or network.config.prior
        )
        identity = fingerprint(
            {
                "version": __version__,
                "inputs": inputs,
                "options": options.as_dict(),
                "columns": columns,
                "weights": weights_digest(network),
                "device": str(next(network.parameters()).device),
                "impl": impl,
                "failures": failures is not None,
            },
            [] if from_stdin else [Path(name) for name in inputs if Path(name).is_file()],
        )
        sampler = network_sampler(network, options, impl, cuda_graph)
        pipeline = ConformerPipeline(sampler, options, network.config.layout)
        job = ConformerJob(
            pipeline, output, failures, identity, model_name=Path(model).name, seed=options.seed, resume=resume
        )
    except (ValueError, FileNotFoundError) as error:
        raise click.UsageError(str(error)) from error

    def report(outcome) -> None:
        bar.update()
        if outcome.reason and failures is None:
            bar.write(
                f"{outcome.record.location} {outcome.record.title}: {outcome.reason}",
                file=sys.stderr,
            )

    try:
        with tqdm(
            total=total,
            initial=job.tally.records,
            unit="molecule",
            desc="conformers",
            file=sys.stderr,
        ) as bar:
            tally = job.run(read_records(inputs, **columns), report)
    except KeyboardInterrupt:
        click.echo(
            f"interrupted after {job.tally.records} records, which are in {output}; --resume continues", err=True
        )
        raise
    click.echo(
        f"in {tally.records} / out {tally.written} / failed {tally.failed}"
        f" ({tally.structures} conformers, {tally.partial} molecules with some missing)"
    )
    ctx.exit(0 if tally.complete else SOME_FAILED)
