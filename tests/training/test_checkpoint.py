"""Checkpoints are complete, kept by count, readable as models, and damage to them is noticed."""

from __future__ import annotations

import errno
import json
import os

import pytest
import torch

from ditkernels.models.training.checkpoint import CheckpointError, list_checkpoints
from ditkernels.models.weights import load_model


@pytest.fixture
def run(make_trainer, tmp_path):
    trainer = make_trainer(tmp_path)
    trainer.run()
    return trainer


def test_the_newest_ones_are_kept_and_hold_no_pickle(make_trainer, tmp_path):
    trainer = make_trainer(tmp_path, checkpoint={"every": 2, "keep": 2})
    trainer.run()
    folders = list_checkpoints(trainer.checkpoints)
    assert [p.name for p in folders] == ["step_00000008", "step_00000009"]
    expected = ["config.json", "ema.safetensors", "model.safetensors", "optimizer.safetensors", "state.json"]
    assert sorted(p.name for p in folders[0].iterdir()) == expected


def test_a_checkpoint_loads_as_the_averaged_model(run):
    model = load_model(list_checkpoints(run.checkpoints)[-1])
    average = run.ema.network.state_dict()
    assert all(torch.equal(value, average[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("name", ["model.safetensors", "ema.safetensors", "optimizer.safetensors"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_file_is_named(run, make_trainer, tmp_path, name, damage):
    path = list_checkpoints(run.checkpoints)[-1] / name
    content = bytearray(path.read_bytes())
    if damage == "remove":
        path.unlink()
    elif damage == "truncate":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[-5] ^= 1
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged.*delete it to use an earlier one") as error:
        make_trainer(tmp_path, resume=True)
    assert name in str(error.value) and "\n" not in str(error.value)


def test_a_checkpoint_without_state_is_incomplete(run, make_trainer, tmp_path):
    (list_checkpoints(run.checkpoints)[-1] / "state.json").write_text('{"step": 9')
    with pytest.raises(CheckpointError, match="incomplete or damaged"):
        make_trainer(tmp_path, resume=True)


def test_a_checkpoint_of_another_network_is_refused(run, make_trainer, values, tmp_path):
    with pytest.raises(CheckpointError, match="does not fit the configured network"):
        make_trainer(tmp_path, resume=True, model=values["model"] | {"width": 32})


def test_a_full_disk_keeps_the_previous_checkpoint(run, monkeypatch):
    before = sorted(p.name for p in run.checkpoints.iterdir())

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    run.step = 10
    with pytest.raises(
        CheckpointError, match="could not be written .the disk is full.; the last one is .*step_00000009"
    ):
        run.save()
    assert sorted(p.name for p in run.checkpoints.iterdir()) == before


def test_an_unfinished_folder_is_not_taken_for_a_checkpoint(run):
    (run.checkpoints / ".step_00000099.123").mkdir()
    assert list_checkpoints(run.checkpoints)[-1].name == "step_00000009"


def test_the_state_names_versions_configuration_and_place(run):
    state = json.loads((list_checkpoints(run.checkpoints)[-1] / "state.json").read_text())
    assert state["step"] == 9 and state["versions"]["torch"] == torch.__version__
    assert state["config"]["schedule"]["steps"] == 9 and {"epoch", "position"} <= state.keys()
