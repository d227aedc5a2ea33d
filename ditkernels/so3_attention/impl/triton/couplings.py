"""The irreps of a call as nested tuples of numbers, which kernels unroll at compile time. Imports no Triton."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from ditkernels.so3.tables import CLEBSCH_GORDAN
from ditkernels.so3_attention.spec import spec


@dataclass(frozen=True)
class Couplings:
    """Components are counted over a whole list of irreps: n of the values, m of the outputs, M of all harmonics.

    queries: irrep of every component of queries and keys
    irreps, values, outputs: numbers of irreps of queries, of components of values and of outputs
    degrees: J, number of filter degrees
    paths: for every path its degree and its non-zeros (M, n, m, coefficient)
    into: for every output component m, (path, degree, ((M, n, coefficient), ...)) of all paths that reach it
    out_of: for every value component n, (path, degree, ((M, m, coefficient), ...)) of all paths that read it
    """

    queries: tuple[int, ...]
    irreps: int
    values: int
    outputs: int
    degrees: int
    paths: tuple
    into: tuple
    out_of: tuple


@cache
def couplings(irreps: str, filter_degrees: int) -> Couplings:
    lists = spec(irreps, filter_degrees)
    _, value_degrees, output_degrees = lists.degrees
    starts = [sum(2 * degree + 1 for degree in output_degrees[:o]) for o in range(len(output_degrees))]
    paths = []
    for degree, x, o in lists.steps:
        entries = CLEBSCH_GORDAN[degree, value_degrees[x], output_degrees[o]]
        paths.append((degree, tuple((degree**2 + M, lists.starts[x] + n, starts[o] + m, c) for M, n, m, c in entries)))

    def grouped(count: int, key: int, other: int) -> tuple:
        groups = []
        for component in range(count):
            group = []
            for number, (degree, entries) in enumerate(paths):
                own = tuple((entry[0], entry[other], entry[3]) for entry in entries if entry[key] == component)
                if own:
                    group.append((number, degree, own))
            groups.append(tuple(group))
        return tuple(groups)

    _, values, outputs = lists.dims
    return Couplings(
        lists.repeats,
        len(lists.degrees[0]),
        values,
        outputs,
        filter_degrees,
        tuple(paths),
        grouped(outputs, 2, 1),
        grouped(values, 1, 2),
    )
