"""What to reach, and whether it was reached. Targets are printed beside the measured values; nothing fails by them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """One line: a value read from the results (None if not measured), and the least value to reach."""

    text: str
    least: float
    read: Callable[[dict], float | None]
    unit: str = "×"


def _row(section: str, value: str, **where) -> Callable[[dict], float | None]:
    def read(results: dict) -> float | None:
        for row in results.get(section, {}).get("rows", []):
            if all(row.get(key) == wanted for key, wanted in where.items()):
                return row.get(value)
        return None

    return read


def _dense(value: str, size: int, passes: str) -> Callable[[dict], float | None]:
    return _row("pair_attention", value, form="dense", size=size, passes=passes)


def _memory(form: str) -> Callable[[dict], float | None]:
    return _row("memory", "saving", form=form)


def _so3(value: str, irreps: str, channels: int, form: str) -> Callable[[dict], float | None]:
    where = {"irreps": irreps, "channels": channels, "form": form, "size": 44, "passes": "forward+backward"}
    return _row("so3_attention", value, **where)


TARGETS = (
    *(
        Target(text, least, _dense(value, size, passes))
        for size in (44, 100)
        for text, least, value, passes in (
            (f"dense forward, N = {size}, against eager", 10, "speedup_eager", "forward"),
            (f"dense forward, N = {size}, against torch.compile", 1.5, "speedup_compile", "forward"),
            (f"dense forward + backward, N = {size}, against eager", 6, "speedup_eager", "forward+backward"),
        )
    ),
    Target("dense forward, N = 100, share of read bandwidth", 0.8, _dense("bandwidth_share", 100, "forward"), ""),
    Target("peak memory of a 6-layer step, dense, N = 100, eager / fused", 5, _memory("dense")),
    Target("peak memory of a 6-layer step, table, N = 100, eager / fused", 20, _memory("table")),
    Target("peak memory of a 6-layer step, displacement, N = 100, eager / fused", 20, _memory("displacement")),
    *(
        Target(
            f"so3 forward + backward, {form}, {irreps}, C = {channels}, N = 44, against e3nn",
            50,
            _so3("speedup_e3nn", irreps, channels, form),
        )
        for form in ("dense", "basis")
        for irreps in ("L = 1", "L = 2")
        for channels in (128, 256)
    ),
    Target(
        "peak memory of a 6-layer step, so3 basis, N = 100, eager / fused",
        20,
        _row("so3_memory", "saving", form="so3_basis"),
    ),
    Target("sampling aPE-B, 16 × 44 atoms, against the released form", 15, _row("sampling", "speedup", model="ape-b")),
    Target("sampling rPE-B, 16 × 44 atoms, against the released form", 4, _row("sampling", "speedup", model="rpe-b")),
    Target(
        "sampling PE(3)-B, 16 × 44 atoms, against the reference path",
        10,
        _row("sampling", "speedup_reference", model="pe3-b"),
    ),
)


def verdicts(results: dict) -> list[tuple[str, str, str, str]]:
    """(target, least, measured, "yes" | "no") for every target that was measured."""
    lines = []
    for target in TARGETS:
        value = target.read(results)
        if value is not None:
            met = "yes" if value >= target.least else "no"
            lines.append((target.text, f"≥ {target.least:g}{target.unit}", f"{value:.2f}{target.unit}", met))
    return lines
