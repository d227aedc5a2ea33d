"""Back-ends and uninitialized memory for the tests of SO(3) attention."""

from __future__ import annotations

import pytest

from ditkernels.so3_attention import available_impls
from ditkernels.so3_attention.impl import BACKENDS, reference
from tests.support.backends import mirror_of, poisoned_memory


@pytest.fixture(autouse=True)
def poisoned_empty():
    """Every uninitialized tensor holds NaN."""
    with poisoned_memory():
        yield


@pytest.fixture
def mirror(monkeypatch) -> str:
    """The operators with the reference behind them."""
    monkeypatch.setitem(BACKENDS, "mirror", mirror_of(reference))
    return "mirror"


# Behind the operators runs the native back-end, or the mirror where the library was not built.
OPERATORS = "cpu" if "cpu" in available_impls("cpu") else "mirror"


@pytest.fixture(params=["reference", OPERATORS])
def impl(request) -> str:
    """Every implementation."""
    return request.getfixturevalue("mirror") if request.param == "mirror" else request.param


@pytest.fixture(params=[OPERATORS])
def op_impl(request) -> str:
    """What runs behind the operators."""
    return request.getfixturevalue("mirror") if request.param == "mirror" else request.param
