"""Order, failures, random streams, budgets and memory of the pipeline."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ditkernels.models.generation.batching import WINDOW_BATCHES, WINDOW_RECORDS, batches, windows
from tests.generation.samplers import EtkdgSampler, echo, outcomes

SMILES = ("CCO", "", "c1ccccc1", "C1CC", "C[Te]C", "CC.O", "C", "[H][H]", "C" * 100, "[Na+]")


def test_every_record_has_an_outcome_in_input_order():
    results = outcomes(echo, SMILES, max_atoms=100, max_atoms_per_batch=30)
    assert [outcome.record.content for outcome in results] == list(SMILES)
    assert [outcome.record.index for outcome in results if not outcome.failed] == [0, 2, 6, 7, 9]
    reasons = {outcome.record.index: outcome.reason for outcome in results if outcome.failed}
    for index, words in {
        1: "no atoms",
        3: "cannot be read",
        4: "element",
        5: "2 disconnected fragments",
        8: "302 atoms, more than",
    }.items():
        assert words in reasons[index]


def test_unreadably_long_smiles_is_refused_unread():
    [outcome] = outcomes(echo, ["C" * 5000], max_atoms=100)
    assert outcome.reason == "the SMILES has 5000 characters, too many for 100 atoms"


def test_any_failure_inside_rdkit_fails_the_record_only(monkeypatch):
    from ditkernels.models.generation import tasks

    def broken(mol):
        if mol.GetNumAtoms() == 9:
            raise RuntimeError("Invariant Violation\n\tin file X")
        return original(mol)

    original = tasks.stereo_elements
    monkeypatch.setattr(tasks, "stereo_elements", broken)
    failed, fine = outcomes(echo, ["CCO", "CC"])
    assert failed.reason == "RDKit cannot process the molecule: Invariant Violation in file X"
    assert not fine.failed


def positions(results):
    return [[conformer.positions for conformer in outcome.conformers] for outcome in results]


def test_same_seed_same_bits_other_seed_other_positions():
    first, second, other = (positions(outcomes(echo, SMILES, seed=seed)) for seed in (5, 5, 6))
    assert all(np.array_equal(a, b) for a, b in zip(first, second))
    assert not np.allclose(first[0], other[0])


def test_result_depends_on_the_position_in_the_input_and_not_on_the_batch():
    """The noise of a molecule survives other budgets, other neighbors and more conformers."""
    usual = positions(outcomes(echo, SMILES))
    cramped = positions(outcomes(echo, SMILES, max_atoms_per_batch=1))
    neighbors = positions(outcomes(echo, ["[Na+]", "CC", "c1ccccc1"], conformers=5, max_pairs_per_batch=400))
    assert all(np.array_equal(a, b) for a, b in zip(usual, cramped))
    assert np.array_equal(usual[2], neighbors[2][:2])
    moved = positions(outcomes(echo, ["c1ccccc1"]))
    assert not np.allclose(usual[2], moved[0])


def test_prior_positions():
    [[harmonic]], [[gaussian]] = (
        positions(outcomes(echo, ["CCCCCCCC"], conformers=1, prior=prior)) for prior in ("harmonic", "gaussian")
    )
    for x in (harmonic, gaussian):
        assert x.dtype == np.float32
        assert np.abs(x.mean(axis=0)).max() < 1e-6
    # Bonded atoms are 1 Angstrom apart per axis in the harmonic prior, and sqrt 2 in the Gaussian one.
    assert (
        np.linalg.norm(np.diff(harmonic[:8], axis=0), axis=1).mean()
        < np.linalg.norm(np.diff(gaussian[:8], axis=0), axis=1).mean()
    )


def test_molecules_share_batches_within_the_budgets():
    sampler = EtkdgSampler({"CCO": "CCO", "C": "C"})
    outcomes(sampler, ["CCO", "C", "CCO", "C"], conformers=3, max_atoms_per_batch=24)
    assert sum(sampler.batch_sizes) == 12
    assert max(sampler.batch_sizes) == 4


def test_batches_keep_order_and_budgets():
    sizes = [3, 9, 4, 20, 5, 5, 1, 1, 1]
    result = list(batches(((i, n) for i, n in enumerate(sizes)), max_atoms=12, max_pairs=90))
    assert result == [[0, 1], [2], [3], [4, 5, 6, 7], [8]]


def test_windows_depend_on_their_start_only():
    items = [(i, 40 if i % 7 else 300) for i in range(200)]
    whole = list(windows(items, 100))
    assert [i for window in whole for i in window] == list(range(200))
    start = whole[3][0]
    assert list(windows(items[start:], 100)) == whole[3:]
    assert all(sum(items[i][1] for i in window[:-1]) < WINDOW_BATCHES * 100 for window in whole)
    assert [len(window) for window in windows(((i, 0) for i in range(2500)), 100)] == [
        WINDOW_RECORDS,
        WINDOW_RECORDS,
        452,
    ]


def test_input_is_read_window_by_window():
    from ditkernels.models.generation.options import GenerationOptions
    from ditkernels.models.generation.pipeline import ConformerPipeline
    from tests.generation.samplers import records

    read = []
    stream = (read.append(record.index) or record for record in records(*["CCO"] * 100))
    run = ConformerPipeline(echo, GenerationOptions(1, max_atoms_per_batch=9)).run(stream)
    next(run)
    assert len(read) == WINDOW_BATCHES


def scarce(limit, error):
    """A sampler with memory for `limit` atoms."""

    def run(graph, x0):
        if graph.num_atoms > limit:
            raise error
        return x0

    return run


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
    ],
)
def test_out_of_memory_halves_the_batch_and_spares_the_other_records(error):
    with pytest.warns(RuntimeWarning, match="lower max_atoms_per_batch"):
        small, large = outcomes(scarce(20, error), ["CCO", "CCCCCCCC"], conformers=6)
    assert len(small.conformers) == 6
    assert large.reason == "not enough memory for one conformer of 26 atoms"
    assert np.array_equal(positions([small]), positions(outcomes(echo, ["CCO"], conformers=6)))


def test_other_errors_of_the_sampler_are_not_hidden():
    with pytest.raises(RuntimeError, match="no kernel"):
        outcomes(scarce(0, RuntimeError("no kernel")), ["CCO"])


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("conformers", 0, "conformers must be at least 1"),
        ("steps", 0, "steps"),
        ("attempts", 0, "attempts"),
        ("seed", -1, "seed"),
        ("prune_rms", 0.0, "prune_rms must be a positive number"),
        ("grid", "cosine", "grid must be one of uniform, log"),
        ("method", "rk4", "method"),
        ("prior", "uniform", "prior"),
        ("minimize", "uff", "minimize must be one of none, mmff"),
        ("max_atoms_per_batch", 0, "max_atoms_per_batch"),
    ],
)
def test_options_out_of_range(option, value, sentence):
    with pytest.raises(ValueError, match=sentence):
        outcomes(echo, ["C"], **{option: value})
