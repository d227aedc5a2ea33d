"""Everything that is measured on a GPU, in one script of under 9 minutes: `make bench-gpu`. **Not yet run on a GPU.**

1. `pytest -m gpu`, the tests that need a device
2. the selection "gpu", the cases that decide first, until the time is over
3. a short table, and the results file with what was measured, whatever failed
4. with --sanitize: compute-sanitizer on the smallest calls (benchmarks/gpu/sanitize.py), which takes its own minutes

Builds and installs nothing. Exit code: 0, 1 if tests or cases failed, 4 without a GPU.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import result_files as results  # noqa: E402
from benchmarks.cases import Case, every, select  # noqa: E402
from benchmarks.gpu.sanitize import sanitize  # noqa: E402
from benchmarks.measure import ceilings  # noqa: E402
from benchmarks.measure.environment import environment, result_name  # noqa: E402
from benchmarks.measure.record import measure  # noqa: E402
from benchmarks.report.tables import as_text, short  # noqa: E402
from benchmarks.report.targets import verdicts  # noqa: E402

NO_GPU = 4
MINUTES, TEST_MINUTES = 8.5, 3.0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Tests and benchmarks on one GPU.")
    parser.add_argument("--results", type=Path, default=ROOT / "out" / "bench", help="folder of the results file")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="when to stop starting cases")
    parser.add_argument("--no-tests", action="store_true", help="only the benchmarks")
    parser.add_argument("--sanitize", action="store_true", help="at the end, memcheck, racecheck and initcheck")
    given = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("There is no GPU that PyTorch can use here, so nothing was tested or measured.", file=sys.stderr)
        return NO_GPU
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    deadline = time.monotonic() + 60 * given.minutes
    device = torch.device("cuda", torch.cuda.current_device())
    failed = 0 if given.no_tests else run_tests()
    records: list[dict] = []
    try:
        failed += run_cases(select("gpu"), device, records, deadline)
    finally:  # also if the process is told to stop
        path = given.results / result_name(device)
        write(path, records, device)
    failed += sanitize() if given.sanitize else 0
    return int(failed > 0)


def run_tests() -> int:
    """The tests that need a GPU, stopped after TEST_MINUTES. 1 if they did not all pass."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests", "-p", "no:cacheprovider"]
    try:
        code = subprocess.run(command, cwd=ROOT, timeout=60 * TEST_MINUTES).returncode
    except subprocess.TimeoutExpired:
        print(f"the tests were stopped after {TEST_MINUTES:g} minutes", flush=True)
        return 1
    return int(code != 0)


def run_cases(
    cases: Iterable[Case],
    device: torch.device,
    records: list[dict],
    deadline: float,
    measured: Callable[..., dict] = measure,
) -> int:
    """Measure cases into `records` until the deadline (of time.monotonic). A failure ends its case only.

    Returns how many failed.
    """
    failed = late = 0
    for case in cases:
        if time.monotonic() > deadline:
            late += 1
            continue
        try:
            record = measured(case, device, strict=False)
        except Exception as problem:  # the file of the others is worth more
            failed += 1
            print(f"FAILED {case.name}: {type(problem).__name__}: {problem}", flush=True)
            traceback.print_exc(limit=-3)
        else:
            records.append(record)
            row = record["results"].get(record["auto"], {})
            if "ms" in row:
                print(f"{row['ms']:10.4f} ms  {row['ratio']:7.2f} x eager  {case.name}", flush=True)
        finally:
            if device.type == "cuda":
                torch.cuda.empty_cache()
    if late:
        print(f"{late} cases were not measured: the time was over", flush=True)
    return failed


def write(path: Path, records: list[dict], device: torch.device) -> None:
    """The results file, and the short tables on the terminal. Ceilings that cannot be measured any more are missing."""
    dtypes = {record["dtype"] for record in records} or {"float32"}
    try:
        roof = ceilings.measured(device, dtypes)
    except RuntimeError as problem:
        print(f"FAILED ceilings: {problem}", flush=True)
        roof = {"read_gbs": None, "copy_gbs": None, "matmul_gflops": {}}
    run = environment(device) | {"ceilings": roof}
    found = results.merged(results.load(path), run, records, every())
    results.save(path, found)
    if table := short(found, [record["name"] for record in records]):
        print(as_text(table))
    print(as_text(("Targets", ("target", "least", "measured", "met"), verdicts(found))))
    print(f"ceilings: {roof}\nwritten: {path}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
