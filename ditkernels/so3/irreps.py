"""Irreducible representations of O(3) and SO(3), lists of them, and the tensor product paths between lists."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from ditkernels.so3.tables import MAX_DEGREE

PARITY_SIGN = {1: "+", -1: "-", 0: ""}


class Irrep(NamedTuple):
    """One irreducible representation.

    degree: l = 0, 1 or 2
    parity: 1 (even: unchanged by an inversion), -1 (odd), or 0 (no label: a representation of SO(3) only)
    """

    degree: int
    parity: int

    @property
    def dim(self) -> int:
        """Number of components, 2l + 1."""
        return 2 * self.degree + 1

    def __str__(self) -> str:
        return f"{self.degree}{PARITY_SIGN[self.parity]}"


class Irreps(tuple):
    """A list of distinct irreps; it says what the components of a feature tensor (..., M, C) are.

        Irreps("0+ 1- 2+")       natural parity, (-1)^l: what a function of a vector has
        Irreps("0+ 1+ 0- 1-")    with a parity axis
        Irreps("0 1 2")          without labels: for SO(3) only, every path that the triangle rule allows

    Made from a text, or from an iterable of Irrep, (degree, parity) and texts such as "1-". Immutable and hashable;
    iterates over its Irrep. A ValueError names what is wrong: an empty list, an entry that is no irrep of degree <= 2,
    an entry that occurs twice, or labels on some entries only.
    """

    def __new__(cls, entries: str | Iterable[Irrep | tuple[int, int] | str]) -> Irreps:
        if isinstance(entries, Irreps):
            return entries
        if isinstance(entries, str):
            items = entries.split()
        elif isinstance(entries, Iterable):
            items = list(entries)
        else:
            raise ValueError(f'irreps: expected a text such as "0+ 1-" or an iterable of irreps, got {entries!r}')
        irreps = [_irrep(item) for item in items]
        text = " ".join(str(irrep) for irrep in irreps)
        if not irreps:
            raise ValueError("irreps: the list is empty")
        if len(set(irreps)) < len(irreps):
            raise ValueError(f'irreps: every entry may occur once, got "{text}"')
        if len({irrep.parity == 0 for irrep in irreps}) > 1:
            raise ValueError(f'irreps: parity labels belong on all entries or on none, got "{text}"')
        return super().__new__(cls, irreps)

    @classmethod
    def natural(cls, max_degree: int) -> Irreps:
        """Degrees 0 ... max_degree with the parity (-1)^l: "0+ 1- 2+"."""
        return cls((degree, (-1) ** degree) for degree in range(max_degree + 1))

    @classmethod
    def with_parity(cls, max_degree: int) -> Irreps:
        """Degrees 0 ... max_degree with both parities, even ones first: "0+ 1+ 2+ 0- 1- 2-"."""
        return cls((degree, parity) for parity in (1, -1) for degree in range(max_degree + 1))

    @classmethod
    def unlabelled(cls, max_degree: int) -> Irreps:
        """Degrees 0 ... max_degree without parity: "0 1 2"."""
        return cls((degree, 0) for degree in range(max_degree + 1))

    @property
    def dim(self) -> int:
        """Number of components of all irreps, M."""
        return sum(irrep.dim for irrep in self)

    @property
    def degrees(self) -> tuple[int, ...]:
        return tuple(irrep.degree for irrep in self)

    @property
    def slices(self) -> tuple[slice, ...]:
        """The components of each irrep."""
        ends = [sum(irrep.dim for irrep in self[: i + 1]) for i in range(len(self))]
        return tuple(slice(end - irrep.dim, end) for end, irrep in zip(ends, self))

    @property
    def irrep_of_component(self) -> tuple[int, ...]:
        """For each component, the place of its irrep in the list."""
        return tuple(i for i, irrep in enumerate(self) for _ in range(irrep.dim))

    @property
    def labelled(self) -> bool:
        """Whether the irreps have parities."""
        return self[0].parity != 0

    def __str__(self) -> str:
        return " ".join(str(irrep) for irrep in self)

    def __repr__(self) -> str:
        return f'Irreps("{self}")'


class Path(NamedTuple):
    """One coupling of a filter harmonic and a value to an output: a Clebsch-Gordan block.

    filter_degree: J
    value, output: places of the irreps in the lists of the values and of the outputs
    """

    filter_degree: int
    value: int
    output: int


def paths(values: Irreps, outputs: Irreps, filter_degrees: int) -> tuple[Path, ...]:
    """The paths from filters of degree J = 0 ... filter_degrees - 1 and values to outputs.

    Allowed are |l_value - l_output| <= J <= l_value + l_output and, for labelled lists,
    parity_output = parity_value (-1)^J, because filters are spherical harmonics and have natural parity.
    Order: by output irrep, then J, then value irrep.

    Raises ValueError if only one of the lists has parity labels, or if filter_degrees is not 1, 2 or 3.
    """
    check_degrees(filter_degrees, "filter_degrees")
    if values.labelled != outputs.labelled:
        raise ValueError(f'values "{values}" and outputs "{outputs}" must both have parity labels or both have none')
    return tuple(
        Path(degree, x, o)
        for o, output in enumerate(outputs)
        for degree in range(filter_degrees)
        for x, value in enumerate(values)
        if abs(value.degree - output.degree) <= degree <= value.degree + output.degree
        and output.parity == value.parity * (-1) ** degree
    )


def check_degrees(count: int, name: str) -> None:
    """Raises ValueError unless `count` degrees, 0 ... count - 1, are in the tables."""
    if not 1 <= count <= MAX_DEGREE + 1:
        raise ValueError(f"{name} must be 1, 2 or 3 (the degrees are 0 ... {name} - 1), got {count!r}")


def _irrep(item: Irrep | tuple[int, int] | str) -> Irrep:
    if isinstance(item, str):
        match = re.fullmatch(r"([0-9]+)([+-]?)", item)
        if match is None:
            raise ValueError(
                f'irreps: {item!r} is no irrep; write the degree and the parity, such as "0+", "1-" or "2"'
            )
        item = int(match[1]), {"+": 1, "-": -1, "": 0}[match[2]]
    if not isinstance(item, tuple) or len(item) != 2 or item[1] not in PARITY_SIGN or not isinstance(item[0], int):
        raise ValueError(f"irreps: an entry is (degree, parity) with parity 1, -1 or 0, got {item!r}")
    if not 0 <= item[0] <= MAX_DEGREE:
        raise ValueError(f"irreps: degrees 0 ... {MAX_DEGREE} are supported, got {item[0]}")
    return Irrep(*item)
