"""Size and options of a D3MES network, by name or from a file."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from ditkernels.models.configuration import Configuration
from ditkernels.models.d3mes.codes import ATOMIC_NUMBERS, released_codes

CHOICES = {
    "attention": ("none", "code", "so3-front", "so3-end"),
    "layout": ("code", "v2"),
    "prediction": ("noise", "correction"),
    "t0_term": ("gaussian", "pixel"),
    "patch_rows": (1, 2, 3, 4, 9),
}

SO3_ONLY = ("so3_layers", "so3_heads", "so3_channels", "basis_size", "cutoff")
"""Keys that mean something for the attentions so3-front and so3-end alone."""

V2_ONLY = ("position_scale", "element_scale", "bond_scale")
"""Keys that mean something for layout v2 alone."""


@dataclass(frozen=True)
class D3MESConfig(Configuration):
    """Everything that decides the shapes and the meaning of a network's weights (D3MES, arXiv 2501.07077).

    Attributes:
        attention: what stands before the diffusion transformer: ``"none"`` (nothing: the paper's ablation), ``"code"``
            (the ring of the released code, whose attention weights are all 1), ``"so3-front"`` (SO(3)-equivariant
            attention that updates positions and elements) or ``"so3-end"`` (the same attention, and a transformer that
            sees its invariants alone: the noise of the positions is equivariant).
        layout: of the image, ``"code"`` (as released) or ``"v2"``; see :mod:`ditkernels.models.d3mes.image`.
        prediction: what the network makes, ``"noise"``, or the ``"correction"`` of a first guess of the noise (layout
            ``"v2"`` only); see :mod:`ditkernels.models.d3mes.guess`.
        elements: symbols of the heavy elements that exist.
        rows: of the image; a multiple of ``patch_rows``. In layout ``"code"`` the number of tokens must be a square.
        max_atoms: largest number of heavy atoms; at most ``rows``.
        patch_rows: rows of the image in a token.
        classes: K labels, for example 0 = acyclic, 1 = cyclic; label K stands for no label.
        label_dropout: probability that a training example loses its label, for classifier-free guidance.
        width, blocks, heads: of the transformer; width is a multiple of heads and of 4.
        position_scale: layout ``"v2"`` only, as the next two: length in Å that is 1 in the image.
        element_scale: what a one-hot code of an element is multiplied by.
        bond_scale: what the codes of bonds are multiplied by. Codes of atoms are 1/4 of it apart, and are made out only
            where the noise is well below that: the larger, the earlier.
        so3_layers, so3_heads, so3_channels: of the SO(3) attention; ``"so3-end"`` has as many layers behind the
            transformer. The next two are of its radial functions.
        basis_size, cutoff: number of Gaussians, and the centre of the last in Å.
        t0_term: likelihood of the last step, ``"gaussian"`` or ``"pixel"`` (of 8-bit images, as released).

    Raises:
        ValueError: a value that no network can have; the sentence names it.
    """

    attention: str = "so3-end"
    layout: str = "v2"
    prediction: str = "correction"
    elements: tuple[str, ...] = ("C", "N", "O", "F")
    rows: int = 15
    max_atoms: int = 9
    patch_rows: int = 3
    classes: int = 1
    label_dropout: float = 0.1
    width: int = 96
    blocks: int = 12
    heads: int = 6
    position_scale: float = 1.0
    element_scale: float = 0.25
    bond_scale: float = 3.0
    so3_layers: int = 2
    so3_heads: int = 4
    so3_channels: int = 64
    basis_size: int = 32
    cutoff: float = 6.0
    t0_term: str = "gaussian"

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                expected = ", ".join(map(str, allowed))
                raise ValueError(f"model config: {name} must be one of {expected}, got {getattr(self, name)!r}")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(field.default, int | float) and field.name != "label_dropout" and not 0 < value < math.inf:
                raise ValueError(f"model config: {field.name} must be positive, got {value}")
        if not 0 <= self.label_dropout < 1:
            raise ValueError(f"model config: label_dropout must lie in [0, 1), got {self.label_dropout}")
        self._check_elements()
        self._check_sizes()
        self._check_unused()

    def _check_elements(self) -> None:
        symbols = [symbol for symbol in self.elements if isinstance(symbol, str)]
        if not symbols or len(set(symbols)) < len(self.elements) or not set(symbols) <= set(ATOMIC_NUMBERS):
            raise ValueError(
                f"model config: elements must be different symbols out of {', '.join(ATOMIC_NUMBERS)}, "
                f"got {list(self.elements)}"
            )
        if self.layout == "code":
            released_codes(self.elements)

    def _check_sizes(self) -> None:
        if self.rows % self.patch_rows:
            raise ValueError(
                f"model config: rows must be a multiple of patch_rows ({self.patch_rows}), got {self.rows}"
            )
        if self.max_atoms > self.rows:
            raise ValueError(f"model config: max_atoms must be at most rows ({self.rows}), got {self.max_atoms}")
        if self.width % self.heads or self.width % 4:
            raise ValueError(
                f"model config: width must be a multiple of 4 and of heads ({self.heads}), got {self.width}"
            )
        if self.so3_channels % self.so3_heads:
            raise ValueError(
                f"model config: so3_channels must be a multiple of so3_heads ({self.so3_heads}), "
                f"got {self.so3_channels}"
            )
        if self.layout == "code" and math.isqrt(self.tokens) ** 2 != self.tokens:
            raise ValueError(
                f"model config: rows / patch_rows must be a square for layout code, whose position table is one of a "
                f"square, got {self.tokens}"
            )

    def _check_unused(self) -> None:
        if self.so3 and self.layout != "v2":
            raise ValueError(f"model config: attention {self.attention} needs layout v2, got {self.layout!r}")
        if self.prediction == "correction" and self.layout != "v2":
            raise ValueError(f"model config: prediction correction needs layout v2, got {self.layout!r}")
        if self.attention == "code" and self.layout != "code":
            raise ValueError(f"model config: attention code needs layout code, got {self.layout!r}")
        cases = ((SO3_ONLY, self.so3, "attention so3-front and so3-end"), (V2_ONLY, self.layout == "v2", "layout v2"))
        for names, used, where in cases:
            for field in dataclasses.fields(self):
                if field.name in names and not used and getattr(self, field.name) != field.default:
                    raise ValueError(
                        f"model config: {field.name} is for {where} only, got {getattr(self, field.name)!r} for "
                        f"attention {self.attention} and layout {self.layout}"
                    )

    @property
    def so3(self) -> bool:
        """Whether the network has SO(3) attention."""
        return self.attention in ("so3-front", "so3-end")

    @property
    def masked(self) -> bool:
        """Whether the number of atoms is given before a sample is made; see :mod:`ditkernels.models.d3mes.image`."""
        return self.layout == "v2"

    @property
    def null_label(self) -> int:
        """The label that says nothing of the class."""
        return self.classes

    @property
    def tokens(self) -> int:
        """Number T of tokens of the transformer."""
        return self.rows // self.patch_rows

    @property
    def atomic_numbers(self) -> tuple[int, ...]:
        """Of ``elements``, in their order."""
        return tuple(ATOMIC_NUMBERS[symbol] for symbol in self.elements)

    @property
    def element_channels(self) -> int:
        """Channels of the image that hold elements: in layout v2 one column for each, and one for padding."""
        return 1 if self.layout == "code" else -(-(len(self.elements) + 1) // 3)

    @property
    def channels(self) -> int:
        """Channels C of the image: positions, elements, bonds."""
        return self.element_channels + 2


_RELEASED = D3MESConfig(attention="code", layout="code", prediction="noise", rows=27, t0_term="pixel")

NAMED: dict[str, D3MESConfig] = {
    # The released network and, without its ring, the paper's ablation: the same image, loss and transformer.
    "d3mes-code": _RELEASED,
    "d3mes-dtm-code": dataclasses.replace(_RELEASED, attention="none"),
    # The same transformer on images of layout v2; 15 rows hold every bond list of QM9 (13 at most).
    "d3mes-dtm": D3MESConfig(attention="none"),
    "d3mes-so3-p": D3MESConfig(attention="so3-front"),
    "d3mes-so3-e": D3MESConfig(attention="so3-end"),
}
"""Named configurations for QM9 without labels; ``dataclasses.replace(config, classes=2)`` tells cyclic from acyclic."""
D3MESConfig.NAMED = NAMED
