"""Every form of both operators once, forward and backward with Triton kernels, on batches of a few atoms.

What benchmarks/gpu/sanitize.py lets compute-sanitizer watch. **Not yet run on a GPU.**
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ditkernels.tuning.problems import Problem, call, every_problem, rare_problems  # noqa: E402

# 17 atoms: more than one block of every kernel, the last one nearly empty. 3 heads of 20: blocks with missing channels.
SIZES = {"molecules": 2, "atoms": 17, "channels": 60, "heads": 3}


def problems() -> Iterator[Problem]:
    """Every form in float32, with rare gradients where there are some, and in bfloat16 without."""
    for problem in (*every_problem(), *rare_problems()):
        if problem.irreps != "L = 2" and problem.dtype == (torch.float32 if problem.rare else torch.bfloat16):
            yield replace(problem, **SIZES)
        elif problem.irreps == "L = 2" and problem.dtype == torch.float32 and not problem.rare:
            yield replace(problem, **SIZES)


def run(problem: Problem, device: torch.device | str) -> None:
    given = call(problem, device)
    given.backward(*given.forward())


if __name__ == "__main__":
    for each in problems():
        run(each, "cuda")
        torch.cuda.synchronize()
        print(each.name, flush=True)
