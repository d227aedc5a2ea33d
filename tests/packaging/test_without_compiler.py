"""Where there is no compiler the package installs, computes with its reference and says what is missing."""

from __future__ import annotations

import re
import sys
import zipfile

import pytest

from ditkernels.pair_attention.descriptors import FORMS
from ditkernels.so3_attention.descriptors import FORMS as SO3_FORMS

pytestmark = pytest.mark.slow


def test_build_says_so_and_goes_on(wheel_without_compiler):
    wheel, printed = wheel_without_compiler
    assert "no C++ compiler found" in printed
    with zipfile.ZipFile(wheel) as archive:
        assert [name for name in archive.namelist() if name.endswith(".so")] == []


def test_info_names_the_remedy(installed_without_compiler, shell):
    program = "from ditkernels.cli.main import main; main()"
    result = shell(sys.executable, "-c", program, "info", package=installed_without_compiler)
    assert result.returncode == 0, result.stderr
    assert "missing: " in result.stdout and "compiler" in result.stdout and "pip install" in result.stdout
    assert all(re.search(rf"^  {form} +reference$", result.stdout, re.MULTILINE) for form in (*FORMS, *SO3_FORMS))


def test_reference_computes_and_an_explicit_choice_raises(installed_without_compiler, shell):
    program = (
        "import torch, ditkernels\n"
        "q = torch.ones(1, 3, 2, 4); pair = ditkernels.DensePair(torch.ones(1, 3, 3, 8))\n"
        "print(float(ditkernels.pair_attention(q, q, q, pair).sum()))\n"
        "try: ditkernels.pair_attention(q, q, q, pair, impl='cpu')\n"
        "except RuntimeError as error: print(error)\n"
    )
    value, message = shell(sys.executable, "-c", program, package=installed_without_compiler).stdout.splitlines()
    assert value == "24.0" and "not built" in message
