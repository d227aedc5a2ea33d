"""Coverage and average minimum RMSD on matrices small enough to do by hand."""

import math

import numpy as np
import pytest

from ditkernels.models.evaluation import coverage

# Rows: 2 references. Columns: 3 generated conformers.
RMSD = np.array([[0.2, 0.9, 1.5], [0.8, 0.6, 2.0]])


def test_known_numbers():
    score = coverage(RMSD, (0.5, 0.75))
    assert score.cov_r == {0.5: 0.5, 0.75: 1.0}
    assert score.cov_p == pytest.approx({0.5: 1 / 3, 0.75: 2 / 3})
    assert score.amr_r == pytest.approx((0.2 + 0.6) / 2)
    assert score.amr_p == pytest.approx((0.2 + 0.6 + 1.5) / 3)


def test_recall_of_the_transpose_is_precision():
    score, transposed = coverage(RMSD, (0.7,)), coverage(RMSD.T, (0.7,))
    assert (score.cov_r, score.amr_r) == (transposed.cov_p, transposed.amr_p)


def test_threshold_is_strict():
    assert coverage(np.array([[0.5]]), (0.5,)).cov_r == {0.5: 0.0}


def test_pairs_that_could_not_be_aligned_are_left_out_of_the_minimum():
    score = coverage(np.array([[np.nan, 0.4], [np.nan, np.nan]]), (0.5,))
    assert score.amr_r == pytest.approx(0.4)
    assert score.cov_r == {0.5: 0.5} and score.cov_p == {0.5: 0.5}


def test_nothing_generated_covers_nothing():
    score = coverage(np.empty((3, 0)), (0.5,))
    assert score.cov_r == {0.5: 0.0} and score.cov_p == {0.5: 0.0}
    assert math.isnan(score.amr_r) and math.isnan(score.amr_p)


def test_no_reference_is_an_error():
    with pytest.raises(ValueError, match="references >= 1"):
        coverage(np.empty((0, 2)), (0.5,))
