"""From a record of the input to all that sampling and writing need to know about its molecule."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import Descriptors, rdForceFieldHelpers

from ditkernels.models.ditmc.prior import PRIORS, prior_positions
from ditkernels.models.generation.options import GenerationOptions
from ditkernels.models.molecule.featurize import UnsupportedMolecule, molecular_graph
from ditkernels.models.molecule.graph import MolecularGraph
from ditkernels.models.molecule.records import Record, molecule_of
from ditkernels.models.molecule.stereo import StereoElements, center_agreement, mirror, stereo_elements

MAX_CHARACTERS_PER_ATOM = 40
"""Longer SMILES are refused unread: no atom takes more characters, and RDKit's run time is not bounded otherwise."""

PRIOR_DRAWS = 64
"""Prior samples of which the one with the best matching stereocenters is taken."""


@dataclass(frozen=True)
class Task:
    """A molecule ready for sampling.

    mol: explicit hydrogens, no conformers.
    smiles: as given, or canonical for inputs without one.
    kept_fragment: SMILES of the part that is sampled where the input had several.
    factor: (n, n) float32 root of the harmonic prior's covariance (Angstrom), None for the Gaussian prior.
    """

    record: Record
    mol: Chem.Mol
    smiles: str
    kept_fragment: str | None
    graph: MolecularGraph
    stereo: StereoElements
    factor: np.ndarray | None

    def prior_sample(self, seed: int, sample: int, attempt: int) -> np.ndarray:
        """Centered positions (n, 3) float32 at t = 0; they depend on nothing else but the record's index.

        With stereocenters, the draw out of several whose centers agree best with the specified ones, turned into its
        mirror image where that agrees better. The network is not told on which side of a center its neighbors are,
        but the flow mostly keeps the side they start on: matching starts need fewer attempts.
        """
        stream = np.random.SeedSequence([seed, self.record.index, sample, attempt])
        draws = PRIOR_DRAWS if len(self.stereo.centers) else 1
        shape = (draws, self.graph.num_atoms, 3)
        noise = np.random.default_rng(stream).standard_normal(shape, dtype=np.float32)
        positions = prior_positions(noise, self.factor)
        if draws == 1:
            return positions[0]
        right = center_agreement(self.stereo, positions).sum(axis=1)
        best = np.abs(right).argmax()
        return positions[best] if right[best] >= 0 else mirror(positions[best])


def prepare(record: Record, options: GenerationOptions, layout: str) -> Task:
    """Reads, checks and featurizes one record. Raises UnsupportedMolecule with the reason, whatever goes wrong."""
    try:
        with rdBase.BlockLogs():
            return _prepare(record, options, layout)
    except UnsupportedMolecule:
        raise
    except Exception as error:
        # RDKit reports broken invariants by several exception types; whichever it is, it concerns this record only.
        raise UnsupportedMolecule(f"RDKit cannot process the molecule: {' '.join(str(error).split())[:200]}") from error


def _prepare(record: Record, options: GenerationOptions, layout: str) -> Task:
    if len(record.smiles) > MAX_CHARACTERS_PER_ATOM * options.max_atoms:
        raise UnsupportedMolecule(
            f"the SMILES has {len(record.smiles)} characters, too many for {options.max_atoms} atoms"
        )
    mol = molecule_of(record)
    smiles = record.smiles or Chem.MolToSmiles(Chem.RemoveHs(mol))
    mol.RemoveAllConformers()
    kept_fragment = None
    if options.largest_fragment:
        mol, kept_fragment = _largest_fragment(mol)
    if mol.GetNumAtoms() > options.max_atoms:
        raise UnsupportedMolecule(
            f"the molecule has {mol.GetNumAtoms()} atoms, more than the limit of {options.max_atoms}"
        )
    graph = molecular_graph(mol, layout)
    if options.minimize == "mmff" and not rdForceFieldHelpers.MMFFHasAllMoleculeParams(mol):
        raise UnsupportedMolecule("MMFF94 has no parameters for this molecule")
    factor = PRIORS[options.prior].factor(graph)
    return Task(record, mol, smiles, kept_fragment, graph, stereo_elements(mol), factor)


def _largest_fragment(mol: Chem.Mol) -> tuple[Chem.Mol, str | None]:
    """The fragment with most heavy atoms (then the heaviest, then the first), and its SMILES where there was a
    choice.
    """
    fragments = Chem.GetMolFrags(mol, asMols=True)
    if len(fragments) < 2:
        return mol, None
    largest = max(fragments, key=lambda part: (part.GetNumHeavyAtoms(), Descriptors.MolWt(part)))
    return largest, Chem.MolToSmiles(Chem.RemoveHs(largest))
