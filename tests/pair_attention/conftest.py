"""Back-ends and uninitialized memory for the tests of pair attention."""

from __future__ import annotations

import pytest

from ditkernels import _native
from ditkernels.pair_attention.impl import BACKENDS, reference
from ditkernels.triton import configs
from ditkernels.triton.configs import Config, Key
from tests.support.backends import mirror_of, poisoned_memory


@pytest.fixture(autouse=True)
def poisoned_empty():
    """Every uninitialized tensor holds NaN."""
    with poisoned_memory():
        yield


@pytest.fixture
def small_blocks():
    """Triton kernels with blocks of 4 receivers and 8 senders, so that few atoms have several, and of 32 pairs."""

    def choice(key: Key) -> Config:
        heads = 1 if key.kernel == "rows" else max(1, 16 // configs.power_of_two(key.width))
        listed = key.kernel in ("weights", "features", "rows")
        return Config(4, 32 if listed else 8, heads, features=16, warps=1, stages=1)

    with configs.override(choice):
        yield


@pytest.fixture
def mirror(monkeypatch) -> str:
    """The operators with the reference behind them."""
    monkeypatch.setitem(BACKENDS, "mirror", mirror_of(reference))
    return "mirror"


# Behind the operators runs the native back-end, or the mirror where the library was not built.
OPERATORS = "cpu" if _native.available else "mirror"


@pytest.fixture(params=["reference", OPERATORS])
def impl(request) -> str:
    """Every implementation."""
    return request.getfixturevalue("mirror") if request.param == "mirror" else request.param


@pytest.fixture(params=[OPERATORS])
def op_impl(request) -> str:
    """What runs behind the operators."""
    return request.getfixturevalue("mirror") if request.param == "mirror" else request.param
