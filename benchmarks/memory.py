"""Peak memory of forward + backward through a stack of attention layers, measured in a process of its own.

What is counted is the growth of the process's resident set to its high-water mark (Linux: VmHWM, reset through
/proc/self/clear_refs) while the step runs: everything beyond the inputs, also what a kernel allocates behind PyTorch's
back. Small and large blocks are returned to the system as soon as they are freed (MALLOC_*_THRESHOLD_), so that a free
block left over from the warm-up cannot hide an allocation. The gradients of all floating inputs are part of the peak:
for dense pair tensors they alone are as large as the inputs. The layout is the ragged one, in which PyTorch adds up
the gradients of several layers in place (gradients of a padded tensor come as views, which costs one copy more).

`python -m benchmarks.memory FORM BATCH SIZE LAYERS IMPL` prints the bytes; FORM is a form of pair attention, or
so3_dense or so3_basis.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

BATCH, SIZE, LAYERS = 4, 100, 6
ROOT = Path(__file__).resolve().parent.parent
_ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_TOP_PAD_": "0"}


def supported() -> bool:
    """Whether this system has the counters (Linux)."""
    return Path("/proc/self/clear_refs").exists()


def compare(form: str) -> dict:
    """A row: the peaks of the fused kernels and of the eager reference for a stack of LAYERS layers."""
    from benchmarks.contestants import IMPLS

    peaks = {name: peak_bytes(form, BATCH, SIZE, LAYERS, impl) for name, impl in IMPLS.items()}
    return {
        "form": form,
        "batch": BATCH,
        "size": SIZE,
        "layers": LAYERS,
        "fused_bytes": peaks["fused"],
        "eager_bytes": peaks["eager"],
        "saving": peaks["eager"] / peaks["fused"],
    }


def peak_bytes(form: str, batch: int, size: int, layers: int, impl: str) -> int:
    """Bytes beyond the inputs that forward + backward through `layers` attention layers needs at its peak."""
    command = [sys.executable, "-m", "benchmarks.memory", form, str(batch), str(size), str(layers), impl]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | _ALLOCATOR, check=True, text=True, stdout=subprocess.PIPE, timeout=120
    )
    return int(done.stdout)


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no field {field}")


def _measure(form: str, batch: int, size: int, layers: int, impl: str) -> int:
    from benchmarks.cases import FORMS, Case
    from benchmarks.contestants import operator, runner
    from benchmarks.so3_cases import So3Case

    function = operator(impl, layers)

    def step(batch: int, size: int):
        passes = "forward+backward"
        if form.startswith("so3_"):
            case = So3Case(form.removeprefix("so3_"), "L = 1", 128, batch, size, passes)
        else:
            case = Case(FORMS[form], batch, size, passes)
        return runner(function, case.inputs().ragged(), backward=True)

    step(1, 8)()  # thread pools and libraries are not part of the step
    run = step(batch, size)
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    gradients = run()
    peak = _status("VmHWM") - before
    del gradients
    return peak


if __name__ == "__main__":
    print(_measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]))
