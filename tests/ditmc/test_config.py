"""Configurations by name and by file."""

from __future__ import annotations

import json

import pytest

from ditkernels.models.ditmc import DiTMC, DiTMCConfig
from ditkernels.models.ditmc.config import NAMED


def parameters(config):
    return sum(p.numel() for p in DiTMC(config).parameters())


def test_b_has_the_size_of_the_released_networks():
    # 9,561,670 less the 3 * 256 + 3 numbers of three output columns that nothing reads.
    assert parameters(DiTMCConfig.named("ape-b")) == 9_561_670 - 771
    assert parameters(DiTMCConfig.named("rpe-b")) == 9_561_670 - 771


def test_b_for_qm9_attributes():
    assert parameters(DiTMCConfig.from_dict({"layout": "qm9"})) == 9_553_990 - 771


def test_l_has_the_published_size():
    assert 28.2e6 < parameters(DiTMCConfig.named("ape-l")) < 28.3e6


def test_s_weights_are_small_enough_to_ship():
    assert parameters(DiTMCConfig.named("ape-s")) * 4 < 20e6


@pytest.mark.parametrize("name", sorted(NAMED))
def test_json_round_trip(name, tmp_path):
    config = DiTMCConfig.named(name)
    (tmp_path / "config.json").write_text(config.to_json())
    assert DiTMCConfig.from_file(tmp_path / "config.json") == config


def test_yaml_file_with_some_keys_takes_defaults_for_the_rest(tmp_path):
    (tmp_path / "c.yaml").write_text("embedding: rpe\nwidth: 64\nsigma: 1\n")
    assert DiTMCConfig.from_file(tmp_path / "c.yaml") == DiTMCConfig(embedding="rpe", width=64, sigma=1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"embedding": "pe3"}, "embedding must be one of ape, rpe"),
        ({"width": 30}, "width must be a multiple of 4 and of heads"),
        ({"heads": 0}, "heads must be at least 1"),
        ({"colour": 1}, "unknown key 'colour'"),
        ({"width": "wide"}, "width must be of type int"),
        ({"self_conditioning": 1}, "self_conditioning must be of type bool"),
        ({"guidance_dropout": 1.0}, "guidance_dropout must lie in"),
        ({"sigma": -1.0}, "sigma must not be negative"),
        ({"layout": "zinc"}, "layout must be one of"),
    ],
)
def test_bad_values_are_named(values, message):
    with pytest.raises(ValueError, match=message):
        DiTMCConfig.from_dict(values)


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="ape-b, ape-l, ape-s"):
        DiTMCConfig.named("ape-xl")


def test_broken_files_are_named(tmp_path):
    (tmp_path / "a.yaml").write_text("{")
    (tmp_path / "b.yaml").write_text(json.dumps([1]))
    with pytest.raises(ValueError, match="a.yaml: not a YAML file"):
        DiTMCConfig.from_file(tmp_path / "a.yaml")
    with pytest.raises(ValueError, match="b.yaml: expected a mapping"):
        DiTMCConfig.from_file(tmp_path / "b.yaml")
