"""Cases of start-up: the time of a fresh Python process that imports the package, or makes its first call.

"reference" stands for what a process without the package pays: `import torch` alone, or the first call of plain
PyTorch.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.cases.case import Case, Work

ROOT = Path(__file__).resolve().parents[2]

_CALL = """
import torch
from ditkernels import DensePair, pair_attention
x = torch.ones(18, 8, 32, device={device!r})
cu_seqlens = torch.tensor([0, 18], dtype=torch.int32, device={device!r})
pair = DensePair(torch.ones(18 * 18, 256, device={device!r}))
print(float(pair_attention(x, x, x, pair, cu_seqlens=cu_seqlens, impl={impl!r}).sum()))
"""
PROGRAMS = {"import": "import ditkernels", "first call": _CALL}


def set_up(case: Case, device: torch.device) -> Work:
    def call(impl: str, cu_seqlens: None) -> tuple[()]:
        program = PROGRAMS[case.form].format(device=str(device), impl=impl)
        if case.form == "import" and impl == "reference":
            program = "import torch"
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL, env=environment)
        return ()

    return Work(call)


def cases() -> list[Case]:
    tags = {"import": frozenset({"core", "gpu"}), "first call": frozenset({"gpu"})}
    return [
        Case("startup", form, (), "float32", "process", set_up, lambda case, work: None, budget=8.0, tags=tags[form])
        for form in PROGRAMS
    ]
