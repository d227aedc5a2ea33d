"""Our convention is that of e3x in its Cartesian order, with Racah's normalization.

e3x_1_0_2.npz was recorded with e3x 1.0.2 and jax 0.10.2 in float64, for l <= 2 and both orders of the components:
spherical_harmonics(vectors, 2, r_is_normalized=False, cartesian_order=..., normalization="racah"), (6, 9), and
clebsch_gordan(2, 2, 2, cartesian_order=...), (9, 9, 9), whose axes are filter, value, output.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ditkernels.so3 import Irreps, clebsch_gordan, spherical_harmonics
from ditkernels.so3.conventions import change_of_basis, from_convention, to_convention
from ditkernels.so3.tables import CLEBSCH_GORDAN

RECORDED = {name: torch.from_numpy(array) for name, array in np.load(Path(__file__).with_name("e3x_1_0_2.npz")).items()}
ALL_DEGREES = Irreps.natural(2)


def components(degree):
    return slice(degree**2, (degree + 1) ** 2)


def test_harmonics_equal():
    found = spherical_harmonics(RECORDED["vectors"], 3)
    torch.testing.assert_close(found, RECORDED["harmonics_cartesian"], rtol=0, atol=1e-15)


@pytest.mark.parametrize("path", sorted(CLEBSCH_GORDAN))
def test_clebsch_gordan_coefficients_equal(path):
    expected = RECORDED["clebsch_gordan_cartesian"][tuple(components(degree) for degree in path)]
    torch.testing.assert_close(clebsch_gordan(*path), expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("order", ["cartesian", "m"])
def test_both_orders_of_the_components(order):
    convention, expected = f"e3x-{order}", RECORDED[f"harmonics_{order}"][..., None]
    ours = spherical_harmonics(RECORDED["vectors"], 3)[..., None]
    torch.testing.assert_close(to_convention(ours, ALL_DEGREES, convention), expected, rtol=0, atol=1e-15)
    torch.testing.assert_close(from_convention(expected, ALL_DEGREES, convention), ours, rtol=0, atol=1e-15)


@pytest.mark.parametrize("path", sorted(CLEBSCH_GORDAN))
def test_clebsch_gordan_coefficients_in_the_order_of_m(path):
    bases = [change_of_basis(degree, "e3x-m") for degree in path]
    found = torch.einsum("ABC,aA,bB,cC->abc", clebsch_gordan(*path), *bases)
    expected = RECORDED["clebsch_gordan_m"][tuple(components(degree) for degree in path)]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-15)
