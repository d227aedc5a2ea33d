"""What the irreps of a call say: one string in the operators' schemas, read once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

from ditkernels.so3 import Irreps, Path, paths

Function = TypeVar("Function", bound=Callable)


def assume_constant_result(function: Function) -> Function:
    """What `torch.compiler.assume_constant_result` does: torch.compile calls the function and keeps the result.

    PyTorch's own imports the whole compiler, which would double the time of `import ditkernels`.
    """
    function._dynamo_marked_constant = True
    return function


@dataclass(frozen=True)
class Spec:
    """Irreps of queries and keys, of values and of outputs, and the paths (filter degree, value, output) between.

    The rest says the same in plain numbers, which torch.compile traces:

    dims: components Mq, Mv, Mo
    degrees: of the irreps of queries and keys, of values and of outputs
    starts: the first component of each irrep of the values
    repeats: for each component of the queries, the place of its irrep
    steps: the paths
    """

    qk: Irreps
    values: Irreps
    outputs: Irreps
    paths: tuple[Path, ...]
    dims: tuple[int, int, int]
    degrees: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    starts: tuple[int, ...]
    repeats: tuple[int, ...]
    steps: tuple[tuple[int, int, int], ...]


@assume_constant_result
def join(qk: str, values: str | None, outputs: str | None) -> str:
    """The argument ``irreps`` of the operators, such as "0+ 1-|0+ 1-|0+"; values and outputs are qk where not given.

    Raises ValueError that names the list which is wrong.
    """
    lists = []
    for name, text in (("irreps_qk", qk), ("irreps_v", values), ("irreps_out", outputs)):
        try:
            lists.append(lists[0] if text is None and lists else Irreps(text))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    if lists[1].labelled != lists[2].labelled:
        raise ValueError(
            f"irreps_v and irreps_out must both have parity labels or both not, got {lists[1]} and {lists[2]}"
        )
    return "|".join(map(str, lists))


@assume_constant_result
def spec(irreps: str, filter_degrees: int) -> Spec:
    """The inverse of :func:`join`, with the paths for filters of degree 0 ... filter_degrees - 1."""
    return _spec(irreps, filter_degrees)


def degrees_of(size: int) -> int:
    """A size of 1, 2 or 3 as a plain number, also where torch.compile holds it as a symbol; 0 for any other size."""
    return next((degrees for degrees in (1, 2, 3) if size == degrees), 0)


@cache
def _spec(irreps: str, filter_degrees: int) -> Spec:
    qk, values, outputs = (Irreps(text) for text in irreps.split("|"))
    steps = paths(values, outputs, filter_degrees)
    return Spec(
        qk,
        values,
        outputs,
        steps,
        dims=(qk.dim, values.dim, outputs.dim),
        degrees=(qk.degrees, values.degrees, outputs.degrees),
        starts=tuple(part.start for part in values.slices),
        repeats=qk.irrep_of_component,
        steps=tuple(tuple(step) for step in steps),
    )
