"""The cases: distinct names, selections, bytes and operations, layouts, and the same function in every form."""

from dataclasses import replace

import pytest
import torch

from benchmarks.cases import BOTH, FORWARD, every, named, select
from benchmarks.cases.molecules import drug_like
from benchmarks.cases.pair import DRUGS, pair_case
from benchmarks.cases.so3 import so3_case
from benchmarks.contestants import Eager
from benchmarks.contestants import named as contestant_named
from benchmarks.measure.record import relative_error, truth

CPU = torch.device("cpu")
SMOKE = select("smoke")


def test_names_and_selections():
    assert all(named(name) is case and case.name == name for name, case in every().items())
    core, full, gpu = (select(selection) for selection in ("core", "full", "gpu"))
    names = [{case.name for case in cases} for cases in (core, full, gpu)]
    assert names[0] < names[1] and len(names[0]) == len(core)
    assert all("first" in case.tags for case in core[:2]) and "first" not in core[-1].tags
    operators = {"pair_attention", "so3_attention", "block", "network", "training", "sampling", "startup"}
    assert {case.operator for case in core} == {case.operator for case in gpu} == operators
    # Everything that has to be measured at several sizes, dtypes and numbers of threads.
    sizes = {case.lengths[0] for case in full if case.operator == "pair_attention" and case.equal}
    assert {9, 18, 44, 100, 181} <= sizes and any(case.lengths == DRUGS for case in core)
    assert {"float64", "float32", "bfloat16", "float16"} == {case.dtype for case in full}
    assert any(case.threads == 1 for case in core)
    with pytest.raises(ValueError, match="selection must be one of core"):
        select("most")
    with pytest.raises(ValueError, match="no case is called 'x'"):
        named("x")


def test_a_tag_lets_a_slow_contestant_into_one_selection():
    name = "pair dense 16x44 forward float32"
    assert "compile" in next(case for case in select("core") if case.name == name).tags
    assert "compile" not in named(name).tags
    assert "compile" not in next(case for case in select("gpu") if case.name == name).tags


def test_dense_forward_moves_the_pair_tensor_once():
    case = pair_case("dense", (100,) * 4, FORWARD)
    tokens = 4 * 100 * 256 * 4
    work = case.set_up(case, CPU)
    assert work.bytes_moved(backward=False) == 4 * 100 * 100 * 256 * 4 + 4 * tokens
    assert case.count(case, work) == 6 * 256 * 4 * 100 * 100


def test_backward_writes_a_gradient_for_every_floating_input():
    case = pair_case("table", (5, 5), BOTH)
    work = case.set_up(case, CPU)
    tokens, index, tables = 2 * 5 * 256 * 4, 2 * 5 * 5 * 4, 2 * 24 * 256 * 4
    forward = 4 * tokens + index + tables
    assert work.bytes_moved(backward=False) == forward
    assert work.bytes_moved(backward=True) == forward + (5 * tokens + index + tables) + (3 * tokens + tables)


def test_so3_counts():
    case = so3_case("dense", "L = 1", 128, (44,) * 4, FORWARD)
    work = case.set_up(case, CPU)
    tokens, pairs = 4 * 44 * 4 * 128, 4 * 44 * 44
    assert work.bytes_moved(backward=False) == 4 * (4 * tokens + 4 * 44 * 3 + 4 * 128 + pairs * 4 * 128)
    basis = so3_case("basis", "L = 1", 128, (44,) * 4, FORWARD)
    assert basis.count(basis, work) - case.count(case, work) == 4 * (44 * 44 - 44) // 2 * 128 * 2 * 64 * 4


def test_operations_of_networks_are_those_of_its_matrix_products():
    """One block on 14 atoms: adaLN 6 F^2, attention 4 F^2, MLP 8 F^2 per atom; two maps of the pair tokens."""
    case = next(case for case in SMOKE if case.name.startswith("block ape-s"))
    work = case.set_up(case, CPU)
    atoms, width, rows = 14, work.tensors[0].shape[1], work.tensors[3].shape[0]
    assert case.count(case, work) == 3 * 2 * width**2 * (18 * atoms + 2 * rows)


@pytest.mark.parametrize("case", [c for c in SMOKE if c.operator.endswith("attention")], ids=lambda c: c.name)
def test_operators_are_accurate_and_layouts_agree(case):
    work = case.set_up(case, CPU)
    found, exact = Eager().make(case, work)(), truth(case, work)
    assert relative_error(found, exact) < (1e-5 if case.dtype == "float32" else 1e-2)
    ragged = Eager().make(case, work.ragged())()
    assert len(ragged) == len(found) == (1 + sum(x.is_floating_point() for x in work.tensors) if case.backward else 1)
    assert relative_error(tuple(x.reshape(y.shape) for x, y in zip(ragged, found)), found) < 1e-5


@pytest.mark.parametrize("form", ["ape-s", "rpe-s"])
def test_the_released_form_computes_the_same_network(form):
    case = next(case for case in SMOKE if case.name.startswith(f"training {form}"))
    case = replace(case, lengths=(4, 7))
    work = case.set_up(case, CPU)
    ours, released = (contestant_named(name, CPU).make(case, work)() for name in ("cpu", "released"))
    assert len(ours) == len(released) > 10
    assert relative_error(released, ours, joint=True) < 1e-4


def test_a_training_step_leaves_the_weights_as_they_were():
    case = next(case for case in SMOKE if case.name.startswith("training ape-s"))
    run = contestant_named("eager", CPU).make(case, case.set_up(case, CPU))
    first, second = run(), run()
    assert all(torch.equal(x, y) for x, y in zip(first, second, strict=True))


@pytest.mark.parametrize("atoms", [1, 2, 9, 44])
def test_molecules_are_connected(atoms):
    graph = drug_like(atoms, 64, seed=0)
    assert graph.num_atoms == atoms and graph.num_fragments == 1
    assert (graph.hops == graph.hops.T).all() and (graph.hops.diagonal() == 0).all()
    assert all(graph.hops[i, j] == 1 for i, j in graph.bonds)


def test_relative_error_is_the_largest_over_the_tensors():
    exact = (torch.tensor([1.0, -2.0]), torch.tensor([10.0]))
    wrong = (torch.tensor([1.0, -1.8]), torch.tensor([10.5]))
    assert relative_error(wrong, exact) == pytest.approx(0.1)
    assert relative_error(wrong, exact, joint=True) == pytest.approx(0.05)
    broken = relative_error((exact[0], torch.tensor([torch.nan])), exact)
    assert broken != broken
    assert relative_error((torch.zeros(3),), (torch.zeros(3),)) == 0.0
