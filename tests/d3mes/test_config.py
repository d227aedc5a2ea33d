"""Configurations by name and by file."""

from __future__ import annotations

import json
import re

import pytest

from ditkernels.models.d3mes import D3MESConfig
from ditkernels.models.d3mes.config import NAMED


@pytest.mark.parametrize("name", NAMED)
def test_named_configurations_survive_json(name):
    config = D3MESConfig.named(name)
    assert D3MESConfig.from_dict(json.loads(config.to_json())) == config


def test_arms_differ_in_the_attention_alone():
    released, layout = ({name: vars(NAMED[name]) for name in names} for names in (
        ("d3mes-code", "d3mes-dtm-code"), ("d3mes-dtm", "d3mes-so3-p", "d3mes-so3-e")
    ))  # fmt: skip
    for arms in (released, layout):
        first, *others = arms.values()
        for other in others:
            assert {key for key in first if first[key] != other[key]} == {"attention"}


def test_files(tmp_path):
    (tmp_path / "small.yaml").write_text("attention: none\nelements: [C, O]\nwidth: 32\nheads: 4\n")
    config = D3MESConfig.from_file(tmp_path / "small.yaml")
    assert (config.attention, config.elements, config.atomic_numbers) == ("none", ("C", "O"), (6, 8))
    for text in ("- 1\n", "width: [\n"):
        (tmp_path / "bad.yaml").write_text(text)
        with pytest.raises(ValueError, match="bad.yaml: "):
            D3MESConfig.from_file(tmp_path / "bad.yaml")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"heights": 3}, "unknown key 'heights'"),
        ({"rows": 15.0}, "rows must be of type int, got 15.0"),
        ({"elements": "CNO"}, "elements must be of type list, got 'CNO'"),
        ({"attention": "so3"}, "attention must be one of none, code, so3-front, so3-end, got 'so3'"),
        ({"patch_rows": 5}, "patch_rows must be one of 1, 2, 3, 4, 9, got 5"),
        ({"elements": ["C", "H"]}, "elements must be different symbols"),
        ({"elements": ["C", "C"]}, "elements must be different symbols"),
        ({"elements": []}, "elements must be different symbols"),
        ({"elements": [["C"]]}, "elements must be different symbols"),
        ({"rows": 16}, "rows must be a multiple of patch_rows (3), got 16"),
        ({"max_atoms": 16}, "max_atoms must be at most rows (15), got 16"),
        ({"width": 98, "heads": 7}, "width must be a multiple of 4 and of heads (7), got 98"),
        ({"so3_heads": 3}, "so3_channels must be a multiple of so3_heads (3), got 64"),
        ({"cutoff": 0.0}, "cutoff must be positive, got 0.0"),
        ({"blocks": 0}, "blocks must be positive, got 0"),
        ({"position_scale": float("nan")}, "position_scale must be positive, got nan"),
        ({"label_dropout": 1.0}, "label_dropout must lie in [0, 1), got 1.0"),
        ({"layout": "code", "rows": 27}, "attention so3-end needs layout v2, got 'code'"),
        ({"attention": "code"}, "attention code needs layout code, got 'v2'"),
        ({"attention": "none", "layout": "code"}, "must be a square for layout code"),
        ({"attention": "none", "cutoff": 5.0}, "cutoff is for attention so3-front and so3-end only, got 5.0"),
        (
            {"attention": "none", "layout": "code", "prediction": "noise", "rows": 27, "element_scale": 1.0},
            "element_scale is for layout v2 only, got 1.0",
        ),
        (
            {"attention": "none", "layout": "code", "rows": 27, "elements": ["C", "B"]},
            "elements has no code in layout code for B",
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_bad_values_are_named(values, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        D3MESConfig.from_dict(values)


def test_unknown_name():
    with pytest.raises(ValueError, match="unknown model configuration 'd3mes-x'; known are d3mes-code"):
        D3MESConfig.named("d3mes-x")
