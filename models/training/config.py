"""The training configuration: one YAML file, every key known and checked."""

from __future__ import annotations

import dataclasses
import os
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from ditkernels.models.families import config_from_values, family_of

DATA_VARIABLE = "DITKERNELS_DATA"


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW. Defaults are those of the released model; ``clip_norm`` null means no gradient clipping;
    ``nan_gradients``: ``zero`` the entries that are not finite, ``skip`` the step, or stop with an ``error``.
    ``ema_decay``: of the average of the weights, less during the first steps, see :class:`ema.EMA`."""

    learning_rate: float = 3e-4
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 1e-4
    clip_norm: float | None = None
    nan_gradients: str = "zero"
    ema_decay: float = 0.999

    def __post_init__(self):
        require(self.learning_rate > 0, "optimizer.learning_rate", "positive", self.learning_rate)
        require(0 <= self.ema_decay < 1, "optimizer.ema_decay", "at least 0 and below 1", self.ema_decay)
        require(self.clip_norm is None or self.clip_norm > 0, "optimizer.clip_norm", "positive or null", self.clip_norm)
        choices = ("zero", "skip", "error")
        require(
            self.nan_gradients in choices, "optimizer.nan_gradients", f"one of {', '.join(choices)}", self.nan_gradients
        )


@dataclass(frozen=True)
class ScheduleConfig:
    """Learning rate over ``steps`` optimiser steps: linear from ``initial`` times the peak over the share ``warmup``,
    constant over the share ``hold``, cosine to 0 at the share ``end``, then 0."""

    steps: int
    warmup: float = 0.01
    hold: float = 0.0
    end: float = 0.99
    initial: float = 1 / 30

    def __post_init__(self):
        require(self.steps >= 1, "schedule.steps", "at least 1", self.steps)
        require(0 <= self.initial <= 1, "schedule.initial", "in [0, 1]", self.initial)
        fits = self.warmup >= 0 and self.hold >= 0 and self.warmup + self.hold <= self.end <= 1
        require(fits, "schedule", "warmup + hold <= end <= 1", (self.warmup, self.hold, self.end))


@dataclass(frozen=True)
class ValidationConfig:
    """every: steps between validations (0: none); molecules: at most so many per source, always the same."""

    every: int = 1000
    molecules: int = 512


@dataclass(frozen=True)
class CheckpointConfig:
    """every: steps between checkpoints (the last step always has one); keep: how many to keep."""

    every: int = 1000
    keep: int = 3

    def __post_init__(self):
        require(self.every >= 1, "checkpoint.every", "at least 1", self.every)
        require(self.keep >= 1, "checkpoint.keep", "at least 1", self.keep)


@dataclass(frozen=True)
class LogConfig:
    """every: steps per row of log.csv; tensorboard: also write TensorBoard events."""

    every: int = 50
    tensorboard: bool = False

    def __post_init__(self):
        require(self.every >= 1, "log.every", "at least 1", self.every)


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """What every training run depends on, whatever it trains; a model family adds fields (see ``families``).

    accumulate: micro-batches per optimiser step and process.
    precision:  ``float32`` or ``bf16`` (autocast).
    impl:       back-end of the attention operator.
    compile:    run the network through ``torch.compile``.
    """

    schedule: ScheduleConfig
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    log: LogConfig = field(default_factory=LogConfig)
    accumulate: int = 1
    precision: str = "float32"
    device: str = "auto"
    impl: str = "auto"
    compile: bool = False
    seed: int = 42
    output: str = "runs/model"

    def __post_init__(self):
        require(self.accumulate >= 1, "accumulate", "at least 1", self.accumulate)
        require(self.precision in ("float32", "bf16"), "precision", "float32 or bf16", self.precision)
        require(self.seed >= 0, "seed", "at least 0", self.seed)


def require(condition: bool, key: str, expected: str, value) -> None:
    """Raises ValueError naming ``key`` unless ``condition`` holds."""
    if not condition:
        raise ValueError(f"training config: {key} must be {expected}, got {value!r}")


def load_config(path: str | Path, overrides: typing.Sequence[str] = ()) -> TrainingConfig:
    """Read and check a configuration file.

    Args:
        path: YAML file. Where neither ``data.root`` nor DITKERNELS_DATA is set, data paths are relative to its folder.
        overrides: ``key=value`` with dotted keys (``schedule.steps=100``); the value is YAML.

    Raises:
        ValueError: one sentence naming the key that is unknown, missing or wrong.
    """
    path = Path(path)
    try:
        values = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ValueError(f"training config {path} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"training config {path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ValueError(f"training config {path} must be a mapping of keys to values")
    for override in overrides:
        _apply_override(values, override)
    data = values.get("data")
    if isinstance(data, dict) and data.get("root") is None:
        data["root"] = os.environ.get(DATA_VARIABLE) or str(path.resolve().parent)
    return config_from_dict(values)


def config_from_dict(values: dict) -> TrainingConfig:
    """Configuration from nested plain values (the content of a YAML file or of a checkpoint).

    The key ``model`` decides which family's configuration it is, see :func:`families.family_of`.
    """
    if not isinstance(values, dict) or "model" not in values:
        raise ValueError("training config: the key 'model' is missing")
    return _build(family_of(values["model"]).training.Training, values, "")


def config_to_dict(config: TrainingConfig) -> dict:
    """Nested plain values; inverse of ``config_from_dict``."""

    def plain(value):
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items()}
        return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value

    values = plain(dataclasses.asdict(config))
    return {**values, "model": {"family": family_of(config.model).name, **values["model"]}}


def _apply_override(values: dict, override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ValueError(f"override {override!r} is not of the form key=value")
    *parents, last = key.strip().split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise ValueError(f"override {override!r}: {parent} is not a mapping")
    try:
        values[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"override {override!r}: the value is not valid YAML") from error


def _build(cls, values, where: str):
    """Instance of dataclass ``cls`` from a mapping, with types checked and unknown or missing keys named."""
    if hasattr(cls, "named"):  # the configuration of a network, which checks itself
        return config_from_values(values if isinstance(values, str) else _mapping(values, where))
    values = _mapping(values, where)
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for key in values:
        if key not in fields:
            known = ", ".join(fields)
            raise ValueError(f"training config: unknown key {_join(where, key)!r}, known here: {known}")
    for name, f in fields.items():
        required = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise ValueError(f"training config: the key {_join(where, name)!r} is missing")
    return cls(**{key: _convert(value, hints[key], _join(where, key)) for key, value in values.items()})


def _convert(value, hint, where: str):
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return None if value is None else _convert(value, next(a for a in arguments if a is not type(None)), where)
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, where)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"training config: {where} must be a list, got {value!r}")
        if arguments[-1] is not Ellipsis and len(value) != len(arguments):
            raise ValueError(f"training config: {where} must have {len(arguments)} entries, got {len(value)}")
        return tuple(_convert(v, arguments[0], f"{where}[{i}]") for i, v in enumerate(value))
    if hint is float and isinstance(value, str):
        # YAML reads 1e-3 (no point) as text.
        try:
            return float(value)
        except ValueError:
            raise ValueError(f"training config: {where} must be a number, got {value!r}") from None
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ValueError(f"training config: {where} must be of type {hint.__name__}, got {value!r}")
    return value


def _mapping(values, where: str) -> dict:
    if not isinstance(values, dict):
        raise ValueError(f"training config: {where or 'the file'} must be a mapping of keys to values, got {values!r}")
    return values


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else str(key)
