"""What one step does: schedule, average, gradient policies, validation; and that the loss goes down."""

from __future__ import annotations

import pytest
import torch

from ditkernels.models.training.config import OptimizerConfig, ScheduleConfig
from ditkernels.models.training.ema import EMA
from ditkernels.models.training.gradients import NonFiniteGradients, condition_gradients
from ditkernels.models.training.log import plot_log, read_log
from ditkernels.models.training.schedule import learning_rate_factor
from ditkernels.models.training.steps import in_background


def test_schedule_of_the_released_model():
    schedule = ScheduleConfig(steps=1000)
    factor = [learning_rate_factor(step, schedule) for step in range(1000)]
    assert factor[0] == pytest.approx(1 / 30) and factor[10] == 1.0 and factor[500] == pytest.approx(0.5)
    assert factor[990:] == [0.0] * 10
    assert all(a >= b for a, b in zip(factor[10:], factor[11:]))


def test_the_peak_can_be_held():
    schedule = ScheduleConfig(steps=100, warmup=0.1, hold=0.6)
    assert [learning_rate_factor(step, schedule) for step in (10, 40, 69)] == [1.0, 1.0, 1.0]
    assert learning_rate_factor(90, schedule) < 0.5


def test_average_is_the_exponential_moving_average():
    network = torch.nn.Linear(3, 2)
    ema = EMA(network, 0.9)
    expected = network.weight.detach().clone()
    for step in range(200, 205):
        with torch.no_grad():
            network.weight += torch.randn(2, 3)
        ema.update(step)
        expected = 0.9 * expected + 0.1 * network.weight.detach()
    assert torch.allclose(ema.network.weight, expected) and not ema.network.weight.requires_grad


def test_the_average_of_a_short_run_is_of_its_last_weights():
    network = torch.nn.Linear(1, 1, bias=False)
    ema = EMA(network, 0.999)
    for step in range(100):
        with torch.no_grad():
            network.weight.fill_(step)
        ema.update(step)
    assert 85 < float(ema.network.weight.detach()) < 95, (
        "100 steps at 0.999 would keep nine tenths of the first weights"
    )


def parameter_with_gradient(*gradient):
    parameter = torch.nn.Parameter(torch.zeros(len(gradient)))
    parameter.grad = torch.tensor(gradient)
    return parameter


def test_non_finite_gradients_follow_the_policy():
    bad = (3.0, float("nan"), float("inf"), 4.0)
    parameter = parameter_with_gradient(*bad)
    norm, finite, step = condition_gradients([parameter], OptimizerConfig(nan_gradients="zero"))
    assert parameter.grad.tolist() == [3.0, 0.0, 0.0, 4.0] and (float(norm), finite, step) == (5.0, False, True)
    assert condition_gradients([parameter_with_gradient(*bad)], OptimizerConfig(nan_gradients="skip"))[1:] == (
        False,
        False,
    )
    with pytest.raises(NonFiniteGradients, match="not finite"):
        condition_gradients([parameter_with_gradient(*bad)], OptimizerConfig(nan_gradients="error"))


def test_clipping_scales_to_the_norm_and_leaves_small_gradients():
    large, small = parameter_with_gradient(3.0, 4.0), parameter_with_gradient(0.3, 0.4)
    config = OptimizerConfig(clip_norm=1.0)
    assert float(condition_gradients([large], config)[0]) == 5.0
    condition_gradients([small], config)
    assert torch.allclose(large.grad, torch.tensor([0.6, 0.8]), atol=1e-5)
    assert torch.equal(small.grad, torch.tensor([0.3, 0.4]))


def test_a_skipped_step_leaves_the_weights(make_trainer, tmp_path, monkeypatch):
    trainer = make_trainer(tmp_path, optimizer={"nan_gradients": "skip"}, schedule={"steps": 2})
    before = [p.detach().clone() for p in trainer.network.parameters()]
    monkeypatch.setattr(
        trainer, "_loss", lambda network, examples: sum(p.sum() for p in network.parameters()) * float("nan")
    )
    trainer.run()
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.network.parameters()))
    assert read_log(tmp_path / "log.csv")[-1]["nonfinite_steps"] == "2"


def test_training_lowers_the_validation_loss(make_trainer, tmp_path):
    trainer = make_trainer(
        tmp_path,
        schedule={"steps": 100},
        optimizer={"learning_rate": 0.01, "ema_decay": 0.9},
        validation={"every": 50},
        checkpoint={"every": 1000},
        batch={"molecules": 16},
    )
    examples = trainer.recipe.validation()
    before = trainer.validate(examples)
    trainer.run()
    after = trainer.validate(examples)
    assert set(after) == {"qm9_extract", "cascade_extract"} or set(after) == {"qm9_extract"}
    assert after["qm9_extract"] < 0.7 * before["qm9_extract"]
    plot_log(tmp_path / "log.csv", tmp_path / "log.png")
    assert (tmp_path / "log.png").read_bytes()[:4] == b"\x89PNG"


def test_tensorboard_events_are_written_when_asked(make_trainer, tmp_path):
    pytest.importorskip("tensorboard")
    make_trainer(tmp_path, log={"every": 1, "tensorboard": True}, schedule={"steps": 2}).run()
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_validation_repeats_exactly_and_uses_kept_aside_molecules(make_trainer, tmp_path):
    trainer = make_trainer(tmp_path)
    examples = trainer.recipe.validation()
    again = trainer.recipe.validation()
    assert trainer.validate(examples) == trainer.validate(again)
    count = sum(batch.num_molecules for batches in examples.values() for batch in batches)
    assert count == len(trainer.recipe.dataset.entries("validation"))


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "bf16"},
        {"time_sampling": "late"},
        {"recompute": "hidden"},
        {"recompute": "blocks", "precision": "bf16"},
        {"model": "prior"},
        {"model": "velocity"},
    ],
)
def test_options_train_to_finite_losses(make_trainer, values, tmp_path, changes):
    if "model" in changes:
        extra = {"prior": {"prior": "gaussian"}, "velocity": {"target": "velocity"}}[changes["model"]]
        changes = {"model": values["model"] | extra}
    trainer = make_trainer(tmp_path, schedule={"steps": 3}, **changes)
    trainer.run()
    losses = [float(row["loss"]) for row in read_log(tmp_path / "log.csv")]
    assert losses and all(0 < loss < 1e4 for loss in losses)


def test_background_work_keeps_the_order_and_passes_errors_on():
    assert list(in_background(range(10), lambda x: x * x)) == [x * x for x in range(10)]
    with pytest.raises(ZeroDivisionError):
        list(in_background([1, 0, 1], lambda x: 1 / x))
