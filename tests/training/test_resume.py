"""A resumed run is bit for bit the unbroken one: log, weights, average and optimizer."""

from __future__ import annotations

import os
import signal

import pytest
import torch
from safetensors.torch import load_file

from ditkernels.models.training.checkpoint import CheckpointError, list_checkpoints
from ditkernels.models.training.log import read_log

TIMES = ("molecules_per_s", "elapsed_s")


def curve(folder):
    return [{k: v for k, v in row.items() if k not in TIMES} for row in read_log(folder / "log.csv")]


def assert_same_run(one, two):
    assert curve(one) == curve(two)
    last, other = (list_checkpoints(folder / "checkpoints")[-1] for folder in (one, two))
    assert last.name == other.name
    for name in ("model", "ema", "optimizer"):
        a, b = (load_file(folder / f"{name}.safetensors") for folder in (last, other))
        assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def interrupt_after(trainer, step, number=signal.SIGINT):
    """Sends the signal from inside the given step."""
    train_step = trainer._train_step

    def wrapped(data):
        if trainer.step == step - 1:
            os.kill(os.getpid(), number)
        return train_step(data)

    trainer._train_step = wrapped


@pytest.mark.parametrize("model", [{}, {"self_conditioning": True, "guidance_dropout": 0.5}], ids=["plain", "coins"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_and_resumed_equals_unbroken(make_trainer, values, tmp_path, model, number):
    changes = {"model": values["model"] | model, "accumulate": 2}
    assert make_trainer(tmp_path / "whole", **changes).run() is None
    first = make_trainer(tmp_path / "broken", **changes)
    interrupt_after(first, 5, number)  # between rows of the log and between checkpoints
    assert first.run() == number and first.step == 5
    assert [p.name for p in list_checkpoints(first.checkpoints)] == ["step_00000003", "step_00000005"]
    second = make_trainer(tmp_path / "broken", resume=True, **changes)
    assert second.step == 5 and second.run() is None
    assert_same_run(tmp_path / "whole", tmp_path / "broken")


def test_a_killed_run_continues_from_its_last_checkpoint(make_trainer, tmp_path):
    make_trainer(tmp_path / "whole").run()
    first = make_trainer(tmp_path / "broken")
    train_step = first._train_step

    def crash(data):
        if first.step == 7:
            raise MemoryError
        return train_step(data)

    first._train_step = crash
    with pytest.raises(MemoryError):
        first.run()
    assert curve(tmp_path / "broken")[-1]["step"] == "6"
    second = make_trainer(tmp_path / "broken", resume=True)
    assert second.step == 6
    second.run()
    assert_same_run(tmp_path / "whole", tmp_path / "broken")


def test_a_finished_run_can_be_made_longer_and_says_what_changed(make_trainer, tmp_path):
    make_trainer(tmp_path).run()
    said = []
    longer = make_trainer(tmp_path, resume=True, echo=said.append, schedule={"steps": 12, "warmup": 0.2})
    assert longer.run() is None and longer.step == 12
    assert "changed since the checkpoint: schedule.steps: 9 -> 12" in said
    assert [row["step"] for row in curve(tmp_path)][-1] == "12"


def test_a_folder_with_checkpoints_is_not_overwritten(make_trainer, tmp_path):
    make_trainer(tmp_path).run()
    with pytest.raises(CheckpointError, match="--resume"):
        make_trainer(tmp_path)


def test_nothing_to_resume_from_is_said(make_trainer, tmp_path):
    with pytest.raises(CheckpointError, match="holds no checkpoint to resume from"):
        make_trainer(tmp_path, resume=True)
