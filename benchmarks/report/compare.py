"""A new run against the committed one: which of our ratios have become worse, beyond what the spread explains."""

from __future__ import annotations

from dataclasses import dataclass

FACTOR = 1.25


@dataclass(frozen=True)
class Change:
    """A ratio (eager time / our time) of one back-end in one case, before and after.

    before, after: the medians; least: what `after` must reach with its own spread added
    """

    case: str
    contestant: str
    before: float
    after: float
    least: float
    highest: float

    @property
    def worse(self) -> bool:
        return self.highest < self.least


def changes(old: dict, new: dict, factor: float = FACTOR) -> list[Change]:
    """One for every case and back-end of ours that both files measured.

    A ratio is worse if, raised by half its interquartile range, it is below the old one, lowered by half its
    interquartile range, over `factor`. Ratios and not times: the machine may be slower today, but then for both.

    Raises ValueError if the files are of different devices, or have nothing in common.
    """
    devices = [{(run["device"], run["threads"]) for run in results["runs"].values()} for results in (old, new)]
    if not devices[0] & devices[1]:
        named = [" and ".join(f"{name}, {threads} threads" for name, threads in sorted(found)) for found in devices]
        raise ValueError(f"results of different devices cannot be compared: {named[0]}; {named[1]}")
    before = {record["name"]: record for record in old["cases"]}
    found = []
    for record in new["cases"]:
        earlier = before.get(record["name"], {"results": {}})["results"]
        for name, row in record["results"].items():
            if not row.get("version", "").startswith("ditkernels") or "ratio" not in row or "run" in row:
                continue
            if "ratio" not in earlier.get(name, {}):
                continue
            found.append(_change(record["name"], name, earlier[name], row, factor))
    if not found:
        raise ValueError("the two files have no case in common that one of our back-ends ran in both")
    return found


def _change(case: str, name: str, before: dict, after: dict, factor: float) -> Change:
    least = before["ratio"] * (1 - 0.5 * min(_spread(before), 1)) / factor
    highest = after["ratio"] * (1 + 0.5 * _spread(after))
    return Change(case, name, before["ratio"], after["ratio"], least, highest)


def _spread(row: dict) -> float:
    """Of the ratio; older results know that of the time only."""
    return row["ratio_spread"] if "ratio_spread" in row else row["spread"]
