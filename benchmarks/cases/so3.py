"""Cases of `so3_attention`. Symbols: P ordered pairs without self pairs, C = H D channels, K radial functions, S rows
of the hop scaling, A irreps of the queries, J filter degrees, F = J^2 filter components, M components.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.cases.case import BOTH, FORWARD, Case, Random, Work, operator_work
from benchmarks.cases.pair import DRUGS, equal
from ditkernels.so3 import Irreps, paths
from ditkernels.so3_attention import DenseRadial, RadialBasis, so3_attention
from ditkernels.so3_attention.spec import join, spec

BASIS = 64
HOPS = 16
MEANING = {
    "dense": "radial weights a (P, A, C) and g (P, J, C)",
    "basis": f"projections of {BASIS} Bernstein functions of the distance, scaled by a table of {HOPS} hop counts",
}
IRREPS = {"L = 1": "0+ 1-", "L = 2": "0+ 1- 2+", "DiTMC": "0+ 1+ 0- 1-"}
"""Of queries, values and outputs; DiTMC: what its blocks attend to, L = 1 with both parities."""


def irreps_of(case: Case) -> Irreps:
    return Irreps(IRREPS[case.irreps])


def filter_degrees(case: Case) -> int:
    """J"""
    return max(irreps_of(case).degrees) + 1


def so3_case(
    form: str, irreps: str, channels: int, lengths: tuple[int, ...], direction: str, dtype: str = "float32", **options
) -> Case:
    options = {"irreps": irreps, "channels": channels} | options
    return Case("so3_attention", form, lengths, dtype, direction, set_up, operations, **options)


def set_up(case: Case, device: torch.device) -> Work:
    random, irreps, J, C = Random(device, case.dtype), irreps_of(case), filter_degrees(case), case.channels
    heads, A = (case.heads, C // case.heads), len(irreps)
    query, key, value, cotangent = (random.normal(case.atoms, irreps.dim, *heads) for _ in range(4))
    positions = random.coordinates(case.atoms, 3, std=2.0)
    weight = random.normal(len(paths(irreps, irreps, J)), C)
    rows = [("atoms", (query, key, value, positions)), ("", [weight])]
    if case.form == "dense":
        rows.append(("pairs", [random.normal(case.pairs, A, C), random.normal(case.pairs, J, C)]))
    else:
        rows.append(("", [random.normal(BASIS, A, C, std=0.3), random.normal(BASIS, J, C, std=0.3)]))
        rows.append(("pairs", [random.integers(HOPS, case.pairs)]))
        rows.append(("", [1 + random.normal(HOPS, J, BASIS, std=0.3)]))

    def call(impl: str, cu_seqlens: Tensor | None, query, key, value, positions, weight, *radial) -> Tensor:
        if case.form == "dense":
            descriptor = DenseRadial(*radial)
        else:
            weight_a, weight_g, index, scaling = radial
            descriptor = RadialBasis("bernstein", weight_a, weight_g, index=index, scaling=scaling)
        options = {"irreps_qk": str(irreps), "cu_seqlens": cu_seqlens, "exclude_self": True, "impl": impl}
        for _ in range(case.layers):  # a layer's output is the query of the next
            query = so3_attention(query, key, value, positions, weight, descriptor, **options)
        return query

    return operator_work(case, call, rows, cotangent)


def forward_operations(irreps_in: Irreps, irreps_out: Irreps, J: int, functions: int) -> tuple[int, int]:
    """Per pair and channel, and per atom and channel: logits 2 M + 2 A, values 2 V + F + J with V products of a filter
    and a value component that a path takes (F M where all are), ``functions`` (A + J) for projections, which the two
    directions of a pair share; the Clebsch-Gordan sums per atom.
    """
    lists = spec(join(str(irreps_in), None, str(irreps_out)), J)
    taken = {(degree, value) for degree, value, _ in lists.steps}
    products = sum((2 * degree + 1) * (2 * irreps_in[value].degree + 1) for degree, value in taken)
    couplings = sum((2 * lists.degrees[2][o] + 1) * (2 * degree + 1) for degree, _, o in lists.steps)
    M, A = irreps_in.dim, len(irreps_in)
    return 2 * M + 2 * A + 2 * products + J * J + J + functions * (A + J), 3 * couplings


def operations(case: Case, work: Work) -> int:
    """Forward as :func:`forward_operations` says. Backward: all of it again, its two products with gradients (sums
    2 F M and 4 J M; for projections two matrix products), and 6 M + 3 A for queries and keys.
    """
    irreps, J = irreps_of(case), filter_degrees(case)
    M, A, F = irreps.dim, len(irreps), J * J
    functions = BASIS if case.form == "basis" else 0
    forward, per_atom = forward_operations(irreps, irreps, J, functions)
    backward = forward + 2 * F * M + 4 * J * M + 6 * M + 3 * A + 2 * functions * (A + J)
    pairs, atoms = case.pairs - case.atoms, case.atoms
    per_channel = pairs * forward + atoms * per_atom
    if case.direction == BOTH:
        per_channel += pairs * backward + 2 * atoms * per_atom
    return case.layers * case.channels * per_channel


# Irreps and channels that are measured.
LISTS = (("L = 1", 128), ("L = 1", 256), ("L = 2", 128), ("L = 2", 256), ("DiTMC", 256))
# Molecules such that e3nn's tensors of pairs and components fit into memory: 5,184 to 10,000 pairs.
SIZES = ((64, 9), (24, 18), (4, 44), (1, 100))
LARGE = ((1, 181),)
GPU_SIZES = ((64, 44), (16, 100))


def cases() -> list[Case]:
    found = []
    for form in MEANING:
        for irreps, channels in LISTS:
            for batch, size in (*SIZES, *LARGE):
                for direction in (FORWARD, BOTH):
                    if irreps == "DiTMC" and (form != "basis" or size != 44):
                        continue
                    if size in (9, 181) and (form != "basis" or channels != 128):
                        continue
                    tags = _tags(form, irreps, channels, size, direction)
                    found.append(so3_case(form, irreps, channels, equal(batch, size), direction, tags=tags))
    for irreps in ("L = 1", "L = 2"):
        for direction in (FORWARD, BOTH):
            for batch, size in GPU_SIZES:
                for dtype in ("float32", "bfloat16"):
                    tags = frozenset({"gpu-only", "e3nn@gpu"})
                    found.append(so3_case("basis", irreps, 128, equal(batch, size), direction, dtype, tags=tags))
        tags = frozenset({"core", "gpu"})
        found.append(so3_case("basis", irreps, 128, DRUGS[:4], BOTH, batch="drugs4", tags=tags))
    # One molecule, in which e3nn's modes were compared in both directions.
    for irreps, channels in LISTS:
        for direction in (FORWARD, BOTH):
            found.append(so3_case("dense", irreps, channels, (44,), direction, tags=_E3NN))
    return found


_E3NN = frozenset({"e3nn@full", "e3nn-compile@full"})


def _tags(form: str, irreps: str, channels: int, size: int, direction: str) -> frozenset[str]:
    tags = set(_E3NN) if size in (18, 44, 100) else set()
    small, natural = channels == 128, irreps != "DiTMC"
    if form == "basis" and small and size != 181:
        tags.add("gpu")
    if size == 44 and small and natural:
        tags.add("compile@full")
    if form == "basis" and size == 44 and (small or not natural) and direction == BOTH:
        tags.add("core")
        if natural:
            tags |= {"first", *(f"{who}@{where}" for who in ("e3nn", "e3nn-compile") for where in ("core", "gpu"))}
    if form == "basis" and small and irreps == "L = 1" and direction == FORWARD:
        tags.add("core")
    return frozenset(tags)
