"""Fields: how an operator describes the tensors of its descriptors. Checks, schemas, gradients and autocast are
generated from these descriptions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Field:
    """One tensor argument of an operator.

    shape: symbols or numbers; a symbol has one value per call. T: tokens, P: ordered pairs, H: heads, C: channels; in a
        padded batch (T, ...) is (B, N, ...) and (P, ...) is (B, N, N, ...)
    kind: "feature" (dtype of the tokens, autocast), "geometry" (float32 or float64, never autocast) or "index"
        (integers, no gradient)
    """

    name: str
    shape: tuple[str | int, ...]
    kind: str = "feature"
    optional: bool = False

    @property
    def differentiable(self) -> bool:
        return self.kind != "index"

    @property
    def per_pair(self) -> bool:
        return self.shape[0] == "P"

    @property
    def rows(self) -> str:
        """What the first axis counts: "T", "P", or "shared" (tables and weights, which belong to no molecule)."""
        return self.shape[0] if self.shape[0] in ("T", "P") else "shared"


Forms = Mapping[str, tuple[Field, ...]]


def tensors(holder: object, fields: tuple[Field, ...]) -> tuple[Tensor | None, ...]:
    """The attributes of a descriptor that the fields name, in their order."""
    return tuple(getattr(holder, field.name) for field in fields)
