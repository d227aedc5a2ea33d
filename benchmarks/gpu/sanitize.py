"""compute-sanitizer on the smallest calls of the Triton kernels: accesses out of bounds, races in shared memory, reads
of memory that nobody wrote. **Not yet run on a GPU.**

    python benchmarks/gpu/sanitize.py

Exit code: 0, also where the tool is not installed, which is said; 1 if it found something; 4 without a GPU.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch

FOLDER = Path(__file__).resolve().parent
TOOLS = ("memcheck", "racecheck", "initcheck")
MINUTES = 5.0  # of each
FOUND, NO_GPU = 9, 4


def main() -> int:
    if not torch.cuda.is_available():
        print("There is no GPU that PyTorch can use here, so nothing was checked.", file=sys.stderr)
        return NO_GPU
    return int(sanitize() > 0)


def sanitize(run: Callable[..., subprocess.CompletedProcess] = subprocess.run) -> int:
    """The number of tools that found something, or did not finish."""
    program = shutil.which("compute-sanitizer")
    if program is None:
        print(
            "compute-sanitizer is not installed (it comes with the CUDA toolkit): its checks are left out", flush=True
        )
        return 0
    # PyTorch's own pool would hide where one tensor ends and the next begins.
    environment = {**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    failed = 0
    for tool in TOOLS:
        options = ["--tool", tool, "--error-exitcode", str(FOUND), "--target-processes", "application-only"]
        command = [program, *options, sys.executable, str(FOLDER / "smallest.py")]
        try:
            code = run(command, env=environment, timeout=60 * MINUTES).returncode
        except subprocess.TimeoutExpired:
            code = None
        verdict = {0: "found nothing", FOUND: "FOUND ERRORS", None: f"was stopped after {MINUTES:g} minutes"}
        print(f"{tool}: {verdict.get(code, f'ended with exit code {code}')}", flush=True)
        failed += code != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
