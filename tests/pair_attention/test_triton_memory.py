"""What the Triton launcher allocates and launches, seen on tensors without values."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ditkernels.pair_attention.descriptors import FORMS
from ditkernels.triton.launch import recorded
from ditkernels.tuning.problems import DTYPES, Problem, call
from tests.support.triton import needs_triton

pytestmark = needs_triton

# 384 channels and 256 features of a projection: the shape of a tensor says what it is.
PROBLEM = Problem("pair_attention", "dense", torch.bfloat16, channels=384, heads=6, molecules=8, atoms=100)
TOKENS, PAIRS, CHANNELS = 800, 80_000, 384
# Of the backward, after the main pass, for all gradients but those of the positions and the bias.
LISTED = {
    "dense": [],
    "table": ["weights"],
    "projected": ["weights", "features"],
    "displacement": ["weights", "weights", "features"],
}


class Allocations(TorchDispatchMode):
    """The shape of every tensor that an operator of PyTorch makes."""

    def __init__(self):
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        made = result if isinstance(result, (tuple, list)) else [result]
        if not func.is_view:
            self.shapes += [tuple(x.shape) for x in made if isinstance(x, torch.Tensor)]
        return result

    def larger_than(self, elements: int) -> list[tuple[int, ...]]:
        return sorted(shape for shape in self.shapes if torch.Size(shape).numel() >= elements)


@contextmanager
def watched() -> Iterator[tuple[list, Allocations]]:
    with recorded() as launches, Allocations() as made:
        yield launches, made


def names(launches) -> list[str]:
    return [launch.kernel.__name__.removesuffix("_kernel") for launch in launches]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_nothing_of_the_size_of_pairs_and_channels(form, dtype):
    """But for the gradients of tensors that have this size themselves."""
    problem = replace(PROBLEM, form=form, dtype=dtype)
    given = call(problem, "meta")
    with watched() as (_, forward):
        out, lse = given.forward()
    with watched() as (_, backward):
        given.backward(out, lse)
    assert forward.larger_than(TOKENS * CHANNELS) == [(TOKENS, 6, 64)]  # the output
    own = {"dense": [(PAIRS, CHANNELS)] * 2, "projected": [(PAIRS, 256)]}.get(form, [])
    assert backward.larger_than(PAIRS * CHANNELS // 8) == own


@pytest.mark.parametrize("form", FORMS)
def test_launches_are_those_of_the_docstring(form):
    given = call(replace(PROBLEM, form=form), "meta")
    with watched() as (forward, _):
        out, lse = given.forward()
    with watched() as (backward, _):
        given.backward(out, lse)
    assert names(forward) == ["schedule", "forward"]
    assert names(backward) == ["schedule", "backward", "reduce", *LISTED[form]]


def test_launches_of_large_tables_and_of_positions():
    given = call(replace(PROBLEM, form="displacement"), "meta")
    *rest, index, _, _ = given.fields
    tables = [torch.empty(1000, CHANNELS, dtype=torch.bfloat16, device="meta") for _ in range(2)]
    given = replace(given, fields=(*rest, index, *tables), needs=(True, *given.needs[1:]))
    with watched() as (_, _):
        out, lse = given.forward()
    with watched() as (backward, made):
        given.backward(out, lse)
    after = ["rows", "reduce", "reduce", "weights", "features", "schedule", "positions"]
    assert names(backward) == ["schedule", "backward", "reduce", *after]
    assert made.larger_than(PAIRS * CHANNELS // 8) == []


@pytest.mark.parametrize("form", FORMS)
def test_what_nobody_asks_for_is_neither_computed_nor_stored(form):
    given = call(replace(PROBLEM, form=form), "meta")
    given = replace(given, needs=(False,) * len(given.needs))
    out, lse = torch.empty_like(given.tokens[0]), torch.empty(TOKENS, 6, device="meta")
    with watched() as (launches, made):
        *_, fields, bias = given.backend.backward(
            *(given.form, given.grad_out, *given.tokens, out, lse, given.fields, *given.layout, None, None),
            *(*given.statics, given.needs),
        )
    assert names(launches) == ["schedule", "backward", "reduce"]
    assert set(fields) == {None} and bias is None
    # The partial sums of the queries: one row of channels for 16 pairs, and one for each atom.
    assert made.larger_than(TOKENS * CHANNELS + 1) == [(PAIRS // 16 + TOKENS, 6, 64)]
