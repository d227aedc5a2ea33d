"""`ditkernels info` tells what is installed and what can run."""

from __future__ import annotations

import json
import sys

import pytest
from click.testing import CliRunner

import ditkernels
from ditkernels import _native
from ditkernels.cli.main import cli
from ditkernels.pair_attention.descriptors import FORMS
from ditkernels.so3_attention.descriptors import FORMS as SO3_FORMS

RUN = "from ditkernels.cli.main import main; main()"


@pytest.fixture
def info(shell):
    """Run the command in a process of its own, where environment and installed package can differ."""

    def run(*arguments: str, **options):
        return shell(sys.executable, "-c", RUN, "info", *arguments, **options)

    return run


def test_text_names_version_torch_and_every_form():
    result = CliRunner().invoke(cli, ["info"], catch_exceptions=False)
    assert result.exit_code == 0
    for word in (f"ditkernels {ditkernels.__version__}", "torch", "rdkit", *FORMS, *SO3_FORMS):
        assert word in result.output


def test_json_agrees_with_the_library():
    facts = json.loads(CliRunner().invoke(cli, ["info", "--json"], catch_exceptions=False).output)
    assert facts["ditkernels"] == ditkernels.__version__
    assert facts["native"]["missing"] == _native.reason
    assert set(facts["pair_attention"]["cpu"]) == set(FORMS)
    assert set(facts["so3_attention"]["cpu"]) == set(SO3_FORMS)


@pytest.mark.skipif(not _native.available, reason="needs the native library")
def test_level_can_be_lowered_by_the_environment(info):
    facts = json.loads(info("--json", DITKERNELS_CPU_LEVEL="baseline").stdout)
    assert (facts["native"]["cpu_level"], facts["native"]["cpu_level_override"]) == ("baseline", "baseline")


@pytest.mark.skipif(not _native.available, reason="needs the native library")
def test_unknown_level_is_one_line_and_a_failure(info):
    result = info(DITKERNELS_CPU_LEVEL="sse9")
    assert result.returncode == 1
    assert "DITKERNELS_CPU_LEVEL=sse9" in result.stderr and len(result.stderr.splitlines()) == 1
