"""What the source distribution and the wheels contain, and that a wheel works without the source tree."""

from __future__ import annotations

import json
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


def members(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


def python_files(folder: str) -> set[str]:
    return {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*.py")}


def test_wheel_puts_only_ditkernels_into_site_packages(wheel):
    tops = {name.partition("/")[0] for name in members(wheel)}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"ditkernels"}


def test_wheel_holds_every_module_of_both_source_folders(wheel):
    expected = python_files("ditkernels") | {f"ditkernels/{name}" for name in python_files("models")}
    assert expected == {name for name in members(wheel) if name.endswith(".py")}


def test_wheel_holds_the_shipped_weights(wheel):
    shipped = [p for p in (ROOT / "models").rglob("*") if p.suffix in (".safetensors", ".json", ".csv", ".png")]
    expected = {f"ditkernels/{path.relative_to(ROOT).as_posix()}" for path in shipped}
    assert expected <= members(wheel)


def test_wheel_holds_the_native_library_under_a_name_without_python_version(wheel):
    assert "ditkernels/libditkernels.so" in members(wheel)


def test_unpacked_wheel_computes_natively_without_the_source_tree(installed, shell):
    program = (
        "import torch, ditkernels, ditkernels.models as models\n"
        "q = torch.ones(3, 2, 4); pair = ditkernels.DensePair(torch.ones(9, 8))\n"
        "cu = torch.tensor([0, 3], dtype=torch.int32)\n"
        "out = ditkernels.pair_attention(q, q, q, pair, cu_seqlens=cu, impl='cpu')\n"
        "print(ditkernels.__file__, models.__file__, float(out.sum()), sep='\\n')\n"
    )
    result = shell(sys.executable, "-c", program, package=installed)
    assert result.stdout.splitlines() == [
        str(installed / "ditkernels" / "__init__.py"),
        str(installed / "ditkernels" / "models" / "__init__.py"),
        "24.0",
    ], result.stderr


def test_sdist_holds_sources_and_no_build_products(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {path.relative_to(ROOT).as_posix() for path in (ROOT / "csrc").rglob("*") if path.suffix in (".cpp", ".h")}
    wanted |= {"setup.py", "pyproject.toml", "requirements.txt", "Makefile", "LICENSE", "README.md"}
    wanted |= python_files("ditkernels") | python_files("models") | python_files("tests")
    assert wanted <= names
    assert [name for name in names if name.endswith((".so", ".pyc", ".o"))] == []


def test_version_is_the_same_everywhere(wheel):
    import ditkernels

    assert wheel.name.split("-")[:2] == ["ditkernels", ditkernels.__version__]


def test_build_information_holds_no_paths(installed, shell):
    program = "from ditkernels.cli.main import main; main()"
    build = json.loads(shell(sys.executable, "-c", program, "info", "--json", package=installed).stdout)["native"][
        "build"
    ]
    if build is None:
        pytest.skip("the build-information module needs pybind11 and Python's headers")
    assert "baseline" in build["cpu_levels"] and build["cxx_standard"] == 201703
    assert "/" not in json.dumps(build)
