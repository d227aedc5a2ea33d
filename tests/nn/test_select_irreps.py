"""Irreps chosen from a feature tensor, and 0 where it has none."""

from __future__ import annotations

import torch

from ditkernels.nn import select_irreps
from ditkernels.so3 import Irreps


def test_missing_irreps_are_zero_and_others_keep_their_values():
    x = torch.arange(1.0, 5).view(1, 4, 1).expand(2, 4, 3)
    out = select_irreps(x, Irreps("0+ 1-"), Irreps("0+ 1+ 0- 1-"))
    assert out[1, :, 2].tolist() == [1, 0, 0, 0, 0, 2, 3, 4]


def test_irreps_that_are_not_asked_for_are_left_out():
    x = torch.arange(1.0, 9).view(1, 8, 1)
    assert select_irreps(x, Irreps("0+ 1+ 0- 1-"), Irreps("0+ 1-")).flatten().tolist() == [1, 6, 7, 8]


def test_the_same_list_is_no_copy():
    x = torch.randn(2, 4, 3)
    assert select_irreps(x, Irreps("0+ 1-"), Irreps("0+ 1-")) is x
