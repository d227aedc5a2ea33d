"""The editable install imports both packages live from the source tree, wherever Python is started."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import ditkernels

ROOT = Path(__file__).resolve().parents[2]
FILES = [str(ROOT / "ditkernels/__init__.py"), str(ROOT / "models/__init__.py")]
PROGRAM = (
    "import sys, ditkernels.models\n"
    "print(sorted({'rdkit', 'safetensors', 'yaml'} & set(sys.modules)))\n"
    "import ditkernels.models.molecule\n"
    "print(ditkernels.__file__, ditkernels.models.__file__, sep='\\n')"
)


@pytest.fixture(autouse=True)
def editable():
    if Path(ditkernels.__file__).parent != ROOT / "ditkernels":
        pytest.skip("ditkernels is not installed in editable mode")


def test_both_packages_come_from_the_source_tree_and_need_no_extras(shell):
    assert shell(sys.executable, "-c", PROGRAM).stdout.splitlines() == ["[]", *FILES]


def test_models_import_when_the_source_folder_comes_first(shell):
    # As under `python -m pytest` in the source tree: ./ditkernels is found before the installed package.
    assert shell(sys.executable, "-c", PROGRAM, package=ROOT).stdout.splitlines() == ["[]", *FILES]
