"""Studies that ask for sizes, and that compare patches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ditkernels.models.metrics.reference import Reference
from ditkernels.models.studies import sizes as study
from ditkernels.models.studies.patches import measure_patches, size_table
from ditkernels.models.studies.sizes import bin_name, measure_sizes, parse_bins, restricted
from tests.support.d3mes import small_network

REFERENCE = Reference(np.array([], dtype=np.uint64), [])


@pytest.fixture
def network():
    model = small_network("dtm", dtype=torch.float32, classes=1)
    model.sizes.copy_(torch.tensor([[0.0, 1, 0, 0, 2, 3, 0, 0, 4, 10]]))
    return model


def test_bins():
    assert parse_bins("1-6, 7,8-9") == [(1, 6), (7, 7), (8, 9)]
    assert [bin_name(b) for b in ((1, 6), (7, 7))] == ["1–6 heavy atoms", "7 heavy atoms"]


@pytest.mark.parametrize("text", ["", "a", "3-2", "0", "1-", "1-2-3", "-4"])
def test_bins_that_are_none(text):
    with pytest.raises(ValueError, match="bins must be like 1-6,7,8-9"):
        parse_bins(text)


def test_a_restricted_network_keeps_the_frequencies_inside(network):
    few = restricted(network, (4, 8))
    assert few.sizes[0].tolist() == [0, 0, 0, 0, 2, 3, 0, 0, 4, 0]
    assert network.sizes.sum() == 20


def test_sizes_that_cannot_be_asked_for(network):
    with pytest.raises(ValueError, match="no training molecule of this network had 2–3 heavy atoms"):
        restricted(network, (2, 3))
    with pytest.raises(ValueError, match="layout code"):
        restricted(small_network("code"), (1, 3))


def test_every_bin_has_its_sizes(network, monkeypatch):
    seen = []
    generator = study.measure_network

    def spy(name, few, *arguments, **options):
        seen.append(few.sizes.nonzero()[:, 1].tolist())
        return generator(name, few, *arguments, **options)

    monkeypatch.setattr(study, "measure_network", spy)
    told = []
    rows = measure_sizes(
        "x", network, [(1, 4), (9, 9)], REFERENCE, 3, range(2), lambda: told.append(1), steps=2, batch=2
    )
    assert seen == [[1, 4], [9]] and len(told) == 12
    assert [row["name"] for row in rows] == ["x, 1–4 heavy atoms", "x, 9 heavy atoms"]
    assert [row["data_share"] for row in rows] == [3 / 20, 10 / 20]
    assert all(row["samples"] == 6 and row["seeds"] == 2 for row in rows)


def test_patches_are_described_and_measured(network):
    row, small = measure_patches("x", network, (1, 4), REFERENCE, 2, range(1), lambda: None, steps=2)
    assert (row["patch_rows"], row["tokens"], row["samples"]) == (3, 5, 2)
    assert row["parameters"] == sum(p.numel() for p in network.parameters())
    assert row["seconds_per_sample"] > 0 and small["bin"] == [1, 4]
    assert size_table([row]).splitlines()[2].startswith(f"| x | 3 | 5 | {row['parameters']:,} | ")
