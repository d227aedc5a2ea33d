"""Instruction-set levels of the CPU kernels, each in a process of its own: a process keeps the level it starts with."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEVELS = ("baseline", "avx2", "avx512")


def python(code: str, level: str) -> subprocess.CompletedProcess:
    """Run code with DITKERNELS_CPU_LEVEL set, on one thread, with the tests importable."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"DITKERNELS_CPU_LEVEL": level, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment)
