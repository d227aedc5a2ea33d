"""Real Clebsch-Gordan coefficients."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from ditkernels.so3.tables import CLEBSCH_GORDAN


def clebsch_gordan(
    filter_degree: int,
    value_degree: int,
    output_degree: int,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
) -> Tensor:
    """The coefficients (2J+1, 2l1+1, 2lo+1) of filter degree J, value degree l1 and output degree lo.

        out_m = sum_{M,n} CG[M, n, m] Y_JM v_n

    transforms as degree lo if v transforms as degree l1. Normalization sum_{M,n} CG_Mnm CG_Mnm' = delta_mm'; signs:
    0 x l -> l and J x 0 -> J are the identity, 1 x 1 -> 0 is the dot product / sqrt(3), 1 x 1 -> 1 is
    (filter x value) / sqrt(2), the others as in e3x 1.0.2 (the product of two harmonics of one vector is a positive
    multiple of the third).

    Raises ValueError for degrees that are not in the table or violate |J - l1| <= lo <= J + l1.
    """
    path = (filter_degree, value_degree, output_degree)
    if path not in CLEBSCH_GORDAN:
        raise ValueError(
            f"there is no path {filter_degree} x {value_degree} -> {output_degree}: "
            "degrees are 0, 1 or 2 and satisfy |J - l1| <= lo <= J + l1"
        )
    shape = [2 * degree + 1 for degree in path]
    entries = {(M, n, m): coefficient for M, n, m, coefficient in CLEBSCH_GORDAN[path]}
    dense = [entries.get(at, 0.0) for at in itertools.product(*map(range, shape))]
    return torch.tensor(dense, dtype=dtype, device=device).reshape(shape)
