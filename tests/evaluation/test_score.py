"""Scores of a molecule and their summary: stereochemistry, missing conformers, failures."""

import math

import pytest

from ditkernels.models.evaluation import ReferenceSet, score_molecule, summarize
from ditkernels.models.evaluation.methods import Made
from ditkernels.models.evaluation.parallel import Failure, map_molecules
from tests.evaluation.molecules import embedded, with_conformers


def reference(smiles: str, count: int = 1) -> ReferenceSet:
    return ReferenceSet(smiles, smiles, embedded(smiles, count))


def test_the_references_themselves_score_perfectly():
    molecule = reference("C[C@H](O)c1ccccc1", 3)
    score = score_molecule(molecule, Made(molecule.mol), 3, (0.5,))
    assert score.coverage.cov_r == {0.5: 1.0} and score.coverage.cov_p == {0.5: 1.0}
    assert score.coverage.amr_r < 1e-5 and score.coverage.amr_p < 1e-5
    assert score.right_stereo == 1.0 and score.reason == ""


def test_reflected_samples_count_as_right_but_not_as_right_from_the_start():
    molecule = reference("C[C@H](F)Cl", 2)
    score = score_molecule(molecule, Made(molecule.mol, mirrored=1), 2, (0.5,))
    assert (score.right_stereo, score.right_stereo_unmirrored) == (1.0, 0.5)


def test_mirrored_conformers_have_wrong_stereochemistry():
    molecule = reference("C[C@H](F)Cl")
    right = molecule.mol.GetConformer().GetPositions()
    score = score_molecule(molecule, Made(with_conformers(molecule.mol, right, right * [1, 1, -1])), 2, (0.5,))
    assert score.right_stereo == 0.5


def test_double_bond_of_the_wrong_side_counts():
    molecule, other = reference("F/C=C/Cl"), embedded("F/C=C\\Cl")
    made = Made(with_conformers(molecule.mol, other.GetConformer().GetPositions()))
    score = score_molecule(molecule, made, 1, (0.5,))
    assert score.right_stereo == 0.0


def test_molecule_without_marks_has_no_stereo_share():
    molecule = reference("CCO")
    assert math.isnan(score_molecule(molecule, Made(molecule.mol), 1, (0.5,)).right_stereo)


def test_missing_conformers_are_said():
    molecule = reference("CCO")
    assert score_molecule(molecule, Made(molecule.mol), 4, (0.5,)).reason == "3 of 4 conformers did not come out"


def test_failed_molecule_has_coverage_zero_and_does_not_hide():
    good, bad = reference("CCCO"), reference("CCCN")
    scores = [score_molecule(good, Made(good.mol), 1, (0.5,)), score_molecule(bad, Failure("no luck"), 1, (0.5,))]
    summary = summarize(scores)
    assert summary["molecules_failed"] == 1 and summary["conformers_generated"] == 1
    assert summary["mean"]["cov_r@0.5"] == 0.5
    assert summary["mean"]["amr_r"] == pytest.approx(0.0, abs=1e-5)
    assert scores[1].reason == "no luck"


@pytest.mark.parametrize("workers", [1, 2])
def test_one_bad_item_does_not_stop_the_others(workers):
    first, bad, last = map_molecules(math.sqrt, [4, -1, 9], workers)
    assert (first, last) == (2, 3)
    assert isinstance(bad, Failure) and bad.reason.startswith("ValueError: ")
