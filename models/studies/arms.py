"""The arms of D3MES side by side: what attention adds, by rulers that noise does not pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ditkernels.models.d3mes import D3MES
from ditkernels.models.d3mes.generate import MoleculeGenerator, MoleculeOptions, Sample
from ditkernels.models.metrics.evaluate import measure, of_molecule
from ditkernels.models.metrics.raw import measure_raw
from ditkernels.models.metrics.reference import Reference
from ditkernels.models.metrics.table import over_seeds
from ditkernels.models.weights import load_model


def measure_arm(
    name: str,
    model: str | Path,
    reference: Reference,
    number: int,
    seeds: Sequence[int],
    progress: Callable[[], None],
    **options: object,
) -> dict:
    """:func:`measure_network` of a shipped model or of a folder with weights."""
    return measure_network(name, load_model(model, family="d3mes"), reference, number, seeds, progress, **options)


def measure_network(
    name: str,
    network: D3MES,
    reference: Reference,
    number: int,
    seeds: Sequence[int],
    progress: Callable[[], None],
    **options: object,
) -> dict:
    """Row of a network over seeds, each with ``number`` samples; ``options`` are those of MoleculeOptions.

    Adds ``failures``: how many samples failed for which reason, over all seeds; and ``per_seed``.
    """
    rows, failures = [], {}
    for seed in seeds:
        generator = MoleculeGenerator(network, MoleculeOptions(number, seed=seed, **options))
        samples = []
        for sample in generator.samples():
            samples.append(sample)
            progress()
        rows.append(_row(name, samples, reference))
        for sample in samples:
            if sample.failed:
                failures[sample.molecule.failure] = failures.get(sample.molecule.failure, 0) + 1
    return over_seeds(name, rows) | {"failures": failures, "per_seed": rows}


def _row(name: str, samples: Sequence[Sample], reference: Reference) -> dict:
    written = [of_molecule(sample.molecule.mol, sample.label) for sample in samples if not sample.failed]
    lost = [sample.label for sample in samples if sample.failed]
    raw = measure_raw([(sample.molecule.raw, sample.label) for sample in samples])
    return measure(name, written, lost, reference.keys) | raw
