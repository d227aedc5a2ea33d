"""Sampling 16 conformers of one 44-atom molecule in 50 Euler steps with the networks of size B, random weights."""

from __future__ import annotations

import pytest

from benchmarks.sampling import CONFORMERS, FEW_STEPS, FORMS, STEPS, build


@pytest.mark.parametrize("model", ["ape-b", "rpe-b", "pe3-b"])
def test_sampling_speed(model: str, benchmark, results):
    case = build(model)
    # Warm-up and agreement: all forms compute the same function.
    first = {form: run(2).positions for form, run in case.runs.items()}
    scale = first["reference"].abs().max()
    deviation = max(float((x - first["reference"]).abs().max() / scale) for x in first.values())

    few = {form: run(FEW_STEPS) for form, run in case.runs.items()}
    benchmark.group = f"sampling, {FEW_STEPS} steps, fused"
    benchmark.pedantic(lambda: case.runs["fused"](FEW_STEPS), rounds=3)
    full = case.runs["fused"](STEPS)
    seconds = {form: times.scaled(STEPS) for form, times in few.items()}
    seconds["fused"] = full.setup + sum(full.steps) * STEPS / len(full.steps)
    row = {
        "model": model,
        "conformers": CONFORMERS,
        "atoms": case.graph.num_atoms // CONFORMERS,
        "steps": STEPS,
        **{f"{form}_s": seconds.get(form) for form in FORMS},
        "speedup": seconds["released"] / seconds["fused"] if "released" in seconds else None,
        "speedup_reference": seconds["reference"] / seconds["fused"],
        "deviation": deviation,
    }
    results.add("sampling", row)
    assert deviation < 1e-3
