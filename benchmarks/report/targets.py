"""What to reach, and whether it was reached. Targets are printed beside the measured values; nothing fails by them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """One line: a value read from the record of a case (None if not measured), and the least value to reach."""

    text: str
    least: float
    case: str
    read: Callable[[dict], float | None]
    device: str = "cpu"
    unit: str = "×"


def _over(opponent: str) -> Callable[[dict], float | None]:
    def read(record: dict) -> float | None:
        from benchmarks.report.tables import speed_up

        return speed_up(record, opponent)

    return read


def _best_of(*opponents: str) -> Callable[[dict], float | None]:
    """Against the fastest of several."""

    def read(record: dict) -> float | None:
        found = [value for value in (_over(name)(record) for name in opponents) if value is not None]
        return min(found, default=None)

    return read


def _own(key: str) -> Callable[[dict], float | None]:
    def read(record: dict) -> float | None:
        return record["results"].get(record["auto"], {}).get(key)

    return read


def _conformers_per_second(record: dict) -> float | None:
    milliseconds = _own("ms")(record)
    return None if milliseconds is None else record["molecules"] / (1e-3 * milliseconds)


def _cpu() -> list[Target]:
    found = []
    for batch in ("16x44", "4x100"):
        forward, both = (f"pair dense {batch} {way} float32" for way in ("forward", "forward+backward"))
        found += [
            Target(f"dense forward, {batch}, against eager", 10, forward, _over("eager")),
            Target(f"dense forward, {batch}, against torch.compile", 1.5, forward, _over("compile")),
            Target(f"dense forward + backward, {batch}, against eager", 6, both, _over("eager")),
        ]
    dense = "pair dense 4x100 forward float32"
    found.append(Target("dense forward, 4x100, share of the read bandwidth", 0.8, dense, _own("of_read"), unit=""))
    for form, least in (("dense", 5), ("table", 20), ("displacement", 20)):
        case = f"pair {form} x6 2x100 forward+backward float32"
        found.append(Target(f"peak memory of 6 layers, {form}, 2x100, eager / ours", least, case, _own("saving")))
    case = "so3 basis L=1 C128 x6 2x100 forward+backward float32"
    found.append(Target("peak memory of 6 layers, so3 basis, 2x100, eager / ours", 20, case, _own("saving")))
    for name in ("ape-b", "rpe-b", "pe3-b"):
        text = f"peak memory per pair of a training step, {name}, 1x100, eager / ours"
        found.append(Target(text, 20, f"training {name} 1x100 step float32", _own("pair_saving")))
    for form in ("basis", "dense"):
        for irreps in ("L=1", "L=2"):
            for channels in (128, 256):
                case = f"so3 {form} {irreps} C{channels} 4x44 forward+backward float32"
                text = f"so3 {form} forward + backward, {irreps}, C = {channels}, 4x44, against e3nn's fastest mode"
                found.append(Target(text, 50, case, _over("e3nn")))
    for name, batch, least, opponent in (
        ("ape-b", "16x44", 15, "released"),
        ("ape-b", "4x181", 30, "released"),
        ("rpe-b", "16x44", 4, "released"),
        ("pe3-b", "16x44", 10, "eager"),
    ):
        against = {"released": "the released form", "eager": "the reference path"}[opponent]
        text = f"sampling {name}, {batch}, 50 steps, against {against}"
        found.append(Target(text, least, f"sampling {name} {batch} 50 steps float32", _over(opponent)))
    return found


def _gpu() -> list[Target]:
    found = []
    for batch in ("64x100",):
        for dtype in ("float32", "bfloat16"):
            forward, both = (f"pair dense {batch} {way} {dtype}" for way in ("forward", "forward+backward"))
            found += [
                Target(f"dense forward, {batch}, {dtype}, share of copy", 0.85, forward, _own("of_copy"), unit=""),
                Target(
                    f"dense forward + backward, {batch}, {dtype}, share of copy", 0.7, both, _own("of_copy"), unit=""
                ),
                Target(f"dense forward, {batch}, {dtype}, against eager", 5, forward, _over("eager")),
                Target(f"dense forward, {batch}, {dtype}, against torch.compile", 2, forward, _over("compile")),
            ]
    for irreps in ("L=1", "L=2"):
        case = f"so3 basis {irreps} C128 4x44 forward+backward float32"
        best = _best_of("cuequivariance", "openequivariance")
        found += [
            Target(f"so3 basis forward + backward, {irreps}, against e3nn's fastest mode", 20, case, _over("e3nn")),
            Target(f"so3 basis forward + backward, {irreps}, against the best GPU package", 2, case, best),
        ]
    step = "training ape-b drugs127 step bfloat16"
    found += [
        Target("training step aPE-B, 127 drug-like molecules, against the reference path", 5, step, _over("eager")),
        Target("its peak memory, eager / ours", 10, step, _own("saving")),
        Target(
            "sampling aPE-B, 44 atoms, 50 steps, conformers per second",
            4000,
            "sampling ape-b 512x44 50 steps bfloat16",
            _conformers_per_second,
            unit="",
        ),
    ]
    return [Target(t.text, t.least, t.case, t.read, "cuda", t.unit) for t in found]


TARGETS = (*_cpu(), *_gpu())


def verdicts(results: dict) -> list[tuple[str, str, str, str]]:
    """(target, least, measured, "yes", "no" or "not measured") for every target of the device."""
    kind = "cuda" if any("cuda" in run for run in results["runs"].values()) else "cpu"
    records = {record["name"]: record for record in results["cases"]}
    lines = []
    for target in (target for target in TARGETS if target.device == kind):
        record = records.get(target.case)
        value = None if record is None else target.read(record)
        measured = "–" if value is None else f"{value:.2f}{target.unit}"
        met = "not measured" if value is None else "yes" if value >= target.least else "no"
        lines.append((target.text, f"≥ {target.least:g}{target.unit}", measured, met))
    return lines
