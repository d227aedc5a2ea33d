"""The benchmark's own numbers: bytes, operations, agreement of layouts, errors."""

import math

import pytest
import torch

from benchmarks.cases import CASES, FORMS, Case
from benchmarks.contestants import eager, operator, relative_error, runner, truth
from benchmarks.so3_cases import CASES as SO3_CASES
from benchmarks.so3_cases import So3Case


def test_dense_forward_moves_the_pair_tensor_once():
    case = Case(FORMS["dense"], 4, 100, "forward")
    tokens = 4 * 100 * 256 * 4
    assert case.bytes_moved == 4 * 100 * 100 * 256 * 4 + 4 * tokens
    assert case.flops == 6 * 256 * 4 * 100 * 100


def test_backward_writes_a_gradient_for_every_floating_input():
    forward, both = (Case(FORMS["table"], 2, 5, passes) for passes in ("forward", "forward+backward"))
    tokens, index, tables = 2 * 5 * 256 * 4, 2 * 5 * 5 * 4, 2 * 24 * 256 * 4
    assert forward.bytes_moved == 4 * tokens + index + tables
    assert both.bytes_moved == forward.bytes_moved + (5 * tokens + index + tables) + (3 * tokens + tables)


def test_case_names_are_distinct():
    names = [case.name for case in (*CASES, *SO3_CASES)]
    assert len(set(names)) == len(names)


SMALL = [Case(FORMS[form], 2, 5, "forward+backward") for form in FORMS]
SMALL += [So3Case(form, "L = 2", 16, 2, 5, "forward+backward") for form in ("dense", "basis")]


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.name)
def test_reference_is_accurate_and_layouts_agree(case):
    inputs = case.inputs()
    padded = eager(case, inputs)()
    assert relative_error(padded, truth(case, inputs)) < 1e-5
    ragged = runner(operator("reference"), inputs.ragged(), backward=True)()
    assert len(ragged) == len(padded)
    assert relative_error(tuple(x.reshape(y.shape) for x, y in zip(ragged, padded)), padded) < 1e-5


def test_relative_error_is_the_largest_over_the_tensors():
    exact = (torch.tensor([1.0, -2.0]), torch.tensor([10.0]))
    wrong = (torch.tensor([1.0, -1.8]), torch.tensor([10.5]))
    assert relative_error(wrong, exact) == pytest.approx(0.1)
    assert math.isnan(relative_error((exact[0], torch.tensor([torch.nan])), exact))
    assert relative_error((torch.zeros(3),), (torch.zeros(3),)) == 0.0


@pytest.mark.parametrize("form", ["dense", "basis"])
def test_e3nn_computes_the_same_case(form):
    case = So3Case(form, "L = 2", 16, 2, 5, "forward+backward")
    inputs = case.inputs()
    ours = eager(case, inputs)()
    theirs = runner(operator(""), case.e3nn(inputs, "eager"), backward=True)()
    assert len(theirs) == len(ours)
    assert relative_error((case.from_e3nn(theirs[0]),), ours[:1]) < 1e-5
    assert relative_error(theirs[4:6], (ours[4].flatten(0, 1), ours[5])) < 1e-5  # positions, path weights


def test_so3_counts():
    case = So3Case("dense", "L = 1", 128, 4, 44, "forward")
    tokens, pairs = 4 * 44 * 4 * 128, 4 * 44 * 44
    assert case.bytes_moved == 4 * (4 * tokens + 4 * 44 * 3 + 4 * 128 + pairs * 4 * 128)
    basis = So3Case("basis", "L = 1", 128, 4, 44, "forward")
    assert basis.flops - case.flops == 4 * (44 * 44 - 44) * 128 * 2 * 64 * 4
