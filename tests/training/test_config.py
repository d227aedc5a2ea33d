"""Every wrong key or value of a training configuration is one sentence that names it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ditkernels.models import d3mes, ditmc
from ditkernels.models.training.config import config_from_dict, config_to_dict, load_config

SHIPPED = sorted(
    path for family in (d3mes, ditmc) for path in (Path(family.__file__).parent / "configs").glob("train_*.yaml")
)


def test_configuration_survives_the_round_trip(values):
    config = config_from_dict(values)
    assert config_from_dict(config_to_dict(config)) == config


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimiser.learning_rate=1", "unknown key 'optimiser'"),
        ("optimizer.lr=1", "unknown key 'optimizer.lr'"),
        ("model.depth=3", "unknown key 'depth'"),
        ("data.sources=[{file: a.sdf}]", r"unknown key 'data.sources\[0\].file'"),
        ("data.sources=[]", "data.sources"),
        ("schedule.steps=many", "schedule.steps must be of type int"),
        ("schedule.steps=0", "schedule.steps must be at least 1"),
        ("schedule.hold=2", "warmup . hold <= end <= 1"),
        ("optimizer.learning_rate=fast", "optimizer.learning_rate must be a number"),
        ("optimizer.betas=[0.9]", "optimizer.betas must have 2 entries"),
        ("optimizer.nan_gradients=ignore", "optimizer.nan_gradients must be one of"),
        ("batch.pairs=0", "pairs must be at least 1"),
        ("precision=fp8", "precision must be float32 or bf16"),
        ("model=ape-xxl", "ape-xxl"),
        ("batch=5", "batch must be a mapping"),
        ("steps", "not of the form key=value"),
    ],
)
def test_wrong_values_are_named(config_file, override, message):
    with pytest.raises(ValueError, match=message) as error:
        load_config(config_file, [override])
    assert "\n" not in str(error.value)


def test_a_missing_key_and_broken_yaml_are_named(values, tmp_path):
    del values["schedule"]
    with pytest.raises(ValueError, match="'schedule' is missing"):
        config_from_dict(values)
    path = tmp_path / "broken.yaml"
    path.write_text("model: [")
    with pytest.raises(ValueError, match="not valid YAML"):
        load_config(path)


def test_overrides_reach_nested_keys_and_numbers_without_a_point(config_file):
    config = load_config(config_file, ["optimizer.learning_rate=1e-4", "schedule.steps=77", "model=ape-s"])
    assert config.optimizer.learning_rate == 1e-4 and config.schedule.steps == 77 and config.model.width == 128


def test_the_data_folder_comes_from_the_key_the_environment_or_the_file(values, tmp_path, monkeypatch):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    monkeypatch.setenv("DITKERNELS_DATA", "/elsewhere")
    assert load_config(path).data.root == values["data"]["root"]
    del values["data"]["root"]
    path.write_text(yaml.safe_dump(values))
    assert load_config(path).data.root == "/elsewhere"
    monkeypatch.delenv("DITKERNELS_DATA")
    assert load_config(path).data.root == str(tmp_path)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_shipped_configurations_are_valid(path):
    assert load_config(path).schedule.steps >= 500
