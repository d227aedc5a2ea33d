"""``ditkernels kernels``: the Triton kernels, compiled for GPUs that need not be here, and the floors behind them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

ARCHITECTURES = ("sm_80", "sm_90", "sm_100", "gfx942")


@click.command(name="kernels")
@click.option("--operator", type=click.Choice(["pair_attention", "so3_attention"]), help="Only this operator.")
@click.option("--form", help="Only this form, such as dense.")
@click.option("--dtype", type=click.Choice(["float32", "bfloat16", "float16"]), help="Only this dtype of the tokens.")
@click.option(
    "--architecture",
    "architectures",
    multiple=True,
    type=click.Choice(ARCHITECTURES),
    default=ARCHITECTURES,
    help="Only this architecture; may be given several times.",
)
@click.option("--atoms", type=click.IntRange(1), default=44, show_default=True, help="Atoms per molecule.")
@click.option("--molecules", type=click.IntRange(1), default=64, show_default=True, help="Molecules of the batch.")
@click.option("--channels", type=click.IntRange(1), default=256, show_default=True, help="Channels, C = H D.")
@click.option("--heads", type=click.IntRange(1), default=8, show_default=True, help="Heads, H.")
@click.option("--floors", is_flag=True, help="Only bytes, operations and floors; compiles nothing.")
@click.option(
    "--sample",
    type=click.IntRange(0, 27),
    help="Of every form only one dtype, list of irreps and architecture; other numbers, others.",
)
@click.option("--jobs", type=click.IntRange(1), help="Processes that compile; the number of cores by default.")
@click.option(
    "--save",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write kernels.json and README.md into this folder.",
)
@click.option(
    "--check",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Compare with the kernels.json of this folder: exit code 1 if a kernel needs more registers or is not there.",
)
def command(
    operator: str | None,
    form: str | None,
    dtype: str | None,
    architectures: tuple[str, ...],
    atoms: int,
    molecules: int,
    channels: int,
    heads: int,
    floors: bool,
    sample: int | None,
    jobs: int | None,
    save: Path | None,
    check: Path | None,
) -> None:
    """Compile the Triton kernels for some GPUs and print registers, shared memory (bytes), spills and the number of
    matrix instructions of each; then bytes moved, operations, and the time that the bandwidth and the peak rate in the
    GPU's datasheet allow at best.

    Last come the kernels that only gradients of positions, and of a table with a row per bond, need. No GPU is needed.
    The exit code is 1 if a kernel spills registers, or has a product of half-precision matrices and
    no matrix instruction.
    """
    from ditkernels.triton.support import interpreted
    from ditkernels.tuning import problems, report

    if interpreted():
        raise click.ClickException("TRITON_INTERPRET=1 makes kernels that cannot be compiled; unset it")
    if channels % heads:
        raise click.ClickException(f"--channels must be a multiple of --heads, got {channels} and {heads}")
    wanted = [
        replace(problem, atoms=atoms, molecules=molecules, channels=channels, heads=heads)
        for problem in (*problems.every_problem(), *problems.rare_problems())
        if operator in (None, problem.operator)
        and form in (None, problem.form)
        and dtype in (None, str(problem.dtype)[6:])
    ]
    if not wanted:
        raise click.ClickException(f"there is no form {form!r} of {operator or 'these operators'}")
    if floors and (save or check):
        raise click.UsageError("--floors compiles nothing that --save or --check could take")
    if save and sample is not None:
        raise click.UsageError("--save writes all kernels, not those of a --sample")
    found: list[str] = []
    if not floors:
        tasks = [(problem, architecture) for problem in wanted for architecture in architectures]
        if sample is not None:
            tasks = report.sample(tasks, sample)
        with click.progressbar(length=len(tasks), label="compiling") as bar:
            rows = report.compile_all(tasks, jobs, lambda: bar.update(1))
        click.echo(report.text(report.kernel_table(rows)))
        found = report.complaints(rows, report.load(check) if check else None)
    table = report.floor_table([problem for problem in wanted if not problem.rare], architectures)
    click.echo(report.text(table))
    if save:
        report.save(save, rows, table, f"ditkernels kernels --save {save}")
    for line in found:
        click.echo(line, err=True)
    if found:
        raise click.ClickException(f"{len(found)} complaints")
