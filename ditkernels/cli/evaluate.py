"""`ditkernels evaluate`: how near conformers come to reference conformers."""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime, timezone
from pathlib import Path

import click


class SampleCount(click.ParamType):
    """A number of conformers per molecule, or `2K`: two per reference conformer (None)."""

    name = "N|2K"

    def convert(self, value, param, ctx) -> int | None:
        text = str(value).strip().upper()
        if text == "2K":
            return None
        if text.isdigit() and int(text) > 0:
            return int(text)
        self.fail(f"{value!r} is neither a positive number nor 2K", param, ctx)


@click.command(name="evaluate", short_help="Compare conformers with reference conformers.")
@click.option(
    "--data",
    required=True,
    type=click.Path(exists=True, path_type=Path),
    help="References: .sdf, .sdf.gz, .npz or a folder; or the .yaml of a training run, for what it keeps aside.",
)
@click.option("--model", "models", multiple=True, metavar="NAME|DIR", help="Shipped model or folder; may be repeated.")
@click.option(
    "--baseline",
    "baselines",
    multiple=True,
    type=click.Choice(["etkdg", "etkdg+mmff"]),
    help="RDKit's ETKDGv3, alone or relaxed with MMFF94; may be repeated.",
)
@click.option("--split", default=None, help="Split of the data to use.  [default: test for .yaml, else all records]")
@click.option("--source", default=None, help="Only this source of a .yaml (file name up to the first dot).")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a value of the .yaml.")
@click.option(
    "-n", "--samples", type=SampleCount(), default="2K", show_default=True, help="Conformers per molecule, or 2K."
)
@click.option("--limit", type=click.IntRange(min=1), default=None, help="Evaluate a random choice of molecules.")
@click.option("--seed", type=click.IntRange(min=0), default=42, show_default=True, help="Of sampling and choice.")
@click.option(
    "--threshold",
    "thresholds",
    multiple=True,
    type=float,
    default=(0.5,),
    show_default=True,
    help="RMSD in Å below which a conformer counts as found; may be repeated.",
)
@click.option(
    "--deduplicate", type=float, default=None, metavar="ANGSTROM", help="Merge references closer than this RMSD."
)
@click.option("--steps", type=click.IntRange(min=1), default=50, show_default=True, help="Sampling steps of models.")
@click.option("--heavy-geometry", is_flag=True, help="Bond and angle errors without hydrogens (if they are modelled).")
@click.option("--device", default=None, metavar="cpu|cuda", help="Of the models.  [default: the GPU if there is one]")
@click.option("--impl", default="auto", show_default=True, metavar="NAME", help="Back-end of the attention.")
@click.option("--workers", type=click.IntRange(min=1), default=None, help="Processes.  [default: one per core]")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), default=None, help="Results as JSON.")
@click.option(
    "--molecules", type=click.Path(dir_okay=False, path_type=Path), default=None, help="Scores per molecule as CSV."
)
def command(
    data: Path,
    models: tuple[str, ...],
    baselines: tuple[str, ...],
    split: str | None,
    source: str | None,
    overrides: tuple[str, ...],
    samples: int | None,
    limit: int | None,
    seed: int,
    thresholds: tuple[float, ...],
    deduplicate: float | None,
    steps: int,
    heavy_geometry: bool,
    device: str | None,
    impl: str,
    workers: int | None,
    output: Path | None,
    molecules: Path | None,
) -> None:
    """Coverage and average minimum RMSD (heavy atoms, symmetry included) of generated conformers against references,
    errors of bond lengths and angles, and the share with the right stereochemistry.

    COV-R and AMR-R ask whether every reference is found, COV-P and AMR-P whether every sample is near a reference.
    A molecule for which nothing came out counts as not covered. The table shows means and medians over molecules.
    """
    if not models and not baselines:
        raise click.UsageError("nothing to evaluate: name a --model, a --baseline, or several")
    training_config = data.suffix in (".yaml", ".yml")
    if not training_config and (source or overrides):
        raise click.UsageError("--source and --set belong to a training configuration (.yaml) as --data")
    for path in (output, molecules):
        if path is not None and not path.resolve().parent.is_dir():
            raise click.UsageError(f"the folder of {path} does not exist")

    from rdkit import rdBase

    from ditkernels.models.evaluation.references import choose, read_references
    from ditkernels.models.evaluation.run import EvaluationOptions, evaluate, molecule_table, report_table

    workers = workers or os.cpu_count() or 1
    options = EvaluationOptions(samples, tuple(dict.fromkeys(thresholds)), heavy_geometry, workers)
    rdBase.DisableLog("rdApp.*")  # its warnings about single molecules would bury the progress bar
    if training_config:
        from ditkernels.models.evaluation.kept_aside import kept_aside

        split = split or "test"
        references, rejected = kept_aside(data, split, source, limit, seed, overrides)
    else:
        references, rejected = read_references(data, split)
        references = choose(references, limit, seed)
    if deduplicate is not None:
        references = _deduplicated(references, deduplicate, workers)
    for reason in rejected[:10]:
        click.echo(f"reference left out: {reason}", err=True)
    total = sum(reference.count for reference in references)
    click.echo(f"{len(references)} molecules, {total} reference conformers from {data.name}", err=True)

    methods = _methods(models, baselines, seed, steps, device, impl, workers)
    reports, scores = evaluate(references, methods, options, progress=sys.stderr.isatty())
    click.echo(report_table(reports))
    if output is not None:
        settings = {
            "data": data.name,
            "split": split,
            "source": source,
            "limit": limit,
            "deduplicated": deduplicate,
            "molecules": len(references),
            "references": total,
            "references_left_out": len(rejected),
            "samples": samples if samples is not None else "2K",
            "thresholds": list(options.thresholds),
            "heavy_geometry": heavy_geometry,
            "seed": seed,
            "steps": steps,
        }
        _write(output, json.dumps({**settings, **_environment(), "methods": reports}, indent=1) + "\n")
    if molecules is not None:
        _write(molecules, molecule_table(references, scores))


def _methods(models, baselines, seed, steps, device, impl, workers) -> dict:
    from ditkernels.models.evaluation.methods import BASELINES, etkdg, network
    from ditkernels.models.generation.sampling import choose_device
    from ditkernels.models.weights import load_model

    progress = sys.stderr.isatty()
    methods = {}
    for name in models:
        loaded = load_model(name).to(choose_device(device))
        methods[Path(name).name] = network(loaded, seed, steps, impl=impl, progress=progress)
    for name in baselines:
        methods[name] = etkdg(seed, BASELINES[name], workers, progress)
    return methods


def _deduplicated(references: list, threshold: float, workers: int) -> list:
    from functools import partial

    from ditkernels.models.evaluation.parallel import Failure, map_molecules
    from ditkernels.models.evaluation.references import deduplicate

    results = map_molecules(partial(deduplicate, threshold=threshold), references, workers, "references")
    for reference, result in zip(references, results):
        if isinstance(result, Failure):
            click.echo(f"references of {reference.name} not deduplicated: {result.reason}", err=True)
    return [before if isinstance(after, Failure) else after for before, after in zip(references, results, strict=True)]


def _environment() -> dict:
    import rdkit
    import torch

    from ditkernels import __version__

    versions = {"ditkernels": __version__, "torch": torch.__version__, "rdkit": rdkit.__version__}
    return {"date": datetime.now(timezone.utc).date().isoformat(), "versions": versions}


def _write(path: Path, text: str) -> None:
    """Write the file whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    os.replace(partial, path)
