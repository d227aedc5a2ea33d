"""Fixtures that build the package the way a user would, from a copy of the source tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OBJECTS = ROOT / "build" / "native"

BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, 'build_' + sys.argv[1])(sys.argv[2]))"


@pytest.fixture
def shell(tmp_path):
    """Run a command away from the source tree and return the finished process, with its output as text.

    ``package`` is a folder that holds an unpacked wheel; it takes the place of the installed package. Triton's
    interpreter, which the tests switch on, is off: a user has it off.
    """
    usual = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}

    def run(*command: str, package: Path | None = None, **environment: str) -> subprocess.CompletedProcess:
        if package is not None:
            environment["PYTHONPATH"] = str(package)
        return subprocess.run(
            command, cwd=tmp_path, env={**usual, **environment}, capture_output=True, text=True, timeout=120
        )

    return run


def build(kind: str, source: Path, target: Path, **environment: str) -> tuple[Path, str]:
    """Build a wheel or an sdist of the folder ``source``; returns the file and what the build printed."""
    target.mkdir(parents=True, exist_ok=True)
    result = subprocess.run(
        [sys.executable, "-c", BUILD, kind, str(target)],
        cwd=source,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return target / result.stdout.split()[-1], result.stdout


def unpack_wheel(wheel: Path, target: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


@pytest.fixture(scope="session")
def sdist(tmp_path_factory) -> Path:
    """Source distribution of the working tree; built from a copy, which holds no build products."""
    copy = tmp_path_factory.mktemp("tree") / "ditkernels"
    skipped = (".*", "build", "dist", "out", "*.so", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*skipped))
    return build("sdist", copy, tmp_path_factory.mktemp("sdist"))[0]


def unpack_source(sdist: Path, target: Path) -> Path:
    with tarfile.open(sdist) as archive:
        archive.extractall(target)
    return next(target.iterdir())


@pytest.fixture(scope="session")
def wheel_without_compiler(sdist, tmp_path_factory) -> tuple[Path, str]:
    """Wheel built where no compiler can be found, and what the build printed."""
    source = unpack_source(sdist, tmp_path_factory.mktemp("plain-source"))
    nowhere = tmp_path_factory.mktemp("nowhere")
    return build("wheel", source, tmp_path_factory.mktemp("plain-wheel"), PATH=str(nowhere), CXX="")


@pytest.fixture(scope="session")
def installed_without_compiler(wheel_without_compiler, tmp_path_factory) -> Path:
    return unpack_wheel(wheel_without_compiler[0], tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="session")
def wheel(sdist, tmp_path_factory) -> Path:
    """Wheel with native code. Objects that this source tree has compiled already are used where they are current."""
    if not any(map(shutil.which, ("g++", "clang++", "c++"))):
        pytest.skip("needs a C++ compiler")
    source = unpack_source(sdist, tmp_path_factory.mktemp("native-source"))
    if OBJECTS.exists():
        shutil.copytree(OBJECTS, source / OBJECTS.relative_to(ROOT))
    return build("wheel", source, tmp_path_factory.mktemp("native-wheel"))[0]


@pytest.fixture(scope="session")
def installed(wheel, tmp_path_factory) -> Path:
    return unpack_wheel(wheel, tmp_path_factory.mktemp("native"))
