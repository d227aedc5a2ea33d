"""The study of turned molecules finds which networks turn with them."""

from __future__ import annotations

import pytest
import torch

from ditkernels.models.studies.rotation import (
    LEVELS,
    error_table,
    output_errors,
    sample_changes,
    sample_table,
    untrained,
)
from tests.support.d3mes import images_of, molecules, small_network


def case(arm):
    model = small_network(arm)
    found = molecules()
    return model, images_of(found, model.config).double(), torch.tensor([len(m.elements) for m in found])


@pytest.mark.parametrize("arm", ["so3-e", "so3-p", "dtm", "code"])
def test_errors_of_outputs(arm):
    rows = output_errors(*case(arm))
    assert [row["level"] for row in rows] == list(LEVELS)
    for row in rows:
        for part in ("positions", "others"):
            assert row[part] < 1e-5 if arm == "so3-e" else row[part] > 1e-3


@pytest.mark.parametrize("arm", ["so3-e", "dtm", "code"])
def test_changes_of_samples(arm):
    model, _, count = case(arm)
    found = sample_changes(model, count, steps=3)
    assert found["samples"] == 7
    if arm == "so3-e":
        assert found["rmsd"] < 1e-3 and found["same"] in (None, 1.0) and found["valid"][0] == found["valid"][1]
    else:
        assert found["rmsd"] > 1


def test_an_untrained_network_has_an_output():
    model, images, count = case("so3-e")
    fresh = untrained(model).double()
    assert all(torch.isfinite(torch.tensor(list(row.values()))).all() for row in output_errors(fresh, images, count))
    assert fresh.config == model.config and not fresh.training


def test_tables_have_a_line_for_every_part_of_a_model():
    rows = [
        {"name": "a", "outputs": [{"level": level, "positions": 0.5, "others": 1e-7} for level in LEVELS]},
        {"name": "b", "outputs": [], "samples": {"samples": 3, "same": None, "valid": [0.0, 1.0], "rmsd": 0.25}},
    ]
    assert error_table(rows[:1]).splitlines()[2:] == [
        "| a | positions | " + " | ".join(["5.0e-01"] * 5) + " |",
        "| a | others | " + " | ".join(["1.0e-07"] * 5) + " |",
    ]
    assert sample_table(rows).splitlines()[2:] == ["| b | 3 | – | 0.0 | 100.0 | 0.25 |"]
