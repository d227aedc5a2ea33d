"""``ditkernels verify``: are our networks the original's?"""

from __future__ import annotations

from pathlib import Path

import click


@click.command(name="verify")
@click.option(
    "--oracle",
    "oracles",
    required=True,
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Recorded weights, inputs and outputs of the original program (.npz); may be given several times.",
)
@click.option("--impl", "impls", multiple=True, help="Back-end to test; all that run here unless given.")
@click.option(
    "--dtype", "dtypes", multiple=True, type=click.Choice(["float32", "float64"]), default=["float32", "float64"]
)
@click.pass_context
def command(context: click.Context, oracles: tuple[Path, ...], impls: tuple[str, ...], dtypes: tuple[str, ...]) -> None:
    """Compare drift, sample, loss and prior with recorded outputs of the original program.

    Prints max |ours - original| / max |original| per quantity, back-end and dtype. Exit code 1 if one of them is above
    its tolerance: 1e-5, or 1e-10 for float64 runs against files that store float64.
    """
    import torch

    from ditkernels.models.ditmc.verify import Oracle, compare
    from ditkernels.pair_attention import available_impls

    chosen = impls or tuple(available_impls(torch.device("cpu")))
    failed = 0
    for path in oracles:
        click.echo(f"{path}")
        click.echo(f"  {'quantity':<26}{'impl':<12}{'dtype':<10}{'error':>10}{'tolerance':>12}")
        for row in compare(Oracle(path), chosen, [getattr(torch, name) for name in dtypes]):
            failed += not row.passed
            verdict = "ok" if row.passed else "ABOVE TOLERANCE"
            click.echo(
                f"  {row.quantity:<26}{row.impl:<12}{row.dtype:<10}{row.error:>10.1e}{row.tolerance:>12.0e}  {verdict}"
            )
    if failed:
        click.echo(f"{failed} comparisons above their tolerance", err=True)
        context.exit(1)
