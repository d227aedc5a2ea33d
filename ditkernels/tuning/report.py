"""The table of all Triton kernels: what each uses on every architecture, and the floor of each pass."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ditkernels.tuning.problems import Problem, bytes_moved, operations, record


@dataclass(frozen=True)
class Device:
    """Datasheet numbers of a GPU: bytes per second, and operations per second by dtype of the operands."""

    name: str
    bandwidth: float
    peak: dict[str, float]


DEVICES = {
    "sm_80": Device("A100", 2.0e12, {"float32": 19.5e12, "bfloat16": 312e12, "float16": 312e12}),
    "sm_90": Device("H200", 4.8e12, {"float32": 67e12, "bfloat16": 989e12, "float16": 989e12}),
    "sm_100": Device("B200", 8.0e12, {"float32": 75e12, "bfloat16": 2250e12, "float16": 2250e12}),
    "gfx942": Device("MI300X", 5.3e12, {"float32": 163e12, "bfloat16": 1307e12, "float16": 1307e12}),
}

TABLE = "kernels.json"
SAMPLES = 28  # as many as a form has irreps and dtypes on four architectures, at most
STEP = 7  # of samples, from one form to the next: another architecture and another dtype
PAGE = """# The Triton kernels, compiled

Made by `{command}` with Triton {version}, without a GPU: nothing on this page was measured on one.

## Floors

Bytes: every input read and every result written once. Operations: those that the mathematics needs, a multiply-add is
two. The time is the larger of bytes over bandwidth and operations over peak rate, both from the datasheet of the GPU.

{floors}

## Kernels

Blocks: receivers x senders x heads x features of a program; registers per thread; shared memory in bytes; spills in
bytes per thread (AMD: registers); matrix: matrix instructions in the machine code. float32 products are exact, which
the matrix instructions of NVIDIA GPUs are not: they have none there. Access: bytes that a thread moves at most with one
load from or store to global memory. Calls that are called rare ask for gradients of positions, or have a table with a
row per bond, and list the kernels that only they need.

The tests fail if a kernel spills at all, needs more registers or has narrower accesses than here, or has no matrix
instruction for a product of half-precision matrices. They compile every form for one dtype, one list of irreps and one
GPU, others after most changes of the kernels; `ditkernels kernels --check {folder}` compiles everything.

{notes}

