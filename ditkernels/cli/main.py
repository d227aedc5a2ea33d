"""Entry point of the command line: a click group whose commands are imported when they are called.

Exit codes: 0 success, 1 failure, 2 wrong usage, 3 partial success (``conformers``), 130 interrupted. An error that the
user can mend (a wrong value, a missing file or optional package, a back-end that cannot run here) is one line on
stderr; DITKERNELS_DEBUG=1 shows its traceback instead.
"""

from __future__ import annotations

import importlib
import os
import sys

import click

# Name -> one-line help. The command `a-name` is the click object `command` of the module ditkernels.cli.a_name.
COMMANDS = {
    "conformers": "Sample 3D conformers of molecules into an SDF file.",
    "molecules": "Generate new 3D molecules into an SDF file.",
    "train": "Train a model from a YAML configuration.",
    "evaluate": "Compare conformers with reference conformers.",
    "evaluate-molecules": "Measure generated molecules: stability, validity, class.",
    "study": "Studies of molecule generation, with their tables.",
    "verify": "Compare models with outputs of the original, test their symmetries.",
    "kernels": "Compile the Triton kernels for GPUs: registers, spills, floors.",
    "tune": "Measure the Triton kernels' configurations on the present GPU.",
    "bench": "Tables and plots from benchmark results; regressions.",
    "info": "Show what is installed, what can run here, what is missing.",
}

# Import name -> extra of pyproject.toml that brings the package.
EXTRAS = {
    "rdkit": "models",
    "yaml": "models",
    "tqdm": "models",
    "safetensors": "models",
    "matplotlib": "models",
    "tensorboard": "train",
    "triton": "triton",
}


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports one only to run it or to show its own help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        return importlib.import_module(f"ditkernels.cli.{name.replace('-', '_')}").command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="ditkernels", message="%(prog)s %(version)s")
def cli() -> None:
    """Molecular conformers by diffusion transformers on fused pair attention."""


def main() -> None:
    """Run the command line and exit with its status."""
    try:
        status = cli.main(prog_name="ditkernels", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        fail("interrupted", 130)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        fail(f"this needs the package {package}: run `pip install 'ditkernels[{EXTRAS[package]}]'`", 1)
    except (ValueError, OSError, RuntimeError) as error:
        # RuntimeError: a back-end that cannot run here, or a device out of memory.
        if os.environ.get("DITKERNELS_DEBUG", "0") != "0":
            raise
        fail(describe(error), 1)
    sys.exit(status if isinstance(status, int) else 0)


def describe(error: Exception) -> str:
    """One line for an exception: the file and the reason for OSError, the message otherwise."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{os.fspath(error.filename)}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def fail(message: str, status: int) -> None:
    """Print one line on stderr and exit."""
    click.echo(f"ditkernels: {message}", err=True)
    sys.exit(status)
