"""What the report of the compiled kernels complains about, and how it counts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ditkernels.tuning.problems import DTYPES, Problem, every_problem, operations, rare_problems
from ditkernels.tuning.report import DEVICES, SAMPLES, Row, complaints, floor, load, markdown, sample, save, text

GOOD = Row("dense bfloat16", "forward", "forward_kernel", "sm_90", "4 x 16 x 1", 4, 2, 96, 1024, 0, 8, 2, 16)


def test_nothing_to_complain_about():
    assert complaints([GOOD, replace(GOOD, products=0, matrix=0)], None) == []
    assert complaints([replace(GOOD, registers=90)], [GOOD]) == []


@pytest.mark.parametrize("kept", [None, [GOOD], [replace(GOOD, spills=8)]], ids=["no-table", "none", "as-many"])
def test_every_spill_is_said(kept):
    assert complaints([replace(GOOD, spills=8)], kept) == [f"{GOOD.name}: 8 spilled"]


def test_samples_meet_every_form_and_together_everything():
    problems = (*every_problem(), *rare_problems())
    tasks = [(problem, architecture) for problem in problems for architecture in DEVICES]
    forms = {(problem.operator, problem.form, problem.rare) for problem, _ in tasks}
    samples = [sample(tasks, number) for number in range(SAMPLES)]
    for found in samples:
        assert {(problem.operator, problem.form, problem.rare) for problem, _ in found} == forms
        assert len(found) == len(forms)
    assert {task for found in samples for task in found} == set(tasks)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"spills": 16}, "16 spilled"),
        ({"matrix": 0}, "no matrix instruction for 2 products"),
        ({"registers": 97}, "97 registers, 96 in the kept table"),
        ({"access": 8}, "accesses of 8 bytes, 16 in the kept table"),
        ({"kernel": "new_kernel"}, "is not in the kept table"),
    ],
)
def test_complaints(change, what):
    (line,) = complaints([replace(GOOD, **change)], [GOOD])
    assert line.endswith(what)


def test_a_table_is_read_as_it_was_written(tmp_path):
    rows = [GOOD, replace(GOOD, architecture="gfx942")]
    save(tmp_path / "new", rows, [["call"], ["dense"]], "the command")
    assert load(tmp_path / "new") == rows
    page = (tmp_path / "new" / "README.md").read_text()
    assert "| dense |" in page and "| gfx942 |" in page and "`the command`" in page


def test_a_table_of_another_triton_is_refused(tmp_path):
    (tmp_path / "kernels.json").write_text('{"triton": "0.0.1", "kernels": []}')
    with pytest.raises(ValueError, match="made with Triton 0.0.1, this is"):
        load(tmp_path)


def test_every_form_and_dtype_is_a_problem():
    problems = every_problem()
    assert {(p.operator, p.form) for p in problems} == {
        *(("pair_attention", form) for form in ("dense", "table", "projected", "displacement")),
        *(("so3_attention", form) for form in ("dense", "basis")),
    }
    assert {p.dtype for p in problems} == set(DTYPES)
    assert len({p.name for p in problems}) == len(problems)


def test_operations_are_those_of_the_formulas():
    dense = Problem("pair_attention", "dense", torch.float32, channels=8, heads=2, molecules=2, atoms=3)
    assert operations(dense) == {"forward": 18 * 6 * 8, "backward": 18 * 14 * 8}
    projected = replace(dense, form="projected")
    assert operations(projected)["forward"] == 18 * (6 * 8 + 4 * 256 * 8)
    # L = 1, natural parity: 4 components of queries, 4 radial weights, paths with 1 + 3 + 3 + 3 couplings.
    so3 = Problem("so3_attention", "dense", torch.float32, "L = 1", channels=8, heads=2, molecules=2, atoms=3)
    assert operations(so3)["forward"] == 18 * 2 * 8 * (4 + 10 + 4)


def test_floor_is_the_slower_of_moving_and_computing():
    problem = Problem("pair_attention", "dense", torch.bfloat16)
    assert floor(DEVICES["sm_90"], problem, moved=4_800_000, needed=1) == pytest.approx(1e-6)
    assert floor(DEVICES["sm_90"], problem, moved=1, needed=989_000_000) == pytest.approx(1e-6)


def test_tables_as_text_and_markdown():
    table = [["call", "us"], ["dense", "1.5"]]
    assert text(table) == "call   us\ndense  1.5"
    assert markdown(table) == "| call | us |\n|---|---|\n| dense | 1.5 |"
