"""SD records and the failures table."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from rdkit import Chem

from ditkernels.models.generation.output import failure_row, sd_records
from tests.generation.samplers import EtkdgSampler, echo, outcomes

# Zwitterion, nitro group, aromatic nitrogens with and without hydrogen, cations, sulfoxide, radical, E/Z, rings.
MOLECULES = [
    "C[C@H]([NH3+])C(=O)[O-]",
    "C[N+](=O)[O-]",
    "c1cnc[nH]1",
    "C[n+]1ccccc1",
    "C[S@](=O)CC",
    "C/C=C/C",
    "F/C(Cl)=C(/F)Br",
    "[H][H]",
    "C",
    "O",
    "[NH4+]",
    "C[CH2]",
    "N#Cc1ccccc1",
    "CN1CC[C@]23c4c5ccc(O)c4O[C@H]2[C@@H](O)C=C[C@H]3[C@H]1C5",
    "C[C@H]1CC[C@@H](C)CC1",
    "O=[P@](C)([O-])OC",
]


def read(text):
    supplier = Chem.SDMolSupplier()
    supplier.SetData(text, removeHs=False)
    return list(supplier)


@pytest.mark.parametrize("smiles", MOLECULES)
def test_reading_back_gives_the_molecule_asked_for(smiles):
    [outcome] = outcomes(EtkdgSampler({smiles: smiles}, count=2), [smiles])
    molecules = read(sd_records(outcome, "test", 0))
    assert len(molecules) == 2
    for mol, conformer in zip(molecules, outcome.conformers):
        assert Chem.MolToSmiles(Chem.RemoveHs(mol)) == Chem.CanonSmiles(smiles)
        assert mol.GetNumAtoms() == outcome.task.mol.GetNumAtoms()
        assert all(atom.GetTotalNumHs() == 0 for atom in mol.GetAtoms())
        assert mol.GetConformer().Is3D()
        assert np.abs(mol.GetConformer().GetPositions() - conformer.positions).max() < 1e-4


def test_fields():
    [outcome] = outcomes(EtkdgSampler({"C[C@H](N)C(O)CC": "C[C@H](N)C(O)CC"}), ["C[C@H](N)C(O)CC"])
    first, second = read(sd_records(outcome, "ape-s", 7))
    assert first.GetProp("_Name") == "m1"
    assert first.GetPropsAsDict(autoConvertStrings=False) == {
        "smiles": "C[C@H](N)C(O)CC",
        "conformer": "1",
        "stereo": "ok",
        "mirrored": "no",
        "unspecified_stereo": "C4",
        "model": "ape-s",
        "seed": "7",
    }
    assert second.GetProp("conformer") == "2"


def test_fields_of_fragments_and_minimized_conformers():
    options = {"largest_fragment": True, "minimize": "mmff", "conformers": 1}
    [outcome] = outcomes(EtkdgSampler({"OCC": "OCC"}), ["[Cl-].OCC"], **options)
    [mol] = read(sd_records(outcome, "ape-s", 0))
    assert (mol.GetProp("smiles"), mol.GetProp("kept_fragment")) == ("[Cl-].OCC", "CCO")
    assert mol.GetProp("stereo") == "none specified"
    assert mol.GetProp("mmff94_converged") == "yes"
    assert np.isfinite(float(mol.GetProp("mmff94_energy")))


def test_chiral_flag_is_set_for_chiral_molecules_only():
    for smiles, flag in (("C[C@H](N)CO", "1"), ("CCO", "0")):
        [outcome] = outcomes(EtkdgSampler({smiles: smiles}), [smiles], conformers=1)
        counts = sd_records(outcome, "test", 0).splitlines()[3]
        assert counts[12:15].strip() == flag


def test_large_molecule_is_written_as_v3000():
    peptide = "NCC(=O)" * 145 + "O"
    [outcome] = outcomes(echo, [peptide], conformers=1, max_atoms=2000)
    text = sd_records(outcome, "test", 0)
    assert "V3000" in text.splitlines()[3]
    assert read(text)[0].GetNumAtoms() == outcome.task.mol.GetNumAtoms() > 999


def test_failure_rows():
    rows = [failure_row(outcome) for outcome in outcomes(echo, ["CC", 'C1"C, x', "", "C.C"])]
    assert rows[0] == ""
    parsed = list(csv.reader(rows))
    assert [row[:3] for row in parsed[1:]] == [["2", "m2", 'C1"C, x'], ["3", "m3", ""], ["4", "m4", "C.C"]]
    assert parsed[3][3] == "the molecule has 2 disconnected fragments"


def test_nothing_is_written_for_a_failed_record():
    [outcome] = outcomes(echo, ["C.C"])
    assert sd_records(outcome, "test", 0) == ""
