"""Conformers from Python: generate, check, relax, and write them.

python examples/python_api.py [OUT.sdf]
"""

from __future__ import annotations

import sys

from rdkit import Chem
from rdkit.Chem import rdMolAlign

from ditkernels.models import generate_conformers

SMILES = ["CC(=O)Oc1ccccc1C(=O)O", "C[C@@H](N)C(=O)O", "CC(C)NC[C@H](O)COc1cccc2ccccc12"]


def main(path: str = "conformers.sdf") -> None:
    # One molecule per SMILES, hydrogens explicit. The R/S and E/Z marks of the input are right in every conformer.
    molecules = generate_conformers(SMILES, n=4, seed=1)

    # The same with MMFF94 clean-up, and without conformers closer than 0.3 Å to an earlier one.
    relaxed = generate_conformers(SMILES, n=4, seed=1, minimize="mmff", prune_rms=0.3)

    with Chem.SDWriter(path) as writer:
        for smiles, mol, clean in zip(SMILES, molecules, relaxed):
            heavy = Chem.RemoveHs(mol)
            spread = [rdMolAlign.GetBestRMS(heavy, heavy, c.GetId(), 0) for c in list(heavy.GetConformers())[1:]]
            print(
                f"{smiles}: {mol.GetNumConformers()} conformers, heavy-atom RMSD to the first "
                f"{', '.join(f'{r:.2f}' for r in spread)} Å; {clean.GetNumConformers()} distinct after relaxation"
            )
            for conformer in mol.GetConformers():
                writer.write(mol, confId=conformer.GetId())
    print(f"written to {path}")


if __name__ == "__main__":
    main(*sys.argv[1:])
