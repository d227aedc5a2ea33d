"""Radial descriptors: how the radial weights a_ij and g_ij of SO(3) attention are given.

What is known about them decides the cost of the operator, so each descriptor is its own *form* of it. Shapes use these
symbols: T tokens, P ordered pairs (see :mod:`ditkernels.layout`), C = H * D channels, A irreps of queries and keys, J
filter degrees 0 ... J - 1 (at most 3), K radial functions, S table rows. In a padded batch every (P, ...) tensor is (B,
N, N, ...) and every (T, ...) tensor is (B, N, ...).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ditkernels.attention import fields
from ditkernels.attention.fields import Field


@dataclass(frozen=True)
class DenseRadial:
    """a and g are rows of tensors.

    a: (P, A, C), dtype of the tokens, contiguous; one weight per irrep of the queries and keys
    g: (P, J, C); one weight per filter degree
    """

    form: ClassVar[str] = "dense"
    kind: ClassVar[str] = ""
    cutoff: ClassVar[float | None] = None
    a: Tensor
    g: Tensor


@dataclass(frozen=True)
class RadialBasis:
    """a and g are projections of K radial functions of the distance, made inside the kernel:

        rho_ij,J,k = phi_k(r_ij) * scaling[index_ij, J, k]
        a_ij,x     = sum_k rho_ij,0,k weight_a[k, x]          (x: an irrep of the queries and keys)
        g_ij,J     = sum_k rho_ij,J,k weight_g[k, J]

    (arXiv 2506.15378, eqs. 13 and 19; the released model scales radial coefficients by the hop count.)

    kind: "bernstein", "gaussian" or "bessel", see :func:`ditkernels.so3.radial_basis`
    weight_a: (K, A, C), dtype of the tokens
    weight_g: (K, J, C)
    cutoff: reach of a "gaussian" or "bessel" basis in the unit of the positions; None for "bernstein"
    index: (P,) integers and scaling: (S, J, K), both or neither
    """

    form: ClassVar[str] = "basis"
    kind: str
    weight_a: Tensor
    weight_g: Tensor
    cutoff: float | None = None
    index: Tensor | None = None
    scaling: Tensor | None = None


RadialDescriptor = DenseRadial | RadialBasis

# What every form has beside query, key and value. W counts the paths.
COMMON = (
    Field("positions", ("T", 3), kind="geometry"),
    Field("path_weight", ("W", "C")),
)

# The one table of forms: tensors in the order of the operators' arguments. Checks, schemas, gradients and autocast
# are generated from it.
FORMS: dict[str, tuple[Field, ...]] = {
    "dense": (
        *COMMON,
        Field("a", ("P", "A", "C")),
        Field("g", ("P", "J", "C")),
    ),
    "basis": (
        *COMMON,
        Field("weight_a", ("K", "A", "C")),
        Field("weight_g", ("K", "J", "C")),
        Field("index", ("P",), kind="index", optional=True),
        Field("scaling", ("S", "J", "K"), optional=True),
    ),
}
FILTER = 3  # place of g or weight_g, whose second axis counts the filter degrees


def tensors(radial: RadialDescriptor) -> tuple[Tensor | None, ...]:
    """The tensors of a descriptor in the order of :data:`FORMS`, without those that every form has."""
    return fields.tensors(radial, FORMS[radial.form][len(COMMON) :])
