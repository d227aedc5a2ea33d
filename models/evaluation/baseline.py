"""The classical baseline: RDKit's ETKDGv3 distance geometry, with an optional MMFF94 clean-up."""

from __future__ import annotations

from rdkit import Chem
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

# Distance geometry on cages and large rings can search for minutes; a molecule may not hold up the others.
EMBED_TIMEOUT_S = 60


def etkdg_conformers(mol: Chem.Mol, count: int, seed: int, minimize: bool = False) -> Chem.Mol:
    """Up to `count` conformers of a molecule with explicit hydrogens, by ETKDGv3.

    Where embedding from the triangle bounds gives fewer than asked, the rest is tried once more from random
    coordinates, as RDKit recommends. What is still missing is missing: the caller counts it.

    Args:
        mol: molecule with explicit hydrogens and its stereochemistry assigned; its own conformers are not used.
        count: number of conformers.
        seed: random seed; the same seed gives the same conformers.
        minimize: relax each conformer with MMFF94 (500 iterations); left as embedded where MMFF94 has no parameters.

    Returns:
        A copy of the molecule with at most `count` conformers, ids 0, 1, ...
    """
    out = Chem.Mol(mol)
    out.RemoveAllConformers()
    parameters = rdDistGeom.ETKDGv3()
    parameters.randomSeed = seed
    parameters.numThreads = 1
    parameters.timeout = EMBED_TIMEOUT_S
    rdDistGeom.EmbedMultipleConfs(out, count, parameters)
    missing = count - out.GetNumConformers()
    if missing:
        parameters.useRandomCoords = True
        parameters.clearConfs = False
        rdDistGeom.EmbedMultipleConfs(out, missing, parameters)
    if minimize and out.GetNumConformers() and rdForceFieldHelpers.MMFFHasAllMoleculeParams(out):
        rdForceFieldHelpers.MMFFOptimizeMoleculeConfs(out, numThreads=1, maxIters=500)
    return out
