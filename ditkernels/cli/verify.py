"""``ditkernels verify``: are our networks the original's, and do they have the symmetries that they should?"""

from __future__ import annotations

from pathlib import Path

import click


@click.command(name="verify")
@click.option(
    "--oracle",
    "oracles",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Recorded weights, inputs and outputs of the original program (.npz); may be given several times.",
)
@click.option(
    "--equivariance",
    "checkpoints",
    multiple=True,
    metavar="CHECKPOINT",
    help="Name of a shipped model, folder of a model or training checkpoint; may be given several times.",
)
@click.option(
    "--molecules",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Molecules for --equivariance (.sdf, .smi, .csv) instead of ten that come with the package. Conformers of an "
    "SD file are used, others made by RDKit's ETKDG.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="Euler steps of the sampling in --equivariance.",
)
@click.option(
    "--impl",
    "impls",
    multiple=True,
    help="Back-end to test; may be given several times. By default all that run here, for --equivariance the automatic "
    "choice.",
)
@click.option(
    "--dtype", "dtypes", multiple=True, type=click.Choice(["float32", "float64"]), default=["float32", "float64"]
)
@click.pass_context
def command(
    context: click.Context,
    oracles: tuple[Path, ...],
    checkpoints: tuple[str, ...],
    molecules: Path | None,
    steps: int,
    impls: tuple[str, ...],
    dtypes: tuple[str, ...],
) -> None:
    """Compare models with recorded outputs of the original program, or test their symmetries on real molecules.

    --oracle prints max |ours - original| / max |original| per quantity, back-end and dtype. The tolerance is 1e-5, or
    1e-10 for float64 runs against files that store float64.

    --equivariance prints how far f(Rx) is from R f(x) for permutations, translations, rotations and reflections R,
    where f is the centered network output at several times t, or a whole sampling from a moved prior sample: the
    largest distance of an atom in Å, and its ratio to the largest |f(x)|. A symmetry that the model has by construction
    may be off by 100 times what rounding the inputs changes; where that is more than a tenth of |f(x)|, as float32
    samples of a sensitive model can be, it is lost in rounding. The other symmetries are measured.

    Exit code 1 if a number is above its tolerance.
    """
    if not oracles and not checkpoints:
        raise click.UsageError("give --oracle, --equivariance or both")
    if molecules is not None and not checkpoints:
        raise click.UsageError("--molecules is for --equivariance, which is not given")
    failed = [_verify_oracle(path, impls, dtypes) for path in oracles]
    failed += [_verify_equivariance(name, molecules, steps, impls, dtypes) for name in checkpoints]
    if sum(failed):
        click.echo(f"{sum(failed)} comparisons above their tolerance", err=True)
        context.exit(1)


def _verify_oracle(path: Path, impls: tuple[str, ...], dtypes: tuple[str, ...]) -> int:
    """Print the comparisons of one file; returns the number of failed ones."""
    import torch

    from ditkernels.models.ditmc.verify import Oracle, compare

    oracle, failed = Oracle(path), 0
    click.echo(f"{path}")
    click.echo(f"  {'quantity':<26}{'impl':<12}{'dtype':<10}{'error':>10}{'tolerance':>12}")
    for row in compare(oracle, impls or oracle.impls(), [getattr(torch, name) for name in dtypes]):
        failed += not row.passed
        verdict = "ok" if row.passed else "ABOVE TOLERANCE"
        click.echo(
            f"  {row.quantity:<26}{row.impl:<12}{row.dtype:<10}{row.error:>10.1e}{row.tolerance:>12.0e}  {verdict}"
        )
    return failed


def _verify_equivariance(
    name: str, molecules: Path | None, steps: int, impls: tuple[str, ...], dtypes: tuple[str, ...]
) -> int:
    """Print the errors of one network; returns the number of guaranteed symmetries that are broken."""
    import torch

    from ditkernels.models.ditmc.equivariance import SYMMETRIES, equivariance_errors, guaranteed_symmetries
    from ditkernels.models.evaluation.example_molecules import example_molecules, molecules_of_file
    from ditkernels.models.generation.batching import batches
    from ditkernels.models.generation.options import GenerationOptions
    from ditkernels.models.weights import load_model

    model = load_model(name)
    config = model.config
    mols = example_molecules() if molecules is None else molecules_of_file(molecules)
    inputs = [_graph_and_positions(mol, config.layout) for mol in mols]
    sizes = [graph.num_atoms for graph, _ in inputs]
    limits = GenerationOptions(conformers=1)
    groups = list(batches(zip(inputs, sizes), limits.max_atoms_per_batch, limits.max_pairs_per_batch))

    held = guaranteed_symmetries(config)
    open_ones = [symmetry for symmetry in SYMMETRIES if symmetry not in held]
    click.echo(f"{name}: {len(sizes)} molecules of {min(sizes)} to {max(sizes)} atoms")
    click.echo(f"  by construction of the {config.embedding} embedding: {', '.join(held) or 'none'}")
    click.echo(f"  not by construction: {', '.join(open_ones) or 'none'}")
    click.echo(
        f"  {'symmetry':<13}{'quantity':<20}{'impl':<12}{'dtype':<10}{'error':>10}{'relative':>10}{'tolerance':>11}"
    )
    failed = 0
    precisions = [getattr(torch, dtype) for dtype in dtypes]
    for row in equivariance_errors(model, groups, impls=impls or ("auto",), dtypes=precisions, steps=steps):
        failed += not row.passed
        tolerance = f"{row.tolerance:.0e}" if row.guaranteed else "-"
        verdict = "ABOVE TOLERANCE" if not row.passed else "lost in rounding" if row.lost else "ok"
        line = f"  {row.symmetry:<13}{row.quantity:<20}{row.impl:<12}{row.dtype:<10}{row.error:>10.1e}"
        click.echo(f"{line}{row.relative:>10.1e}{tolerance:>11}  {verdict if row.guaranteed else ''}".rstrip())
    return failed


def _graph_and_positions(mol, layout: str):
    """Attribute arrays and conformer (n, 3) in Å of a molecule; ValueError where the layout cannot describe it."""
    from ditkernels.models.molecule.featurize import UnsupportedMolecule, molecular_graph

    try:
        return molecular_graph(mol, layout), mol.GetConformer().GetPositions()
    except UnsupportedMolecule as problem:
        raise ValueError(f"molecule {mol.GetProp('_Name')} does not fit the model's layout: {problem}") from problem
