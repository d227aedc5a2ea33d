"""Size and options of a DiTMC network, by name or from a file."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import yaml

ATOM_FEATURES = {"qm9": 64, "drugs": 94}
"""Width of the atom attribute vector for each featurization layout."""


@dataclass(frozen=True)
class DiTMCConfig:
    """Everything that decides the shapes and the meaning of a network's weights.

    Attributes:
        embedding: how positions enter, ``"ape"`` (absolute, added once to the atom state, eq. 14) or ``"rpe"``
            (displacements in the pair modulation, eqs. 12, 15, 16).
        width: features per atom; a multiple of ``heads`` and of 4.
        heads: attention heads.
        blocks: number of DiT blocks.
        conditioner_layers: message-passing layers over the bond graph.
        layout: atom attributes, ``"qm9"`` (64 columns) or ``"drugs"`` (94 columns).
        self_conditioning: feed the previous estimate of the clean positions back as an input.
        index_encoding: add a sinusoidal code of the atom's index; breaks permutation equivariance.
        target: ``"x1"`` regresses clean positions, ``"velocity"`` the velocity of the interpolant (eq. 4).
        sigma: standard deviation in Å of the noise around the interpolant.
        prior: ``"harmonic"`` or ``"gaussian"``; the distribution at t = 0 that the network was trained from.
        guidance_dropout: probability that a training step drops the graph condition, for classifier-free guidance.

    Raises:
        ValueError: a value that no network can have; the sentence names it.
    """

    embedding: str = "ape"
    width: int = 256
    heads: int = 8
    blocks: int = 6
    conditioner_layers: int = 2
    layout: str = "drugs"
    self_conditioning: bool = False
    index_encoding: bool = False
    target: str = "x1"
    sigma: float = 0.5
    prior: str = "harmonic"
    guidance_dropout: float = 0.0

    def __post_init__(self) -> None:
        choices = {
            "embedding": ("ape", "rpe"),
            "layout": tuple(ATOM_FEATURES),
            "target": ("x1", "velocity"),
            "prior": ("harmonic", "gaussian"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"model config: {name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}"
                )
        for name in ("width", "heads", "blocks"):
            if getattr(self, name) < 1:
                raise ValueError(f"model config: {name} must be at least 1, got {getattr(self, name)}")
        if self.conditioner_layers < 0:
            raise ValueError(f"model config: conditioner_layers must not be negative, got {self.conditioner_layers}")
        if self.width % self.heads or self.width % 4:
            raise ValueError(
                f"model config: width must be a multiple of 4 and of heads ({self.heads}), got {self.width}"
            )
        if self.sigma < 0:
            raise ValueError(f"model config: sigma must not be negative, got {self.sigma}")
        if not 0 <= self.guidance_dropout < 1:
            raise ValueError(f"model config: guidance_dropout must lie in [0, 1), got {self.guidance_dropout}")

    @property
    def atom_features(self) -> int:
        """Width D of the atom attribute vector."""
        return ATOM_FEATURES[self.layout]

    @classmethod
    def named(cls, name: str) -> DiTMCConfig:
        """The configuration called ``name``; see :data:`NAMED`."""
        if name not in NAMED:
            raise ValueError(f"unknown model configuration {name!r}; known are {', '.join(sorted(NAMED))}")
        return NAMED[name]

    @classmethod
    def from_dict(cls, values: dict) -> DiTMCConfig:
        """A configuration from a mapping; unknown keys and values of the wrong type are refused by name."""
        types = {f.name: type(f.default) for f in dataclasses.fields(cls)}
        for key, value in values.items():
            if key not in types:
                raise ValueError(f"model config: unknown key {key!r}; known are {', '.join(types)}")
            if types[key] is float and type(value) is int:
                continue
            if type(value) is not types[key]:
                raise ValueError(f"model config: {key} must be of type {types[key].__name__}, got {value!r}")
        return cls(**values)

    @classmethod
    def from_file(cls, path: str | Path) -> DiTMCConfig:
        """A configuration from a YAML or JSON file."""
        try:
            values = yaml.safe_load(Path(path).read_text())
        except yaml.YAMLError as error:
            raise ValueError(f"model config {path}: not a YAML file: {str(error).splitlines()[0]}") from error
        if not isinstance(values, dict):
            raise ValueError(f"model config {path}: expected a mapping of keys to values")
        return cls.from_dict(values)

    def to_json(self) -> str:
        """The configuration as a JSON object, one key per line."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"


def _sizes(embedding: str) -> dict[str, DiTMCConfig]:
    return {
        # Ours: small enough to train and to sample on a CPU.
        f"{embedding}-s": DiTMCConfig(embedding=embedding, width=128, heads=8, blocks=6, conditioner_layers=2),
        # The size of the released checkpoints: 9.56 M parameters with 94 atom attributes.
        f"{embedding}-b": DiTMCConfig(embedding=embedding, width=256, heads=8, blocks=6, conditioner_layers=2),
        # The only natural size that gives the published 28.2 M parameters.
        f"{embedding}-l": DiTMCConfig(embedding=embedding, width=384, heads=12, blocks=8, conditioner_layers=3),
    }


NAMED: dict[str, DiTMCConfig] = {**_sizes("ape"), **_sizes("rpe")}
"""Named configurations: ``{ape,rpe}-{s,b,l}``."""
