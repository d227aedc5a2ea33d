"""What the Triton launcher launches, seen on tensors without values."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ditkernels.so3_attention.descriptors import FORMS
from ditkernels.triton.launch import recorded
from ditkernels.tuning.problems import Problem, call
from tests.support.triton import needs_triton

pytestmark = needs_triton

PROBLEM = Problem("so3_attention", "dense", torch.bfloat16, "L = 1", molecules=8, atoms=100)


def names(problem: Problem, wanted: tuple[str, ...], architecture: str = "sm_90") -> tuple[list[str], list[str]]:
    """Kernels of both passes, all gradients of tokens and those of some fields."""
    given = call(problem, "meta")
    needs = tuple(field.name in wanted for field in FORMS[problem.form])
    given = replace(given, needs=(*needs, False))
    with recorded(architecture) as forward:
        out, lse = given.forward()
    with recorded(architecture) as backward:
        given.backward(out, lse)
    return tuple([launch.kernel.__name__.removesuffix("_kernel") for launch in own] for own in (forward, backward))


@pytest.mark.parametrize(
    ("form", "irreps", "main"),
    [
        ("dense", "L = 1", ["tokens", "values"]),
        ("dense", "L = 2", ["tokens", "values"]),
        ("basis", "L = 1", ["tokens", "values"]),
        ("basis", "L = 2", ["tokens", "values", "tokens"]),  # 9 components of queries
    ],
)
def test_launches_are_those_of_the_docstring(form, irreps, main):
    """L = 1 has two irreps of queries and two filter degrees, L = 2 three of each."""
    problem = replace(PROBLEM, form=form, irreps=irreps)
    count = len(problem.irreps_list)
    forward, backward = names(problem, ())
    assert forward == ["schedule", "forward"]
    assert [name for name in backward if name != "schedule"] == ["rows", *main]
    assert 1 <= backward.count("schedule") <= 3  # one for each size of tiles

    def more(*wanted: str) -> list[str]:
        found = names(problem, wanted)[1]
        assert found[: len(backward)] == backward
        return found[len(backward) :]

    a, g = ("a", "g") if form == "dense" else ("weight_a", "weight_g")
    assert more(a) == ["query_radial"] * count
    assert more(g) == more("path_weight") == more(g, "path_weight") == ["value_radial"] * count
    assert more("positions") == ["geometry"] * count + ["schedule", "positions"]
    if form == "basis":
        assert more("scaling") == ["geometry", "reduce"] * count
        assert more("scaling", "positions") == more("scaling") + more("positions")
