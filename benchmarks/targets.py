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
    Target("sampling aPE-B, 16 × 44 atoms, against the released form", 15, _row("sampling", "speedup", model="ape-b")),
    Target("sampling rPE-B, 16 × 44 atoms, against the released form", 4, _row("sampling", "speedup", model="rpe-b")),
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
