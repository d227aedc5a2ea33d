"""Checkpoints: one folder per saved step, written completely or not at all.

    step_00001000/
        model.safetensors      weights
        ema.safetensors        their moving average (the weights to sample with)
        optimizer.safetensors  AdamW moments, keys "<parameter>.exp_avg", "<parameter>.exp_avg_sq", "<parameter>.step"
        config.json            configuration of the network
        state.json             step, place in the data, training configuration, versions, SHA-256 of the files above

A checkpoint is written into a hidden folder, flushed to disk and renamed, so a folder called step_* is complete
unless the disk damaged it later, which the checksums show. All random numbers of training are functions of
(seed, epoch, position), so the place in the data is the whole state of the random number generators.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import nn

from ditkernels.models.weights import config_json

FORMAT = 1
_NAME = re.compile(r"step_(\d{8,})")
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be written or read; the message is one sentence for the user."""


def list_checkpoints(folder: Path) -> list[Path]:
    """Checkpoints in ``folder``, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(
        (p for p in folder.iterdir() if _NAME.fullmatch(p.name)), key=lambda p: int(_NAME.fullmatch(p.name)[1])
    )


def save_checkpoint(
    folder: Path,
    step: int,
    network: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: dict,
    keep: int,
) -> Path:
    """Write ``folder/step_XXXXXXXX`` and delete all but the newest ``keep``.

    Raises CheckpointError if it cannot be written; what was there before stays.
    """
    target = folder / f"step_{step:08d}"
    temporary = folder / f".{target.name}.{os.getpid()}"
    files = {
        "model.safetensors": save_safetensors(_tensors(network)),
        "ema.safetensors": save_safetensors(_tensors(average)),
        "optimizer.safetensors": save_safetensors(optimizer_tensors(optimizer, network)),
        "config.json": config_json(network).encode(),
    }
    state = {"format": FORMAT, "step": step, **state}
    state["sha256"] = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    files["state.json"] = (json.dumps(state, indent=1) + "\n").encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        for name, content in files.items():
            _write(temporary / name, content)
        _sync_folder(temporary)
        if target.exists():
            shutil.rmtree(target)
        os.replace(temporary, target)
        _sync_folder(folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        previous = list_checkpoints(folder)
        kept = f"the last one is {previous[-1]}" if previous else "there is no earlier one"
        reason = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else str(error)
        raise CheckpointError(f"checkpoint {target} could not be written ({reason}); {kept}") from error
    for old in list_checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return target


def load_checkpoint(
    folder: Path, network: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer | None = None
) -> dict:
    """Fill network, average and optimizer from a checkpoint folder; returns the content of state.json.

    Raises CheckpointError if a file is missing, damaged or belongs to another network.
    """
    try:
        state = json.loads((folder / "state.json").read_text())
        contents = {name: (folder / name).read_bytes() for name in state["sha256"]}
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"checkpoint {folder} is incomplete or damaged ({error}); delete it to use an earlier one"
        ) from error
    if state.get("format") != FORMAT:
        raise CheckpointError(f"checkpoint {folder} has format {state.get('format')}, this version reads {FORMAT}")
    for name, content in contents.items():
        if hashlib.sha256(content).hexdigest() != state["sha256"][name]:
            raise CheckpointError(
                f"checkpoint {folder} is damaged ({name} does not match its checksum); delete it to use an earlier one"
            )
    try:
        network.load_state_dict(load_safetensors(contents["model.safetensors"]))
        average.load_state_dict(load_safetensors(contents["ema.safetensors"]))
        if optimizer is not None:
            _load_optimizer(optimizer, network, load_safetensors(contents["optimizer.safetensors"]))
    except (RuntimeError, SafetensorError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"checkpoint {folder} does not fit the configured network ({reason})") from error
    return state


def _tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}


def optimizer_tensors(optimizer: torch.optim.Optimizer, network: nn.Module) -> dict[str, torch.Tensor]:
    """The optimizer's state as one flat dictionary, named after the parameters."""
    flat = {}
    for name, parameter in network.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            flat[f"{name}.{key}"] = value.detach().cpu().contiguous()
    return flat


def _load_optimizer(optimizer: torch.optim.Optimizer, network: nn.Module, flat: dict[str, torch.Tensor]) -> None:
    if not flat:  # saved before the first step
        return
    numbers = {parameter: n for n, parameter in enumerate(p for g in optimizer.param_groups for p in g["params"])}
    state = {
        numbers[parameter]: {key: flat[f"{name}.{key}"] for key in _MOMENTS}
        for name, parameter in network.named_parameters()
        if f"{name}.step" in flat  # a parameter that never had a gradient has no moments
    }
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
