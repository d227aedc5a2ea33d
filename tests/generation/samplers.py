"""Samplers in the network's place: known geometries, right or wrong on purpose."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from rdkit.Chem import AllChem

from ditkernels.models.generation.options import GenerationOptions
from ditkernels.models.generation.pipeline import ConformerPipeline
from ditkernels.models.molecule.featurize import molecular_graph, parse_smiles
from ditkernels.models.molecule.records import Record

Change = Callable[[np.ndarray, int], np.ndarray]


class EtkdgSampler:
    """Returns ETKDG geometries of known molecules, chosen by the prior positions; `change(positions, call)` spoils
    them.

    `geometries` maps the SMILES that will be asked for to the SMILES that is embedded (same atoms, for wrong
    stereoisomers).
    """

    def __init__(
        self, geometries: dict[str, str], change: Change = lambda positions, call: positions, count: int = 4
    ) -> None:
        self.change, self.calls, self.batch_sizes = change, 0, []
        self.known = {}
        for asked, embedded in geometries.items():
            mol = parse_smiles(embedded)
            ids = list(AllChem.EmbedMultipleConfs(mol, count, randomSeed=1))
            assert len(ids) == count, embedded
            self.known[key(parse_smiles(asked))] = [mol.GetConformer(i).GetPositions() for i in ids]

    def __call__(self, graph, x0):
        self.calls += 1
        self.batch_sizes.append(graph.num_molecules)
        cuts = graph.cu_seqlens.tolist()
        parts = []
        for start, stop in zip(cuts, cuts[1:]):
            shapes = self.known[graph.atomic_numbers[start:stop].numpy().tobytes()]
            choice = int(abs(x0[start:stop]).sum() * 1e4) % len(shapes)
            parts.append(self.change(shapes[choice], self.calls))
        return torch.from_numpy(np.concatenate(parts))


def key(mol):
    return molecular_graph(mol).atomic_numbers.astype(np.int64).tobytes()


def echo(graph, x0):
    """The prior positions themselves."""
    return x0


def records(*smiles):
    return [Record(index, str(index + 1), f"m{index + 1}", s) for index, s in enumerate(smiles)]


def outcomes(sampler, smiles, **options):
    pipeline = ConformerPipeline(sampler, GenerationOptions(**{"conformers": 2, **options}))
    return list(pipeline.run(records(*smiles)))
