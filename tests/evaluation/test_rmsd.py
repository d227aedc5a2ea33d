"""Heavy-atom RMSD: rigid motions, symmetry, chirality and the cap on automorphisms."""

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdMolAlign

from ditkernels.models.evaluation.rmsd import distinct_conformers, heavy_atoms, rmsd_matrix, symmetry_maps
from tests.evaluation.molecules import embedded, rotation, with_conformers


def test_rigid_motions_do_not_count():
    mol = embedded("CC(=O)Nc1ccc(O)cc1")
    positions = mol.GetConformer().GetPositions()
    moved = with_conformers(mol, positions @ rotation(1) + [1.0, -2.0, 3.0])
    rmsd, capped = rmsd_matrix(mol, moved)
    assert rmsd.shape == (1, 1) and not capped
    assert rmsd[0, 0] < 1e-5


def test_known_value_for_a_stretched_bond():
    """Two heavy atoms, one bond longer by 0.4 Å: each atom is 0.2 Å off after the best alignment."""
    ethane = embedded("CC")
    carbon = np.zeros((8, 3))
    carbon[1, 0] = 1.5
    stretched = carbon.copy()
    stretched[1, 0] = 1.9
    rmsd, _ = rmsd_matrix(with_conformers(ethane, carbon), with_conformers(ethane, stretched))
    assert rmsd[0, 0] == pytest.approx(0.2, abs=1e-6)


def test_hydrogens_do_not_count():
    mol = embedded("CCO")
    positions = mol.GetConformer().GetPositions()
    noise = np.random.default_rng(0).normal(size=positions.shape)
    noise[[a.GetIdx() for a in mol.GetAtoms() if a.GetAtomicNum() > 1]] = 0
    rmsd, _ = rmsd_matrix(mol, with_conformers(mol, positions + noise))
    assert rmsd[0, 0] < 1e-6


@pytest.mark.parametrize("smiles", ["FC(F)(F)c1ccccc1", "CC(C)(C)O", "CC(=O)[O-]", "CS(=O)(=O)C", "C[N+](=O)[O-]"])
def test_exchange_of_equivalent_atoms_does_not_count(smiles):
    """Relabeling by any automorphism, also between the two oxygens of a carboxylate, gives RMSD 0."""
    mol = embedded(smiles)
    heavy = heavy_atoms(mol)
    maps, capped = symmetry_maps(heavy, heavy)
    assert len(maps) > 1 and not capped
    positions = heavy.GetConformer().GetPositions()
    relabeled = with_conformers(heavy, *(positions[[target for _, target in one_map]] for one_map in maps))
    rmsd, _ = rmsd_matrix(heavy, relabeled)
    assert rmsd.max() < 1e-5


def test_atoms_may_come_in_another_order():
    mol = embedded("CC(=O)Nc1ccc(O)cc1", count=2)
    order = np.random.default_rng(3).permutation(mol.GetNumAtoms()).tolist()
    rmsd, _ = rmsd_matrix(mol, Chem.RenumberAtoms(mol, order))
    expected, _ = rmsd_matrix(mol, mol)
    np.testing.assert_allclose(rmsd, expected, atol=1e-5)


def test_mirror_image_of_a_chiral_molecule_is_another_shape():
    mol = embedded("C[C@H](F)Cl")
    mirrored = with_conformers(mol, mol.GetConformer().GetPositions() * [1, 1, -1])
    rmsd, _ = rmsd_matrix(mol, mirrored)
    assert rmsd[0, 0] > 0.3


def test_agrees_with_rdkit_pair_by_pair():
    references, generated = embedded("OC(=O)CCS(=O)(=O)c1ccccc1", 3, 1), embedded("OC(=O)CCS(=O)(=O)c1ccccc1", 2, 2)
    rmsd, _ = rmsd_matrix(references, generated)
    a, b = Chem.RemoveHs(references), Chem.RemoveHs(generated)
    expected = [[rdMolAlign.GetBestRMS(Chem.Mol(b), a, column, k) for column in range(2)] for k in range(3)]
    np.testing.assert_allclose(rmsd, expected, atol=1e-6)


def test_cap_on_automorphisms_is_reported_and_gives_an_upper_bound():
    mol = embedded("CC(C)(C)c1cc(C(C)(C)C)cc(C(C)(C)C)c1", count=2)
    exact, complete = rmsd_matrix(mol, mol, max_matches=2000)
    capped_rmsd, capped = rmsd_matrix(mol, mol, max_matches=5)
    assert capped and not complete
    assert (capped_rmsd >= exact - 1e-6).all()


def test_another_molecule_is_an_error():
    with pytest.raises(ValueError, match="not the same molecule"):
        rmsd_matrix(embedded("CCO"), embedded("CCN"))


def test_molecule_without_heavy_atoms_is_an_error():
    with pytest.raises(ValueError, match="no heavy atom"):
        rmsd_matrix(embedded("[H][H]"), embedded("[H][H]"))


def test_single_heavy_atom_has_rmsd_zero():
    rmsd, _ = rmsd_matrix(embedded("C", seed=1), embedded("C", seed=2))
    assert rmsd[0, 0] == 0


def test_near_duplicates_are_dropped():
    mol = embedded("CCCCO")
    positions = mol.GetConformer().GetPositions()
    far = positions.copy()
    far[0] += [1.5, 0.0, 0.0]
    assert distinct_conformers(with_conformers(mol, positions, positions + 0.001, far, far @ rotation(4)), 0.25) == [
        0,
        2,
    ]
