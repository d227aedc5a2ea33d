"""The command line loads what it needs, and turns a user's errors into one line and the right exit code."""

from __future__ import annotations

import sys

import click
import pytest
from click.testing import CliRunner

from ditkernels.cli import main as entry


def run_main(monkeypatch, capsys, *arguments: str) -> tuple[int, str]:
    """Exit code and stderr of the command line, in this process."""
    monkeypatch.setattr(sys, "argv", ["ditkernels", *arguments])
    with pytest.raises(SystemExit) as stop:
        entry.main()
    return stop.value.code, capsys.readouterr().err


@pytest.fixture
def command_that(monkeypatch):
    """Put a command `info` in place that calls the given function."""

    def replace(function):
        monkeypatch.setattr(entry.LazyGroup, "get_command", lambda *_: click.command(name="info")(function))

    return replace


def test_help_lists_every_command_and_imports_none_of_them(shell):
    program = (
        "import sys, atexit; from ditkernels.cli.main import main\n"
        "heavy = {'rdkit', 'yaml', 'safetensors', 'matplotlib', 'triton', 'torch._dynamo', 'ditkernels.models'}\n"
        "atexit.register(lambda: print('loaded:', sorted(heavy & set(sys.modules))))\n"
        "main()"
    )
    result = shell(sys.executable, "-c", program, "--help")
    assert result.returncode == 0
    assert all(f"\n  {name} " in result.stdout for name in entry.COMMANDS)
    assert "loaded: []" in result.stdout


@pytest.mark.parametrize("name", entry.COMMANDS)
def test_every_command_has_help(name):
    result = CliRunner().invoke(entry.cli, [name, "--help"], prog_name="ditkernels")
    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"Usage: ditkernels {name}")


@pytest.mark.parametrize("arguments", [["nonsense"], ["info", "--nonsense"], ["verify"]])
def test_wrong_usage_exits_with_2(arguments, monkeypatch, capsys):
    code, printed = run_main(monkeypatch, capsys, *arguments)
    assert code == 2 and "Error:" in printed


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("steps must be positive,\n  not 0"), "ditkernels: steps must be positive, not 0"),
        (FileNotFoundError(2, "No such file or directory", "in.smi"), "ditkernels: in.smi: No such file or directory"),
        (RuntimeError("impl='cpu' cannot run"), "ditkernels: impl='cpu' cannot run"),
    ],
)
def test_failure_is_one_line_and_exits_with_1(error, line, command_that, monkeypatch, capsys):
    def fail():
        raise error

    command_that(fail)
    assert run_main(monkeypatch, capsys, "info") == (1, line + "\n")


def test_traceback_is_shown_on_request(command_that, monkeypatch):
    def fail():
        raise ValueError("steps must be positive")

    command_that(fail)
    monkeypatch.setenv("DITKERNELS_DEBUG", "1")
    monkeypatch.setattr(sys, "argv", ["ditkernels", "info"])
    with pytest.raises(ValueError, match="steps must be positive"):
        entry.main()


def test_missing_optional_package_names_the_extra(command_that, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rdkit", None)

    def needs_rdkit():
        import rdkit  # noqa: F401

    command_that(needs_rdkit)
    code, printed = run_main(monkeypatch, capsys, "info")
    assert code == 1
    assert printed == "ditkernels: this needs the package rdkit: run `pip install 'ditkernels[models]'`\n"


def test_interruption_is_one_line_and_exits_with_130(command_that, monkeypatch, capsys):
    def interrupted():
        raise KeyboardInterrupt

    command_that(interrupted)
    code, printed = run_main(monkeypatch, capsys, "info")
    assert code == 130 and printed.strip() == "ditkernels: interrupted"


def test_exit_code_of_a_command_is_kept(command_that, monkeypatch, capsys):
    command_that(lambda: sys.exit(3))
    assert run_main(monkeypatch, capsys, "info")[0] == 3


def test_exit_code_set_through_click_is_kept(command_that, monkeypatch, capsys):
    command_that(lambda: click.get_current_context().exit(3))
    assert run_main(monkeypatch, capsys, "info")[0] == 3
