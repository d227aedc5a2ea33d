"""``ditkernels tune``: the fastest configurations of the Triton kernels on the present GPU, into a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click


@click.command(name="tune")
@click.option(
    "-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Table to write, JSON."
)
@click.option("--operator", type=click.Choice(["pair_attention", "so3_attention"]), help="Only this operator.")
@click.option("--form", help="Only this form, such as dense.")
@click.option("--dtype", type=click.Choice(["float32", "bfloat16", "float16"]), help="Only this dtype of the tokens.")
@click.option(
    "--atoms",
    multiple=True,
    type=click.IntRange(1),
    default=(16, 32, 64, 128),
    show_default=True,
    help="Atoms per molecule; may be given several times. A table holds for sizes up to the next power of two.",
)
@click.option("--pairs", type=click.IntRange(1), default=400_000, show_default=True, help="Atom pairs of the batch.")
@click.option("--channels", type=click.IntRange(1), default=256, show_default=True, help="Channels, C = H D.")
@click.option("--heads", type=click.IntRange(1), default=8, show_default=True, help="Heads, H.")
def command(
    output: Path,
    operator: str | None,
    form: str | None,
    dtype: str | None,
    atoms: tuple[int, ...],
    pairs: int,
    channels: int,
    heads: int,
) -> None:
    """Measure every candidate configuration of the Triton kernels on the present GPU, and write the fastest.

    The table is used where the environment variable DITKERNELS_TRITON_CONFIGS names it. Kernels that it already holds
    are not measured again, so an interrupted run goes on where it stopped.
    """
    import torch

    from ditkernels.triton import configs
    from ditkernels.tuning.problems import every_problem
    from ditkernels.tuning.tune import tune

    if channels % heads:
        raise click.ClickException(f"--channels must be a multiple of --heads, got {channels} and {heads}")
    if not torch.cuda.is_available():
        raise click.ClickException("tuning measures on a GPU, and PyTorch sees none here")
    device = torch.device("cuda")
    table = configs.read(output) if output.exists() else {}
    wanted = [
        replace(problem, atoms=n, molecules=-(-pairs // n**2), channels=channels, heads=heads)
        for problem in every_problem()
        if operator in (None, problem.operator)
        and form in (None, problem.form)
        and dtype in (None, str(problem.dtype)[6:])
        for n in atoms
    ]
    if not wanted:
        raise click.ClickException(f"there is no form {form!r} of {operator or 'these operators'}")
    for number, problem in enumerate(wanted, 1):
        click.echo(f"[{number}/{len(wanted)}] {problem.name}, {problem.molecules} x {problem.atoms} atoms")
        for key, config in tune(problem, device, table, say=lambda line: click.echo(f"  {line}")):
            table[key] = config
            configs.write(output, table, torch.cuda.get_device_name(device))
    click.echo(f"{len(table)} configurations in {output}; use them with {configs.VARIABLE}={output}")
