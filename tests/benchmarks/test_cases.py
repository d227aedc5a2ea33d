"""The benchmark's own numbers: bytes, operations, agreement of layouts, errors."""

import pytest
import torch

from benchmarks.cases import CASES, FORMS, Case
from benchmarks.contestants import attention, eager, relative_error, runner, truth


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
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("form", FORMS)
def test_reference_is_accurate_and_layouts_agree(form):
    case = Case(FORMS[form], 2, 5, "forward+backward")
    inputs = case.inputs()
    padded = eager(case, inputs)()
    assert relative_error(padded, truth(case, inputs)) < 1e-5
    ragged = runner(attention("reference"), inputs.ragged(), backward=True)()
    assert len(ragged) == len(padded)
    assert relative_error(tuple(x.reshape(y.shape) for x, y in zip(ragged, padded)), padded) < 1e-5


def test_relative_error_is_the_largest_over_the_tensors():
    exact = (torch.tensor([1.0, -2.0]), torch.tensor([10.0]))
    wrong = (torch.tensor([1.0, -1.8]), torch.tensor([10.5]))
    assert relative_error(wrong, exact) == pytest.approx(0.1)
