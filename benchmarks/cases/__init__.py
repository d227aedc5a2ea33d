"""All cases, and the selections of them that a run measures.

core     a few minutes on two cores: every operator, descriptor and network, at the sizes that decide
full     everything that a CPU can do: all sizes, dtypes and contestants, half an hour and more
gpu      what one GPU measures in a few minutes
smoke    tiny sizes of everything, seconds: shows that the suite works, its numbers mean nothing

A case is in a selection by its tags. A tag such as "compile@core" lets a contestant that takes long to prepare compete
in that selection; "first" puts the cases that decide before the others.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from benchmarks.cases import networks, pair, scaling, so3, startup
from benchmarks.cases.case import BOTH, FORWARD, Case, OwnTime, Work

__all__ = ["BOTH", "FORWARD", "SELECTIONS", "Case", "OwnTime", "Work", "every", "named", "select"]

SELECTIONS = ("core", "full", "gpu", "smoke")


@cache
def every() -> dict[str, Case]:
    """All cases by name."""
    found = [*pair.cases(), *so3.cases(), *scaling.cases(), *networks.cases(), *startup.cases(), *_smoke()]
    cases = {case.name: case for case in found}
    if len(cases) != len(found):
        raise ValueError("two cases have the same name")
    return cases


def named(name: str) -> Case:
    if name not in every():
        raise ValueError(f"no case is called {name!r}")
    return every()[name]


def select(selection: str) -> list[Case]:
    """The cases of a selection, in a fixed order. Raises ValueError for an unknown one."""
    if selection not in SELECTIONS:
        raise ValueError(f"selection must be one of {', '.join(SELECTIONS)}, got {selection!r}")
    wanted = {
        "core": lambda tags: "core" in tags,
        "full": lambda tags: not tags & {"smoke", "gpu-only"},
        "gpu": lambda tags: tags & {"gpu", "gpu-only"},
        "smoke": lambda tags: "smoke" in tags,
    }[selection]
    cases = [_resolved(case, selection) for case in every().values() if wanted(case.tags)]
    return sorted(cases, key=lambda case: "first" not in case.tags)


def _resolved(case: Case, selection: str) -> Case:
    """The case with the tags "who" of its tags "who@selection"."""
    found = {tag.partition("@")[0] for tag in case.tags if tag.partition("@")[2] == selection}
    return replace(case, tags=case.tags | found)


def _smoke() -> list[Case]:
    tags, e3nn = frozenset({"smoke"}), frozenset({"smoke", "e3nn"})
    small = {"channels": 16, "heads": 2, "tags": tags, "budget": 0.02}
    found = [pair.pair_case(form, (5, 5), BOTH, **small) for form in pair.DESCRIPTORS]
    found.append(pair.pair_case("dense", (3, 7), FORWARD, batch="ragged2", **small))
    found.append(pair.pair_case("table", (5, 5), FORWARD, "bfloat16", **small))
    found.append(pair.pair_case("dense", (4,), BOTH, layers=2, **small | {"tags": tags | {"memory-only", "ragged"}}))
    found += [so3.so3_case(form, "L = 2", 16, (5, 5), BOTH, heads=2, budget=0.02, tags=e3nn) for form in so3.MEANING]
    for case in networks.cases():
        left_out = case.direction == FORWARD or case.tags & {"gpu-only", "memory-only"} or case.batch_name == "4x181"
        if not left_out:
            form = case.form.replace("-b", "-s")
            found.append(replace(case, form=form, lengths=(7, 7), batch="", tags=tags, budget=0.05))
    return found
