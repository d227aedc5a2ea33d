"""The generated tables: up to date, as many paths and non-zeros as counted by hand, the same numbers for C++."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ditkernels.so3 import Irreps, clebsch_gordan, paths, tables

ROOT = Path(__file__).parents[2]
GENERATED = ("ditkernels/so3/tables.py", "csrc/so3_tables.h")


def check(root):
    command = [sys.executable, root / "csrc" / "generate_so3_tables.py", "--check"]
    return subprocess.run(command, capture_output=True, text=True)


def test_committed_tables_are_up_to_date():
    answer = check(ROOT)
    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize("changed", GENERATED)
def test_a_changed_table_is_noticed(tmp_path, changed):
    for name in ("csrc/generate_so3_tables.py", *GENERATED):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    assert check(tmp_path).returncode == 0
    text = (tmp_path / changed).read_text()
    (tmp_path / changed).write_text(text.replace("0.5773502691896257", "0.5773502691896258", 1))
    answer = check(tmp_path)
    assert answer.returncode == 1
    assert f"{changed} is out of date" in answer.stderr


@pytest.mark.parametrize(
    ("irreps", "degrees", "num_paths", "non_zeros"),
    [
        ("0+ 1-", 2, 4, 10),
        ("0+ 1- 2+", 3, 11, 83),
        ("0 1", 2, 5, 16),
        ("0 1 2", 3, 15, 137),
        ("0+ 1+ 0- 1-", 2, 10, 32),
    ],
)
def test_paths_and_non_zeros(irreps, degrees, num_paths, non_zeros):
    irreps = Irreps(irreps)
    found = paths(irreps, irreps, degrees)
    assert len(found) == num_paths
    blocks = [(p.filter_degree, irreps[p.value].degree, irreps[p.output].degree) for p in found]
    assert sum(len(tables.CLEBSCH_GORDAN[block]) for block in blocks) == non_zeros
    assert sum(int(clebsch_gordan(*block).count_nonzero()) for block in blocks) == non_zeros


def arrays(text):
    """The arrays of the header: name -> list of numbers."""
    found = re.findall(r"(\w+)\[\] = \{(.*?)\};", text, re.DOTALL)
    return {name: [float(x) for x in values.split(",") if x.strip()] for name, values in found}


def test_the_header_holds_the_same_numbers():
    header = arrays((ROOT / "csrc" / "so3_tables.h").read_text())
    offsets = [int(x) for x in header["kCgOffset"]]
    rows = list(zip(*(header[name] for name in ("kCgFilter", "kCgValue", "kCgOutput", "kCgCoefficient")), strict=True))
    assert len(offsets) == 28 and offsets[-1] == len(rows) == 137
    for path in range(27):
        degrees = (path // 9, path // 3 % 3, path % 3)
        assert tuple(rows[offsets[path] : offsets[path + 1]]) == tables.CLEBSCH_GORDAN.get(degrees, ())

    offsets = [int(x) for x in header["kHarmonicOffset"]]
    names = ("kHarmonicX", "kHarmonicY", "kHarmonicZ", "kHarmonicCoefficient")
    rows = list(zip(*(header[name] for name in names), strict=True))
    assert len(offsets) == 10 and offsets[-1] == len(rows)
    for component in range(9):
        assert tuple(rows[offsets[component] : offsets[component + 1]]) == tables.SPHERICAL_HARMONICS[component]
