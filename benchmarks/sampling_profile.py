"""Where the time of sampling goes: `python benchmarks/sampling_profile.py --results benchmarks/results`.

For every network and size of molecule one step of the sampling engine, taken apart with torch.profiler into the
attention operator, matrix products (of an MLP with its activation), the passes over atoms between them, and the rest.
Beside each part its floor: for attention and matrix products the operations that they need at the rate of the machine's
own matrix product, for the passes over atoms the bytes that they must move at the machine's bandwidth; both measured in
the same run.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.cases.molecules import batch, network  # noqa: E402
from benchmarks.cases.networks import NETWORKS  # noqa: E402
from benchmarks.cases.pair import equal, pair_case  # noqa: E402
from benchmarks.cases.pair import operations as pair_operations  # noqa: E402
from benchmarks.cases.so3 import BASIS, forward_operations  # noqa: E402
from benchmarks.measure import ceilings  # noqa: E402
from benchmarks.measure.environment import environment, result_name  # noqa: E402
from ditkernels import _native  # noqa: E402
from ditkernels.models.ditmc.engine import Engine, Engines  # noqa: E402

CPU = torch.device("cpu")
SIZES = ((39, 18), (16, 44), (7, 100), (4, 181))
"""Conformers of one molecule and its atoms: 700 atoms in all."""
PARTS = ("attention", "matrix products", "atoms", "rest")
STEPS = 5
_PYTORCH = ("aten::mm", "aten::addmm", "aten::bmm")
_MATRIX = ("atomwise_dense", "atomwise_gated_mlp", *_PYTORCH)
_ATTENTION = ("pair_attention", "so3_attention")
_ATOMS = ("atomwise_transition",)
_FORMS = {"ape": "table", "rpe": "displacement"}


def measure(name: str, molecules: int, size: int) -> dict:
    """Milliseconds per step of each part, and its floor."""
    model = network(name, CPU)
    graph = batch(equal(molecules, size), model.config, CPU, same=True)
    engine = Engines(model).of(graph)
    positions = torch.randn(graph.num_atoms, 3)
    for _ in range(2):
        engine.denoise(positions, 0.4)
    seconds = []
    for _ in range(STEPS):
        start = time.perf_counter()
        engine.denoise(positions, 0.4)
        seconds.append(time.perf_counter() - start)
    with profile(activities=[ProfilerActivity.CPU], with_flops=True) as profiler:
        for _ in range(STEPS):
            engine.denoise(positions, 0.4)
    spent, products = dict.fromkeys(PARTS, 0.0), dense_operations(engine)
    for event in profiler.key_averages():
        part = part_of(event.key)
        spent[part] += 1e-3 * event.self_cpu_time_total / STEPS
        products += event.flops / STEPS if event.key in _PYTORCH else 0
    total = 1e3 * float(np.median(seconds))
    scale = total / sum(spent.values())  # the profiler's own time is shared out
    rate = ceilings.matmul_rate(CPU, "float32")
    bandwidth = max(ceilings.read_bandwidth(CPU), ceilings.copy_bandwidth(CPU))
    floors = {
        "attention": 1e3 * attention_operations(name, molecules, size) / rate,
        "matrix products": 1e3 * products / rate,
        "atoms": 1e3 * atom_bytes(engine) / bandwidth,
    }
    parts = {part: {"ms": scale * spent[part], "floor_ms": floors.get(part)} for part in PARTS}
    return {"network": name, "molecules": molecules, "atoms": size, "ms": total, "parts": parts}


def part_of(event: str) -> str:
    """The part that an event of the profiler belongs to."""
    for part, names in (("attention", _ATTENTION), ("atoms", _ATOMS), ("matrix products", _MATRIX)):
        if any(name in event for name in names):
            return part
    return "rest"


def dense_operations(engine: Engine) -> int:
    """Operations of the dense layers of all blocks where native kernels compute them; PyTorch counts its own."""
    if not _native.available:
        return 0
    total = 0
    for block in engine.blocks:
        for layer in (block.query, block.key, block.value, block.out, block.mlp.up, block.mlp.down):
            total += 2 * engine.graph.num_atoms * sum(layer.components) * layer.weight[0].numel()
        total += 2 * engine.table.shape[0] * block.modulation.weight.numel()
    return total


def attention_operations(name: str, molecules: int, size: int) -> int:
    """Operations that the attention of all blocks needs, as the benchmarks count them."""
    model = network(name, CPU)
    channels, blocks, lengths = model.config.width, len(model.blocks), equal(molecules, size)
    form = _FORMS.get(name.split("-")[0])
    if form is not None:
        return blocks * pair_operations(pair_case(form, lengths, "forward", channels=channels), None)
    total = 0
    for block in model.blocks:
        lists = (block.irreps_in, block.attention.irreps_out)
        per_pair, per_atom = forward_operations(*lists, block.attention.weight_g.shape[1], BASIS)
        total += molecules * channels * (size * (size - 1) * per_pair + size * per_atom)
    return total


def atom_bytes(engine: Engine) -> int:
    """Bytes that the passes between matrix products must move: the state is read and written with the update, the
    modulations of its atom and the result, twice a block.
    """
    atoms, total = engine.graph.num_atoms, 0
    width, item = engine.model.config.width, 4
    for block in engine.blocks:
        components, irreps = block.irreps.dim, len(block.irreps)
        total += 2 * atoms * width * (4 * components + 2 * irreps + 1) * item
    return total


def markdown(results: dict) -> str:
    """The page."""
    run = results["run"]
    lines = [
        "# Where the time of sampling goes",
        "",
        f"{run['device']}, {run['threads']} threads, torch {run['torch']}, {run['date']}; one step of the sampling "
        "engine in milliseconds, and in brackets the share of the floor, as `benchmarks/sampling_profile.py` "
        "counts it. Made by `python benchmarks/sampling_profile.py --results benchmarks/results`.",
        "",
        f"| network | conformers × atoms | ms | {' | '.join(PARTS)} |",
        "|---" * (3 + len(PARTS)) + "|",
    ]
    for row in results["rows"]:
        cells = [_cell(row["parts"][part]) for part in PARTS]
        lines.append(
            f"| {row['network']} | {row['molecules']} × {row['atoms']} | {row['ms']:.1f} | {' | '.join(cells)} |"
        )
    return "\n".join(lines) + "\n"


def _cell(part: dict) -> str:
    floor = part["floor_ms"]
    return f"{part['ms']:.1f}" + ("" if floor is None else f" ({100 * floor / part['ms']:.0f} %)")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, required=True, help="folder of the result files")
    folder = parser.parse_args().results
    rows = [measure(name, *size) for name in NETWORKS for size in SIZES]
    run = environment(CPU) | {"ceilings": ceilings.measured(CPU, {"float32"})}
    results = {"run": run, "rows": rows}
    folder = folder / "profile"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / result_name(CPU)
    path.write_text(json.dumps(results, indent=1) + "\n")
    path.with_suffix(".md").write_text(markdown(results))
    print(markdown(results))
    print(f"written: {path}, {path.with_suffix('.md')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
