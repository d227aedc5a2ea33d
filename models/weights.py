"""Networks on disk: a folder with ``model.safetensors`` and ``config.json``, or the name of one that ships with us."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ditkernels.models.families import FAMILIES, config_from_values, family_of

_HERE = Path(__file__).parent


def pretrained_models(family: str | None = None) -> list[str]:
    """Names of the networks that ship with the package, of one family or of all."""
    return sorted(path.name for path in _shipped(family))


def load_model(name_or_path: str | Path, device: str | torch.device = "cpu", family: str | None = "ditmc") -> nn.Module:
    """A network ready for sampling.

    Args:
        name_or_path: the name of a shipped network, a folder with ``model.safetensors`` and ``config.json``, or a
            training checkpoint, of which the averaged weights (``ema.safetensors``) are taken.
        device: where to put it.
        family: ``"ditmc"`` (conformers of a molecule) or ``"d3mes"`` (new molecules); None takes either.

    Raises:
        FileNotFoundError: neither a shipped name nor such a folder.
        ValueError: the files are broken, do not fit each other, or hold a network of another family.
    """
    shipped = {path.name: path for path in _shipped(None)}
    folder = shipped.get(str(name_or_path), Path(name_or_path))
    weights = next((folder / n for n in ("ema.safetensors", "model.safetensors") if (folder / n).is_file()), None)
    if weights is None or not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"model {str(name_or_path)!r}: neither a shipped model ({', '.join(pretrained_models(family)) or 'none'}) "
            "nor a folder with model.safetensors and config.json"
        )
    try:
        config = config_from_values(json.loads((folder / "config.json").read_text()))
        state = load_file(weights)
    except (json.JSONDecodeError, SafetensorError) as error:
        raise ValueError(f"model {folder}: broken file ({error})") from error
    found = family_of(config)
    if family not in (None, found.name):
        raise ValueError(f"model {str(name_or_path)!r} is of the family {found.name}, expected {family}")
    model = found.network(config)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(
            f"model {folder}: {weights.name} does not fit config.json ({str(error).splitlines()[1].strip()})"
        ) from error
    return model.to(device).eval()


def save_model(model: nn.Module, folder: str | Path) -> None:
    """Write ``model.safetensors`` and ``config.json``; each file appears whole or not at all."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    partial = folder / ".model.safetensors.partial"
    save_file(state, partial)
    os.replace(partial, folder / "model.safetensors")
    partial = folder / ".config.json.partial"
    partial.write_text(config_json(model))
    os.replace(partial, folder / "config.json")


def config_json(model: nn.Module) -> str:
    """Content of config.json: the family, then the configuration."""
    values = {"family": family_of(model.config).name, **json.loads(model.config.to_json())}
    return json.dumps(values, indent=2) + "\n"


def _shipped(family: str | None) -> list[Path]:
    families = FAMILIES if family is None else [family]
    return [path.parent for name in families for path in (_HERE / name).glob("pretrained/*/model.safetensors")]
