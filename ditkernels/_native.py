"""Loads the native operator library that lies beside this package. Importing this module never raises.

available: bool, whether the operators of ``torch.ops.ditkernels_native`` exist
reason: str or None, why they do not, and the command that adds them
"""

from __future__ import annotations

from pathlib import Path

import torch

LIBRARY = Path(__file__).with_name("libditkernels.so")
REMEDY = (
    "install a C++ compiler (g++ or clang++) and reinstall: "
    "pip install --force-reinstall --no-deps --no-build-isolation ."
)


def _load() -> str | None:
    """Why the library cannot be used; None after loading it."""
    if not LIBRARY.exists():
        return f"the native library {LIBRARY.name} was not built; {REMEDY}"
    try:
        torch.ops.load_library(str(LIBRARY))
    except OSError as error:
        return f"the native library {LIBRARY.name} could not be loaded ({str(error).splitlines()[0]}); {REMEDY}"
    return None


reason: str | None = _load()
available: bool = reason is None


def cpu_level() -> str:
    """Instruction-set level of the CPU kernels in use: "baseline", "avx2" or "avx512".

    It is the best level of the processor, or the one that the environment variable DITKERNELS_CPU_LEVEL names. Raises
    RuntimeError if the library is not available, or if that variable names a level which this processor lacks.
    """
    if not available:
        raise RuntimeError(reason)
    return torch.ops.ditkernels_native.cpu_level()
