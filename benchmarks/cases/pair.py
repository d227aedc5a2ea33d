"""Cases of `pair_attention`. Symbols: P ordered pairs, C = H D channels, E = F = C features, S rows of a table."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.cases.case import BOTH, FORWARD, Case, Random, Rows, Work, operator_work
from ditkernels.pair_attention import DensePair, DisplacementPair, ProjectedPair, TablePair, pair_attention

TABLE_ROWS = 24
"""S: as many hop counts as a batch of drugs has."""

MEANING = {
    "dense": "one tensor u (P, C) for logits and values",
    "dense_ab": "two tensors (P, C)",
    "table": f"rows of two tables ({TABLE_ROWS}, C), picked by an int32 per pair",
    "projected": "two projections of a tensor (P, C)",
    "displacement": "silu((r_j - r_i) V) M + table row, for logits and values; F = C",
}
DESCRIPTORS = {
    "dense": DensePair,
    "dense_ab": DensePair,
    "table": TablePair,
    "projected": ProjectedPair,
    "displacement": DisplacementPair,
}


def pair_case(form: str, lengths: tuple[int, ...], direction: str, dtype: str = "float32", **options) -> Case:
    return Case("pair_attention", form, lengths, dtype, direction, set_up, operations, **options)


def set_up(case: Case, device: torch.device) -> Work:
    random, heads = Random(device, case.dtype), (case.heads, case.channels // case.heads)
    query, key, value, cotangent = (random.normal(case.atoms, *heads) for _ in range(4))
    rows = [("atoms", (query, key, value)), *_pair_rows(case, random)]
    descriptor = DESCRIPTORS[case.form]

    def call(impl: str, cu_seqlens: Tensor | None, query: Tensor, key: Tensor, value: Tensor, *pair: Tensor):
        for _ in range(case.layers):  # a layer's output is the query of the next
            query = pair_attention(query, key, value, descriptor(*pair), cu_seqlens=cu_seqlens, impl=impl)
        return query

    return operator_work(case, call, rows, cotangent)


def _pair_rows(case: Case, random: Random) -> Rows:
    C, P = case.channels, case.pairs
    if case.form == "dense":
        return [("pairs", [random.normal(P, C)])]
    if case.form == "dense_ab":
        return [("pairs", [random.normal(P, C), random.normal(P, C)])]
    tables = [random.normal(TABLE_ROWS, C) for _ in range(2)]
    if case.form == "table":
        return [("pairs", [random.integers(TABLE_ROWS, P)]), ("", tables)]
    weights = [random.normal(C, C, std=C**-0.5) for _ in range(2)]
    if case.form == "projected":
        return [("pairs", [random.normal(P, C)]), ("", weights)]
    if case.form == "displacement":
        first = random.coordinates(3, C, std=3**-0.5)
        places = [("atoms", [random.coordinates(case.atoms, 3, std=3.0)]), ("", [first, *weights])]
        return [*places, ("pairs", [random.integers(TABLE_ROWS, P)]), ("", tables)]
    raise ValueError(f"no form {case.form!r}")


def operations(case: Case, work: Work) -> int:
    """6 per pair and channel forward (q k a, p b v); 19 backward with the logits computed again. The maps of projected:
    two products with a C x C matrix, and both products of their gradients. Of the displacement's hidden layer the
    mirror pair is known up to three numbers, silu(-x) = silu(x) - x, so that its maps and the gradients of their
    weights are needed once for two pairs, the gradient of the hidden layer for each; and 10 per hidden unit.
    """
    C = case.channels
    forward = {"projected": 4 * C * C, "displacement": 2 * C * C + 10 * C}.get(case.form, 0)
    backward = {"projected": 12 * C * C, "displacement": 8 * C * C + 30 * C}.get(case.form, 0)
    per_pair = 6 * C + forward + (19 * C + backward if case.direction == BOTH else 0)
    return case.layers * case.pairs * per_pair


# (molecules, atoms per molecule): small molecules, the means of QM9 (18) and GEOM-DRUGS (44), and larger ones.
SIZES = ((256, 9), (64, 18), (16, 44), (4, 100), (1, 181))
# What fills a GPU.
GPU_SIZES = ((256, 44), (64, 100))
FOUR = ("dense", "table", "projected", "displacement")
# 16 drug-like molecules: sizes as in GEOM-DRUGS, mean 44, standard deviation 12.
DRUGS = (44, 39, 51, 28, 62, 47, 35, 55, 41, 44, 30, 49, 58, 37, 24, 60)


def equal(batch: int, size: int) -> tuple[int, ...]:
    return (size,) * batch


def cases() -> list[Case]:
    found = []
    for form in DESCRIPTORS:
        for batch, size in SIZES:
            if form == "dense_ab" and size not in (44, 100):
                continue
            for direction in (FORWARD, BOTH):
                tags = _tags(form, size, direction)
                found.append(pair_case(form, equal(batch, size), direction, tags=tags))
    for form in ("dense", "table", "displacement"):
        for direction in (FORWARD, BOTH):
            tags = frozenset({"gpu", "core"} if direction == BOTH else {"gpu"})
            found.append(pair_case(form, DRUGS, direction, batch="drugs16", tags=tags))
    for dtype in ("bfloat16", "float16", "float64"):
        for form in FOUR:
            for direction in (FORWARD, BOTH):
                tags = frozenset({"core"} if dtype == "bfloat16" and form == "dense" else ())
                found.append(pair_case(form, equal(16, 44), direction, dtype, tags=tags))
    for dtype in ("float32", "bfloat16"):
        for form in FOUR:
            for batch, size in GPU_SIZES:
                for direction in (FORWARD, BOTH):
                    tags = {"gpu-only"}
                    if form in ("dense", "table") and size == 100:
                        tags |= {"first", "compile@gpu", "flex@gpu"}
                    found.append(pair_case(form, equal(batch, size), direction, dtype, tags=frozenset(tags)))
    return found


def _tags(form: str, size: int, direction: str) -> frozenset[str]:
    typical, tags = size in (44, 100), set()
    if form != "dense_ab":
        tags.add("gpu")
        if typical or (form in ("dense", "table") and direction == FORWARD):
            tags.add("core")
    if form == "dense" or typical:
        tags |= {"compile@full", "flex@full"} if form == "dense" else {"compile@full"}
    if form == "dense" and typical:
        tags.add("compile@core")
        if size == 44:
            tags.add("flex@core")
    return frozenset(tags)
