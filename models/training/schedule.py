"""Learning rate as a function of the step alone, so that a resumed run continues the same curve."""

from __future__ import annotations

import math

from ditkernels.models.training.config import ScheduleConfig


def learning_rate_factor(step: int, schedule: ScheduleConfig) -> float:
    """Factor on the peak learning rate for step ``step`` = 0, 1, ..., ``steps`` - 1.

    Linear from ``initial`` to 1 over ``warmup`` * steps, 1 over ``hold`` * steps, then
    (1 + cos(pi s)) / 2 with s from 0 to 1 until ``end`` * steps, 0 after. With ``hold`` = 0 and the defaults this is
    the released model's schedule (1e-5 -> 3e-4 over 1 %, cosine to 0 at 99 %).
    """
    warmup = schedule.warmup * schedule.steps
    decay_start = (schedule.warmup + schedule.hold) * schedule.steps
    end = schedule.end * schedule.steps
    if step < warmup:
        return schedule.initial + (1 - schedule.initial) * step / warmup
    if step < decay_start:
        return 1.0
    if step >= end:
        return 0.0
    return 0.5 * (1 + math.cos(math.pi * (step - decay_start) / (end - decay_start)))
