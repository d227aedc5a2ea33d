"""The histogram of sizes and what is drawn from it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from ditkernels.models.d3mes.sizes import count_sizes, draw_size
from tests.support.d3mes import small_network

SIZES = np.array([9, 9, 8, 3, 9, 1])
LABELS = np.array([0, 1, 1, 1, 0, 0])


def test_molecules_are_counted_by_label_and_size():
    table = count_sizes(SIZES, LABELS, 2, 9)
    assert table.shape == (2, 10) and table.sum() == 6
    assert table[0, 9] == 2 and table[0, 1] == 1
    assert table[1, [3, 8, 9]].tolist() == [1, 1, 1]


@pytest.mark.parametrize("label", [0, 1, None])
def test_draws_follow_the_histogram(label):
    table, rng = count_sizes(SIZES, LABELS, 2, 9), np.random.default_rng(0)
    drawn = np.bincount([draw_size(table, label, rng) for _ in range(3000)], minlength=10) / 3000
    row = table.sum(0) if label is None else table[label]
    assert_allclose(drawn, row / row.sum(), atol=0.03)
    assert not drawn[row.numpy() == 0].any()


def test_a_new_network_knows_no_sizes():
    with pytest.raises(ValueError, match="has no histogram of sizes"):
        draw_size(small_network("dtm").sizes, 0, np.random.default_rng(0))


def test_sizes_are_part_of_the_weights():
    model, other = small_network("so3-e"), small_network("so3-e", seed=1)
    model.sizes.copy_(count_sizes(SIZES, LABELS, 2, 9))
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.sizes, model.sizes)
