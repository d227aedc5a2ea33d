"""Size and options of a DiTMC network, by name or from a file."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from ditkernels.models.configuration import Configuration

ATOM_FEATURES = {"qm9": 64, "drugs": 94}
"""Width of the atom attribute vector for each featurization layout."""

EQUIVARIANT_ONLY = ("degree", "basis_size", "equivariant_norm", "parity_broadcast")
"""Keys that mean something for embedding pe3 alone."""


@dataclass(frozen=True)
class DiTMCConfig(Configuration):
    """Everything that decides the shapes and the meaning of a network's weights.

    Attributes:
        embedding: how positions enter, ``"ape"`` (absolute, added once to the atom state, eq. 14) or ``"rpe"``
            (displacements in the pair modulation, eqs. 12, 15, 16), both with scalar features, or ``"pe3"`` (features
            that rotate with the molecule, and attention filtered by the direction of a pair, eqs. 13, 18, 19).
        conditioning: what the pair modulation knows of the molecular graph, ``"all-pair"`` (a token of the hop count of
            every pair, eq. 10) or ``"bond-pair"`` (tokens of the bonds and one for all other pairs, eq. 9).
        width: features per atom; a multiple of ``heads`` and of 4.
        heads: attention heads.
        blocks: number of DiT blocks.
        conditioner_layers: message-passing layers over the bond graph.
        layout: atom attributes, ``"qm9"`` (64 columns) or ``"drugs"`` (94 columns).
        self_conditioning: feed the previous estimate of the clean positions back as an input; not with ``"pe3"``, as
            positions that enter as scalars would break its equivariance.
        index_encoding: add a sinusoidal code of the atom's index; breaks permutation equivariance.
        target: ``"x1"`` regresses clean positions, ``"velocity"`` the velocity of the interpolant (eq. 4).
        sigma: standard deviation in Å of the noise around the interpolant.
        prior: ``"harmonic"`` or ``"gaussian"``; the distribution at t = 0 that the network was trained from.
        guidance_dropout: probability that a training step drops the graph condition, for classifier-free guidance.
        degree: ``"pe3"`` only, as are the following; largest degree of features and filters, 1 or 2.
        basis_size: number of radial functions.
        equivariant_norm: layer norm of vectors and tensors by ``"rms"`` or, as in the released model, ``"variance"``;
            see :class:`ditkernels.nn.EquivariantLayerNorm`.
        parity_broadcast: the released model's first block, which fills slots of both parities with the same vectors;
            such a network is equivariant under rotations, but not under reflections.

    Raises:
        ValueError: a value that no network can have; the sentence names it.
    """

    embedding: str = "ape"
    conditioning: str = "all-pair"
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
    degree: int = 1
    basis_size: int = 64
    equivariant_norm: str = "rms"
    parity_broadcast: bool = False

    def __post_init__(self) -> None:
        choices = {
            "embedding": ("ape", "rpe", "pe3"),
            "conditioning": ("all-pair", "bond-pair"),
            "layout": tuple(ATOM_FEATURES),
            "target": ("x1", "velocity"),
            "prior": ("harmonic", "gaussian"),
            "degree": (1, 2),
            "equivariant_norm": ("rms", "variance"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"model config: {name} must be one of {', '.join(map(str, allowed))}, got {getattr(self, name)!r}"
                )
        for name in ("width", "heads", "blocks", "basis_size"):
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
        if self.equivariant and self.self_conditioning:
            raise ValueError(
                "model config: self_conditioning must be false for embedding pe3, because fed-back positions would "
                "enter as scalars and break its equivariance"
            )
        if not self.equivariant:
            for field in dataclasses.fields(self):
                if field.name in EQUIVARIANT_ONLY and getattr(self, field.name) != field.default:
                    raise ValueError(
                        f"model config: {field.name} is for embedding pe3 only, got {getattr(self, field.name)!r} for "
                        f"embedding {self.embedding}"
                    )

    @property
    def equivariant(self) -> bool:
        """Whether the features rotate with the molecule."""
        return self.embedding == "pe3"

    @property
    def atom_features(self) -> int:
        """Width D of the atom attribute vector."""
        return ATOM_FEATURES[self.layout]


def _sizes(embedding: str) -> dict[str, DiTMCConfig]:
    return {
        # Ours: small enough to train and to sample on a CPU.
        f"{embedding}-s": DiTMCConfig(embedding=embedding, width=128, heads=8, blocks=6, conditioner_layers=2),
        # The size of the released checkpoints: 9.56 M parameters with 94 atom attributes.
        f"{embedding}-b": DiTMCConfig(embedding=embedding, width=256, heads=8, blocks=6, conditioner_layers=2),
        # The only natural size that gives the published 28.2 M parameters.
        f"{embedding}-l": DiTMCConfig(embedding=embedding, width=384, heads=12, blocks=8, conditioner_layers=3),
    }


def _equivariant_sizes() -> dict[str, DiTMCConfig]:
    small, released = (DiTMCConfig(embedding="pe3", width=width, heads=8, blocks=6) for width in (128, 256))
    return {
        # Width and depth of the scalar networks of the same letter; -b has those of the released PE(3) checkpoints.
        "pe3-s": small,
        "pe3-b": released,
        "pe3-s-l2": dataclasses.replace(small, degree=2),
        "pe3-b-l2": dataclasses.replace(released, degree=2),
    }


NAMED: dict[str, DiTMCConfig] = {**_sizes("ape"), **_sizes("rpe"), **_equivariant_sizes()}
"""Named configurations: ``{ape,rpe}-{s,b,l}`` and ``pe3-{s,b}``, the latter also with degree 2 as ``pe3-{s,b}-l2``."""
DiTMCConfig.NAMED = NAMED
