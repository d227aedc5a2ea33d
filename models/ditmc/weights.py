"""Networks on disk: a folder with ``model.safetensors`` and ``config.json``, or the name of one that ships with us."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ditkernels.models.ditmc.config import DiTMCConfig
from ditkernels.models.ditmc.model import DiTMC

PRETRAINED = Path(__file__).parent / "pretrained"
"""Folder of the networks that ship with the package, one folder each."""


def pretrained_models() -> list[str]:
    """Names of the networks that ship with the package."""
    return sorted(path.parent.name for path in PRETRAINED.glob("*/model.safetensors"))


def load_model(name_or_path: str | Path, device: str | torch.device = "cpu") -> DiTMC:
    """A network ready for sampling.

    Args:
        name_or_path: the name of a shipped network, a folder with ``model.safetensors`` and ``config.json``, or a
            training checkpoint, of which the averaged weights (``ema.safetensors``) are taken.
        device: where to put it.

    Raises:
        FileNotFoundError: neither a shipped name nor such a folder.
        ValueError: the files are broken, or do not fit each other.
    """
    folder = PRETRAINED / str(name_or_path)
    if not folder.is_dir():
        folder = Path(name_or_path)
    weights = next((folder / n for n in ("ema.safetensors", "model.safetensors") if (folder / n).is_file()), None)
    if weights is None or not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"model {str(name_or_path)!r}: neither a shipped model ({', '.join(pretrained_models()) or 'none'}) "
            "nor a folder with model.safetensors and config.json"
        )
    try:
        config = DiTMCConfig.from_dict(json.loads((folder / "config.json").read_text()))
        state = load_file(weights)
    except (json.JSONDecodeError, SafetensorError) as error:
        raise ValueError(f"model {folder}: broken file ({error})") from error
    model = DiTMC(config)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(
            f"model {folder}: {weights.name} does not fit config.json ({str(error).splitlines()[1].strip()})"
        ) from error
    return model.to(device).eval()


def save_model(model: DiTMC, folder: str | Path) -> None:
    """Write ``model.safetensors`` and ``config.json``; each file appears whole or not at all."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    partial = folder / ".model.safetensors.partial"
    save_file(state, partial)
    os.replace(partial, folder / "model.safetensors")
    partial = folder / ".config.json.partial"
    partial.write_text(model.config.to_json())
    os.replace(partial, folder / "config.json")
