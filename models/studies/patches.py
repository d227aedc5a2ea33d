"""How many rows of the image make a token: length of the sequence, time and quality of models that differ in it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ditkernels.models.d3mes import D3MES
from ditkernels.models.metrics.reference import Reference
from ditkernels.models.studies.arms import measure_network
from ditkernels.models.studies.sizes import Bin, measure_sizes


def measure_patches(
    name: str,
    network: D3MES,
    small: Bin,
    reference: Reference,
    number: int,
    seeds: Sequence[int],
    progress: Callable[[], None],
    **options: object,
) -> tuple[dict, dict]:
    """Rows of all sizes and of small molecules alone, whose atoms a large patch may put into one or two tokens.

    Adds to the first ``patch_rows``, ``tokens``, ``parameters`` and ``seconds_per_sample`` (network, sampler and
    chemistry on the machine at hand; metrics included).
    """
    start = time.perf_counter()
    row = measure_network(name, network, reference, number, seeds, progress, **options)
    seconds = (time.perf_counter() - start) / (number * len(seeds))
    (few,) = measure_sizes(name, network, [small], reference, number, seeds, progress, **options)
    config = network.config
    facts = {"patch_rows": config.patch_rows, "tokens": config.tokens, "seconds_per_sample": seconds}
    return row | facts | {"parameters": sum(p.numel() for p in network.parameters())}, few


def size_table(rows: Sequence[dict]) -> str:
    """Markdown: patch rows, tokens, parameters and milliseconds per sample."""
    lines = ["| | rows per token | tokens | parameters | ms per sample |", "|---|---|---|---|---|"]
    lines += [
        f"| {row['name']} | {row['patch_rows']} | {row['tokens']} | {row['parameters']:,} | "
        f"{1000 * row['seconds_per_sample']:.1f} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"
