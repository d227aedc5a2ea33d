"""What is evaluated: ways to make conformers of given molecules.

A method takes molecules with explicit hydrogens and assigned stereochemistry, and a number of conformers for each. It
returns one `Made` per molecule, or a `Failure` with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from rdkit import Chem
from tqdm import tqdm

from ditkernels.models.ditmc import DiTMC
from ditkernels.models.evaluation.baseline import etkdg_conformers
from ditkernels.models.evaluation.parallel import Failure, map_molecules
from ditkernels.models.generation.batching import batches
from ditkernels.models.generation.conformers import Conformer, with_conformers
from ditkernels.models.generation.options import GenerationOptions
from ditkernels.models.generation.sampling import network_sampler, sample_tasks
from ditkernels.models.generation.tasks import Task, prepare
from ditkernels.models.molecule.featurize import UnsupportedMolecule
from ditkernels.models.molecule.records import Record
from ditkernels.models.molecule.stereo import MIRROR, check_stereo, mirror

BASELINES = {"etkdg": False, "etkdg+mmff": True}
"""Name of a baseline -> whether MMFF94 relaxes its conformers."""


@dataclass(frozen=True)
class Made:
    """Conformers of one molecule; `mirrored` of them were reflected because every stereocenter was inverted."""

    mol: Chem.Mol
    mirrored: int = 0


Method = Callable[[Sequence[Chem.Mol], Sequence[int]], "list[Made | Failure]"]


def etkdg(seed: int, minimize: bool = False, workers: int = 1, progress: bool = False) -> Method:
    """ETKDGv3 with the given seed (see `baseline.etkdg_conformers`), in worker processes."""

    def make(mols: Sequence[Chem.Mol], counts: Sequence[int]) -> list[Made | Failure]:
        embed = partial(_embed, seed=seed, minimize=minimize)
        return map_molecules(embed, list(zip(mols, counts)), workers, "ETKDGv3", progress)

    return make


def _embed(item: tuple[Chem.Mol, int], seed: int, minimize: bool) -> Made:
    return Made(etkdg_conformers(*item, seed, minimize))


def network(
    model: DiTMC,
    seed: int,
    steps: int = 50,
    max_atoms_per_batch: int = 2048,
    max_pairs_per_batch: int = 131072,
    impl: str = "auto",
    progress: bool = False,
) -> Method:
    """A DiTMC network as published: Euler on the uniform grid, one sample per conformer asked for.

    Conformers in which every stereocenter is inverted are reflected, the chirality correction of the released
    evaluation; other wrong ones stay in and count as they are. (`ditkernels conformers` samples those again.)
    """

    def make(mols: Sequence[Chem.Mol], counts: Sequence[int]) -> list[Made | Failure]:
        options = GenerationOptions(1, seed=seed, steps=steps, prior=model.config.prior, max_atoms=10**6)
        sampler = network_sampler(model, options, impl)
        tasks = [_task(index, mol, options, model.config.layout) for index, mol in enumerate(mols)]
        sampled: dict[int, list[np.ndarray]] = {index: [] for index in range(len(mols))}
        jobs = [
            ((index, number), task.graph.num_atoms)
            for index, (task, count) in enumerate(zip(tasks, counts))
            if isinstance(task, Task)
            for number in range(count)
        ]
        with tqdm(total=len(jobs), desc="DiTMC", unit="conformer", disable=not progress, leave=False) as bar:
            for batch in batches(jobs, max_atoms_per_batch, max_pairs_per_batch):
                positions = sample_tasks(sampler, [(tasks[index], number, 0) for index, number in batch], seed)
                for (index, _), rows in zip(batch, positions):
                    sampled[index].append(rows)
                bar.update(len(batch))
        return [task if isinstance(task, Failure) else _made(task, sampled[index]) for index, task in enumerate(tasks)]

    return make


def _task(index: int, mol: Chem.Mol, options: GenerationOptions, layout: str) -> Task | Failure:
    try:
        return prepare(Record(index, str(index), "", mol), options, layout)
    except UnsupportedMolecule as problem:
        return Failure(str(problem))


def _made(task: Task, sampled: list[np.ndarray]) -> Made:
    """The finite samples of a molecule, reflected where that makes all stereocenters right."""
    finite = [positions for positions in sampled if np.isfinite(positions).all()]
    if not finite:
        return Made(with_conformers(task.mol, []))
    checks = check_stereo(task.stereo, np.stack(finite))
    right = [mirror(p) if check.status == MIRROR else p for p, check in zip(finite, checks)]
    conformers = [Conformer(positions, number, 0) for number, positions in enumerate(right)]
    return Made(with_conformers(task.mol, conformers), sum(check.status == MIRROR for check in checks))