{kernels}
"""


@dataclass(frozen=True)
class Row:
    """One compiled kernel of one pass, see :class:`ditkernels.triton.compile.Resources`."""

    problem: str
    step: str
    kernel: str
    architecture: str
    blocks: str
    warps: int
    stages: int
    registers: int
    shared: int
    spills: int
    matrix: int
    products: int
    access: int

    @property
    def name(self) -> str:
        return f"{self.problem}, {self.step}, {self.kernel}, {self.architecture}"


def compiled(problem: Problem, architecture: str) -> list[Row]:
    """The kernels of both passes, each compiled once; of a problem with rare gradients those that only they need."""
    from ditkernels.triton.compile import compile_launch, resources, specialization

    def same(launch) -> tuple:
        return launch.kernel.__name__, launch.config, str(specialization(launch))

    usual = record(replace(problem, rare=False), architecture) if problem.rare else {}
    known = {same(launch) for launches in usual.values() for launch in launches}
    rows: dict[tuple, Row] = {}
    for step, launches in record(problem, architecture).items():
        for launch in launches:
            if same(launch) in known:
                continue
            config, kernel = launch.config, launch.kernel.__name__
            blocks = " x ".join(str(x) for x in (config.receivers, config.senders, config.heads, config.features) if x)
            number = sum(row.kernel.partition(" ")[0] == kernel and row.step == step for row in rows.values())
            if number:
                kernel = f"{kernel} ({number + 1})"
            used = asdict(resources(compile_launch(launch, architecture), architecture))
            row = Row(problem.name, step, kernel, architecture, blocks, config.warps, config.stages, **used)
            rows[step, kernel] = row
    return list(rows.values())


def sample(tasks: Iterable[tuple[Problem, str]], number: int) -> list[tuple[Problem, str]]:
    """One problem of every form, usual and rare, on one architecture; the numbers below SAMPLES together give all."""
    groups: dict[tuple, list[tuple[Problem, str]]] = {}
    for problem, architecture in tasks:
        groups.setdefault((problem.operator, problem.form, problem.rare), []).append((problem, architecture))
    return [group[(number + STEP * place) % len(group)] for place, group in enumerate(groups.values())]


def compile_all(tasks: Iterable[tuple[Problem, str]], jobs: int | None, done: Callable[[], None]) -> list[Row]:
    """The rows of problems on architectures, in their order, compiled by some processes.

    done: called after each problem and architecture
    """
    tasks = list(tasks)
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    with ProcessPoolExecutor(jobs or os.cpu_count(), mp_context=context) as pool:
        futures = {pool.submit(compiled, *task): place for place, task in enumerate(tasks)}
        results: dict[int, list[Row]] = {}
        for future in as_completed(futures):
            results[futures[future]] = future.result()
            done()
    return [row for place in range(len(tasks)) for row in results[place]]


def complaints(rows: Iterable[Row], kept: Iterable[Row] | None) -> list[str]:
    """What is wrong with compiled kernels: spills, and a product of half-precision matrices without a matrix
    instruction; with a kept table also more registers or narrower accesses than there, or no line there.
    """
    found = []
    before = None if kept is None else {row.name: row for row in kept}
    for row in rows:
        if row.products and not row.matrix:
            found.append(f"{row.name}: no matrix instruction for {row.products} products")
        if row.spills:
            found.append(f"{row.name}: {row.spills} spilled")
        if before is None:
            continue
        if row.name not in before:
            found.append(f"{row.name}: is not in the kept table")
        elif row.registers > before[row.name].registers:
            found.append(f"{row.name}: {row.registers} registers, {before[row.name].registers} in the kept table")
        elif row.access < before[row.name].access:
            found.append(f"{row.name}: accesses of {row.access} bytes, {before[row.name].access} in the kept table")
    return found


def save(folder: Path, rows: Iterable[Row], floors: list[list[str]], command: str) -> None:
    """Write ``kernels.json``, which :func:`load` reads, and the same with the floors as ``README.md``, which also takes
    the file ``notes.md`` of the folder if there is one.
    """
    import triton

    folder.mkdir(parents=True, exist_ok=True)
    rows, notes = list(rows), folder / "notes.md"
    lines = ",\n ".join(json.dumps(asdict(row)) for row in rows)
    page = PAGE.format(
        version=triton.__version__,
        command=command,
        folder=folder,
        notes=notes.read_text().strip() if notes.exists() else "",
        kernels=markdown(kernel_table(rows)),
        floors=markdown(floors),
    )
    for name, content in (
        (TABLE, f'{{"triton": "{triton.__version__}",\n"kernels": [\n {lines}\n]}}\n'),
        ("README.md", page),
    ):
        partial = folder / f".{name}.partial"
        partial.write_text(content)
        os.replace(partial, folder / name)


def load(folder: Path) -> list[Row]:
    """The table that :func:`save` wrote.

    Raises ValueError if another Triton made it, whose numbers say nothing about this one's.
    """
    import triton

    path = folder / TABLE
    kept = json.loads(path.read_text())
    if kept["triton"] != triton.__version__:
        raise ValueError(f"{path}: made with Triton {kept['triton']}, this is Triton {triton.__version__}")
    return [Row(**row) for row in kept["kernels"]]


def kernel_table(rows: Iterable[Row]) -> list[list[str]]:
    """Header and lines."""
    header = ["call", "pass", "kernel", "architecture", "blocks", "warps"]
    header += ["registers", "shared", "spills", "matrix", "access"]
    lines = [
        [r.problem, r.step, r.kernel, r.architecture, r.blocks, r.warps]
        + [r.registers, r.shared, r.spills, r.matrix, r.access]
        for r in rows
    ]
    return [header, *([str(cell) for cell in line] for line in lines)]


def floor_table(problems: Iterable[Problem], architectures: Iterable[str]) -> list[list[str]]:
    """Header and lines: launches, bytes, operations, and the time that the datasheet of each GPU allows at best."""
    architectures = list(architectures)
    names = [f"{DEVICES[a].name}, us" for a in architectures]
    table = [["call", "pass", "launches", "MB", "GFLOP", *names]]
    for problem in problems:
        moved, needed = bytes_moved(problem), operations(problem)
        for step, launches in record(problem, architectures[0]).items():
            floors = [floor(DEVICES[a], problem, moved[step], needed[step]) for a in architectures]
            cells = [len(launches), f"{moved[step] / 1e6:.1f}", f"{needed[step] / 1e9:.2f}"]
            table.append([problem.name, step, *map(str, cells), *(f"{1e6 * time:.1f}" for time in floors)])
    return table


def floor(device: Device, problem: Problem, moved: int, needed: int) -> float:
    """Seconds that a device needs at least for so many bytes and operations."""
    return max(moved / device.bandwidth, needed / device.peak[str(problem.dtype)[6:]])


def text(table: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*table)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in table)


def markdown(table: list[list[str]]) -> str:
    lines = [f"| {' | '.join(line)} |" for line in table]
    return "\n".join([lines[0], "|" + "---|" * len(table[0]), *lines[1:]])
