"""Back-ends and uninitialized memory for the tests of SO(3) attention."""

from __future__ import annotations

import pytest

from ditkernels.so3_attention import available_impls
from ditkernels.so3_attention.impl import BACKENDS, reference
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
    """Triton kernels with blocks of 4 atoms by 4 and lists of 16 pairs, so that few atoms have several."""

    def choice(key: Key) -> Config:
        heads = max(1, 16 // configs.power_of_two(key.width))
        if key.kernel in ("radial", "distances", "geometry", "forces"):
            return Config(1, 16, heads, warps=1, stages=1)
        return Config(4, 4, heads, warps=1, stages=1)

    with configs.override(choice):
        yield


@pytest.fixture
def large_blocks():
    """Triton kernels with blocks that hold a whole small molecule: the interpreter takes one step where it can. On a
    GPU the default blocks.
    """

    def choice(key: Key) -> Config | None:
        heads = max(2, 16 // configs.power_of_two(key.width))
        if key.architecture != configs.INTERPRETER:
            return None
        if key.kernel in ("radial", "distances", "geometry", "forces"):
            return Config(1, 64, heads, warps=1, stages=1)
        return Config(16, 16, heads, warps=1, stages=1)

    with configs.override(choice):
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
