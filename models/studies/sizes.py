"""What the number of heavy atoms does to samples: the same model, asked for small and for large molecules."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

from ditkernels.models.d3mes import D3MES
from ditkernels.models.metrics.reference import Reference
from ditkernels.models.studies.arms import measure_network

Bin = tuple[int, int]
"""Smallest and largest number of heavy atoms."""


def parse_bins(text: str) -> list[Bin]:
    """``"1-6,7,8-9"`` to [(1, 6), (7, 7), (8, 9)].

    Raises ValueError for anything else.
    """
    found = []
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        high = high if dash else low
        if not low.isdigit() or not high.isdigit() or not 1 <= int(low) <= int(high):
            raise ValueError(f"bins must be like 1-6,7,8-9, got {part.strip()!r}")
        found.append((int(low), int(high)))
    return found


def bin_name(bounds: Bin) -> str:
    low, high = bounds
    return f"{low} heavy atoms" if low == high else f"{low}–{high} heavy atoms"


def restricted(network: D3MES, bounds: Bin) -> D3MES:
    """A copy of the network that makes molecules of these sizes alone, as often as in its training data.

    Raises ValueError for the layout ``code``, whose samples choose their own size, and for sizes that no training
    molecule had.
    """
    if not network.config.masked:
        raise ValueError("sizes cannot be asked of a network of layout code, whose samples choose their own")
    network = copy.deepcopy(network)
    network.sizes[:, : bounds[0]] = 0
    network.sizes[:, bounds[1] + 1 :] = 0
    if not network.sizes.any():
        raise ValueError(f"no training molecule of this network had {bin_name(bounds)}")
    return network


def measure_sizes(
    name: str,
    network: D3MES,
    bins: Sequence[Bin],
    reference: Reference,
    number: int,
    seeds: Sequence[int],
    progress: Callable[[], None],
    **options: object,
) -> list[dict]:
    """One row for every bin, each over ``seeds`` with ``number`` samples; as :func:`arms.measure_network`, with ``bin``
    and the share of training molecules ``data_share`` in it.
    """
    total = float(network.sizes.sum()) if network.config.masked else 0.0
    rows = []
    for bounds in bins:
        few = restricted(network, bounds)
        label = f"{name}, {bin_name(bounds)}"
        row = measure_network(label, few, reference, number, seeds, progress, **options)
        rows.append(row | {"bin": list(bounds), "data_share": float(few.sizes.sum()) / total})
    return rows
