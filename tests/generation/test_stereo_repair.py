"""Mirror where that mends it, sample again a bounded number of times, else report."""

from __future__ import annotations

import numpy as np
import pytest

from ditkernels.models.molecule.featurize import parse_smiles
from ditkernels.models.molecule.stereo import OK, check_stereo, mirror, stereo_elements
from tests.generation.samplers import EtkdgSampler, outcomes

ALANINE = "C[C@H](N)C(=O)O"
TWO_CENTRES = "C[C@@H](N)[C@H](O)CC"
DIASTEREOMER = "C[C@@H](N)[C@@H](O)CC"
ALKENE = "C[C@@H](O)/C=C/C"


def all_right(outcome):
    stereo = stereo_elements(outcome.task.mol)
    return all(
        check.status == OK for check in check_stereo(stereo, np.stack([c.positions for c in outcome.conformers]))
    )


@pytest.mark.parametrize("smiles", [ALANINE, TWO_CENTRES, ALKENE])
def test_mirror_images_are_reflected(smiles):
    sampler = EtkdgSampler({smiles: smiles}, change=lambda positions, call: mirror(positions))
    [outcome] = outcomes(sampler, [smiles], conformers=3)
    assert [(c.mirrored, c.attempt) for c in outcome.conformers] == [(True, 0)] * 3
    assert all_right(outcome)
    assert outcome.reason is None


def test_right_conformers_are_left_alone():
    sampler = EtkdgSampler({ALANINE: ALANINE})
    [outcome] = outcomes(sampler, [ALANINE], conformers=3)
    assert not any(c.mirrored for c in outcome.conformers)
    assert sampler.calls == 1


def test_wrong_conformers_are_sampled_again():
    wrong = EtkdgSampler({TWO_CENTRES: DIASTEREOMER})
    right = EtkdgSampler({TWO_CENTRES: TWO_CENTRES})

    def sampler(graph, x0):
        return wrong(graph, x0) if wrong.calls < 2 else right(graph, x0)

    [outcome] = outcomes(sampler, [TWO_CENTRES], conformers=3, attempts=4)
    assert [(c.sample, c.attempt) for c in outcome.conformers] == [(0, 2), (1, 2), (2, 2)]
    assert all_right(outcome)


def test_what_stays_wrong_is_reported_and_not_returned():
    sampler = EtkdgSampler({TWO_CENTRES: DIASTEREOMER, "CO": "CO"})
    wrong, fine = outcomes(sampler, [TWO_CENTRES, "CO"], conformers=2, attempts=3)
    assert wrong.failed
    assert wrong.reason == "2 of 2 conformers missing after 3 attempts each: wrong stereochemistry at C4 (2x)"
    assert len(fine.conformers) == 2
    assert sampler.batch_sizes == [4, 2, 2]


def test_partial_success_keeps_the_right_ones():
    """Batches of one conformer: every second one is the wrong isomer, in all attempts."""
    right, wrong = EtkdgSampler({ALKENE: ALKENE}), EtkdgSampler({ALKENE: "C[C@@H](O)/C=C\\C"})
    calls = []

    def sampler(graph, x0):
        calls.append(1)
        return right(graph, x0) if len(calls) in (1, 3) else wrong(graph, x0)

    [outcome] = outcomes(sampler, [ALKENE], conformers=4, attempts=2, max_atoms_per_batch=1)
    assert [c.sample for c in outcome.conformers] == [0, 2]
    assert outcome.missing == 2
    assert outcome.reason == "2 of 4 conformers missing after 2 attempts each: wrong stereochemistry at C4=C5 (2x)"
    assert all_right(outcome)


def test_coordinates_that_are_no_numbers_are_sampled_again():
    sampler = EtkdgSampler({"CO": "CO"}, change=lambda positions, call: positions * (np.nan if call == 1 else 1.0))
    [outcome] = outcomes(sampler, ["CO"], conformers=2)
    assert [c.attempt for c in outcome.conformers] == [1, 1]
    assert np.isfinite([c.positions for c in outcome.conformers]).all()


def test_unspecified_stereochemistry_takes_any_conformer():
    sampler = EtkdgSampler({"CC(N)C(O)CC": TWO_CENTRES}, change=lambda positions, call: mirror(positions))
    [outcome] = outcomes(sampler, ["CC(N)C(O)CC"])
    assert not any(c.mirrored for c in outcome.conformers)
    assert outcome.task.stereo.unspecified == ("C2", "C4")


def test_minimization_relaxes_and_checks_again():
    sampler = EtkdgSampler({ALANINE: ALANINE}, change=lambda positions, call: positions * 1.05)
    [outcome] = outcomes(sampler, [ALANINE], minimize="mmff")
    [raw] = outcomes(sampler, [ALANINE])
    assert all(c.energy is not None and c.converged for c in outcome.conformers)
    assert all_right(outcome)
    mol = parse_smiles(ALANINE)
    bond = mol.GetBondBetweenAtoms(0, 1)
    lengths = [
        np.linalg.norm(c.positions[bond.GetBeginAtomIdx()] - c.positions[bond.GetEndAtomIdx()])
        for c in (outcome.conformers[0], raw.conformers[0])
    ]
    assert abs(lengths[0] - 1.52) < 0.02 < lengths[1] - 1.54


def test_molecule_without_mmff_parameters_is_refused_only_when_it_matters():
    sampler = EtkdgSampler({"C[Se]C": "C[Se]C"})
    assert outcomes(sampler, ["C[Se]C"], minimize="mmff")[0].reason == "MMFF94 has no parameters for this molecule"
    assert not outcomes(sampler, ["C[Se]C"])[0].failed


def test_pruning_keeps_the_first_of_each_shape():
    sampler = EtkdgSampler({"CCCCO": "CCCCO"}, count=2)
    [everything] = outcomes(sampler, ["CCCCO"], conformers=12)
    [pruned] = outcomes(sampler, ["CCCCO"], conformers=12, prune_rms=0.05)
    assert len(everything.conformers) == 12
    assert len(pruned.conformers) == len({c.positions.tobytes() for c in everything.conformers}) == 2
    assert pruned.conformers[0].sample == 0
    assert (pruned.pruned, pruned.missing, pruned.reason) == (10, 0, None)


def test_pruning_sees_symmetry_and_rotation():
    turn = np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])
    sampler = EtkdgSampler(
        {"Cc1ccccc1": "Cc1ccccc1"}, change=lambda positions, call: positions @ turn if call % 2 else positions, count=1
    )
    [outcome] = outcomes(sampler, ["Cc1ccccc1"], conformers=4, max_atoms_per_batch=1, prune_rms=0.01)
    assert [c.sample for c in outcome.conformers] == [0]


def test_largest_fragment():
    sampler = EtkdgSampler({ALANINE: ALANINE})
    (refused,) = outcomes(sampler, [f"[Na+].{ALANINE}.O"])
    (kept,) = outcomes(sampler, [f"[Na+].{ALANINE}.O"], largest_fragment=True)
    assert "3 disconnected fragments" in refused.reason
    assert kept.task.kept_fragment == "C[C@H](N)C(=O)O"
    assert kept.task.smiles == f"[Na+].{ALANINE}.O"
    assert all_right(kept)
