"""Heavy-atom RMSD between conformers of one molecule, minimal over symmetry and rigid motion.

    RMSD(k, l) = min over automorphisms s and proper rigid motions g of sqrt( mean_i |x_k,i - g x_l,s(i)|^2 )

over the heavy atoms i: what RDKit's ``GetBestRMS`` computes. The automorphisms are found once per molecule here, and
not once per pair of conformers, which is the larger part of the time. Coordinates and RMSD in Å.
"""

from __future__ import annotations

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdMolAlign

# Automorphisms tried per molecule. Groups such as CF3, tert-butyl and phenyl multiply (6 * 6 * 2 * ...); beyond this
# number the RMSD is an upper bound, and `symmetry_maps` says so.
MAX_MATCHES = 1000

# Terminal O and N of conjugated groups (carboxylate, nitro, sulfonyl, phosphate, amidinium): equivalent by resonance
# although the written bond orders differ. The pattern is the one of RDKit's `symmetrizeConjugatedTerminalGroups`.
_CONJUGATED_TERMINAL = Chem.MolFromSmarts("[O,N;D1;$([O,N;D1]-[*]=[O,N;D1]),$([O,N;D1]=[*]-[O,N;D1])]~[*]")


def heavy_atoms(mol: Chem.Mol) -> Chem.Mol:
    """The molecule without any hydrogen, all conformers kept.

    Raises:
        ValueError: if nothing but hydrogen is in the molecule.
    """
    heavy = Chem.RemoveAllHs(mol)
    if not any(atom.GetAtomicNum() > 1 for atom in heavy.GetAtoms()):
        raise ValueError(f"{Chem.MolToSmiles(mol)} has no heavy atom, so there is no heavy-atom RMSD")
    return heavy


def symmetry_maps(
    probe: Chem.Mol, reference: Chem.Mol, max_matches: int = MAX_MATCHES
) -> tuple[list[list[tuple[int, int]]], bool]:
    """All ways to lay the atoms of `probe` onto those of `reference`, hydrogens already removed.

    Returns:
        The list of maps, each a list of (probe atom, reference atom), and whether `max_matches` cut the list.

    Raises:
        ValueError: if the two are not the same molecule (stereochemistry is not compared).
    """
    probe_graph, reference_graph = _symmetrized(probe), _symmetrized(reference)
    matches: tuple = ()
    if probe.GetNumAtoms() == reference.GetNumAtoms():
        matches = reference_graph.GetSubstructMatches(probe_graph, uniquify=False, maxMatches=max_matches + 1)
    if not matches:
        raise ValueError(f"{Chem.MolToSmiles(probe)} and {Chem.MolToSmiles(reference)} are not the same molecule")
    return [list(enumerate(match)) for match in matches[:max_matches]], len(matches) > max_matches


def _symmetrized(mol: Chem.Mol) -> Chem.Mol:
    graph = Chem.RWMol(mol)
    for terminal, center in mol.GetSubstructMatches(_CONJUGATED_TERMINAL):
        graph.GetBondBetweenAtoms(terminal, center).SetBondType(Chem.BondType.SINGLE)
        graph.GetAtomWithIdx(terminal).SetFormalCharge(0)
    return graph


def rmsd_matrix(references: Chem.Mol, generated: Chem.Mol, max_matches: int = MAX_MATCHES) -> tuple[np.ndarray, bool]:
    """RMSD of every generated conformer to every reference conformer.

    Args:
        references: molecule with K conformers; hydrogens are ignored.
        generated: the same molecule with L conformers, atoms in any order.
        max_matches: cap on the number of automorphisms.

    Returns:
        float64 array (K, L) in Å, and whether the cap on automorphisms was hit.
    """
    reference_heavy, probe = heavy_atoms(references), heavy_atoms(generated)
    maps, capped = symmetry_maps(probe, reference_heavy, max_matches)
    reference_ids = [conformer.GetId() for conformer in reference_heavy.GetConformers()]
    probe_ids = [conformer.GetId() for conformer in probe.GetConformers()]
    out = np.empty((len(reference_ids), len(probe_ids)))
    for k, reference_id in enumerate(reference_ids):
        for column, probe_id in enumerate(probe_ids):
            # GetBestRMS moves the probe's conformer, which changes no distance measured later.
            out[k, column] = rdMolAlign.GetBestRMS(probe, reference_heavy, probe_id, reference_id, map=maps)
    return out, capped


def distinct_conformers(mol: Chem.Mol, threshold: float, max_matches: int = MAX_MATCHES) -> list[int]:
    """Ids of a subset of conformers in which no two are within `threshold` Å (greedy, in the order given)."""
    heavy = heavy_atoms(mol)
    maps, _ = symmetry_maps(heavy, heavy, max_matches)
    probe, kept = Chem.Mol(heavy), []
    for conformer in heavy.GetConformers():
        identifier = conformer.GetId()
        if all(rdMolAlign.GetBestRMS(probe, heavy, identifier, other, map=maps) >= threshold for other in kept):
            kept.append(identifier)
    return kept
