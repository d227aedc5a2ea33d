"""What a case is: plain data, and a set-up that makes what is run.

Operations count a multiplication or an addition as one; a multiply-add is two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

FORWARD, BOTH = "forward", "forward+backward"


@dataclass(frozen=True)
class OwnTime:
    """What a run returns that measures itself, because its wall time is not what is asked for."""

    seconds: float
    tensors: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Work:
    """What the contestants of a case run.

    call: (impl, cu_seqlens, *tensors) -> output, a tensor or a tuple of them; impl is a name of ours or "reference"
    tensors: inputs; the first is the query, where the case has one
    cotangent: gradient of the output, where the case asks for gradients of all floating tensors
    lengths: atoms of the molecules
    padded: tensors of atoms are (B, N, ...) and those of pairs (B, N, N, ...); else (T, ...) and (P, ...)
    exact: makes the same work in float64; None where `tensors` say everything
    """

    call: Callable[..., Tensor | tuple[Tensor, ...] | OwnTime]
    tensors: tuple[Tensor, ...] = ()
    cotangent: Tensor | None = None
    lengths: tuple[int, ...] = ()
    padded: bool = False
    exact: Callable[[], Work] | None = None

    @property
    def cu_seqlens(self) -> Tensor | None:
        """Bounds of the molecules (B+1,) int32, None in the padded layout."""
        if self.padded or not self.tensors:
            return None
        bounds = torch.tensor((0, *self.lengths)).cumsum(0)
        return bounds.to(self.tensors[0].device, torch.int32)

    def ragged(self) -> Work:
        """The same numbers in the ragged layout."""
        if not self.padded:
            return self
        batch, size = len(self.lengths), self.lengths[0]

        def flat(x: Tensor) -> Tensor:
            if x.dim() > 2 and x.shape[:3] == (batch, size, size):
                return x.flatten(0, 2)
            return x.flatten(0, 1) if x.shape[:2] == (batch, size) else x

        tensors, cotangent = tuple(map(flat, self.tensors)), self.cotangent
        return replace(self, tensors=tensors, cotangent=None if cotangent is None else flat(cotangent), padded=False)

    def in_float64(self) -> Work:
        """The same numbers, computed with in float64."""
        if self.exact is not None:
            return self.exact()

        def cast(x: Tensor) -> Tensor:
            return x.double() if x.is_floating_point() else x

        cotangent = None if self.cotangent is None else cast(self.cotangent)
        return replace(self, tensors=tuple(map(cast, self.tensors)), cotangent=cotangent)

    def bytes_moved(self, backward: bool) -> int | None:
        """Bytes that must move if every tensor moves once: a forward pass reads the inputs and writes the output; a
        backward pass reads them again with the output and its gradient, and writes one gradient per floating input.
        None where the tensors do not say it (networks).
        """
        if self.cotangent is None:
            return None
        given, output = sum(x.nbytes for x in self.tensors), self.cotangent.nbytes
        gradients = sum(x.nbytes for x in self.tensors if x.is_floating_point())
        return given + output + (given + 2 * output + gradients if backward else 0)


@dataclass(frozen=True)
class Case:
    """One measurement.

    operator: pair_attention, so3_attention, block, network, training, sampling, startup
    form: the descriptor of an operator, or the name of a network
    lengths: atoms of the molecules, () where there are none
    direction: "forward", "forward+backward", or what a step of a network is called
    set_up: (case, device) -> Work, with the same random numbers for every contestant and every run
    count: (case, work) -> operations that the mathematics needs, or None
    irreps, channels, heads, layers: of the operator; layers > 1 is a stack of it
    threads: of PyTorch; None = as they are
    budget: seconds of measuring that all contestants of the case share
    tags: what the case is for, see `cases.select`
    """

    operator: str
    form: str
    lengths: tuple[int, ...]
    dtype: str
    direction: str
    set_up: Callable[[Case, torch.device], Work]
    count: Callable[[Case, Work], int | None]
    batch: str = ""
    irreps: str = ""
    channels: int = 256
    heads: int = 8
    layers: int = 1
    threads: int | None = None
    budget: float = 1.5
    tags: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """Says everything that distinguishes a case from others."""
        words = [self.operator.removesuffix("_attention"), self.form]
        if self.irreps:
            words += [self.irreps.replace(" ", ""), f"C{self.channels}"]
        if self.layers > 1:
            words.append(f"x{self.layers}")
        words += filter(None, [self.batch_name, self.direction, self.dtype])
        return " ".join(words if self.threads is None else [*words, f"threads{self.threads}"])

    @property
    def batch_name(self) -> str:
        """Such as "16x44" for 16 molecules of 44 atoms, and a name for molecules of several sizes."""
        if self.batch or not self.lengths:
            return self.batch
        return f"{len(self.lengths)}x{self.lengths[0]}"

    @property
    def backward(self) -> bool:
        return self.direction == BOTH

    @property
    def pairs(self) -> int:
        """P, ordered pairs with self pairs."""
        return sum(n * n for n in self.lengths)

    @property
    def atoms(self) -> int:
        return sum(self.lengths)

    @property
    def equal(self) -> bool:
        """Whether all molecules have the same size."""
        return len(set(self.lengths)) == 1

    def facts(self) -> dict:
        """What a row of the results says of the case."""
        return {
            "name": self.name,
            "operator": self.operator,
            "form": self.form,
            "irreps": self.irreps,
            "channels": self.channels,
            "layers": self.layers,
            "batch": self.batch_name,
            "molecules": len(self.lengths),
            "atoms": self.atoms,
            "pairs": self.pairs,
            "direction": self.direction,
            "dtype": self.dtype,
            "threads": self.threads,
        }


class Random:
    """Normal numbers, drawn in float32 on the CPU so that every device gets the same, rounded to a dtype."""

    def __init__(self, device: torch.device, dtype: str, seed: int = 1):
        self.generator, self.device, self.dtype = torch.Generator().manual_seed(seed), device, getattr(torch, dtype)

    def normal(self, *shape: int, std: float = 1.0) -> Tensor:
        return (torch.randn(*shape, generator=self.generator) * std).to(self.device, self.dtype)

    def coordinates(self, *shape: int, std: float = 1.0) -> Tensor:
        """Always float32: nobody keeps positions in half precision."""
        return (torch.randn(*shape, generator=self.generator) * std).to(self.device)

    def integers(self, below: int, *shape: int) -> Tensor:
        return torch.randint(below, shape, generator=self.generator, dtype=torch.int32).to(self.device)


Rows = Sequence[tuple[str, Sequence[Tensor]]]


def operator_work(case: Case, call: Callable[..., Tensor], rows: Rows, output: Tensor) -> Work:
    """Work of one operator, padded where all molecules have one size (which the reference path likes best).

    rows: the tensors by what their first axis counts, "atoms" (T, ...), "pairs" (P, ...), "" for anything else, in
        the order of the call
    output: the cotangent (T, ...)
    """
    padded = case.equal and "ragged" not in case.tags

    def shaped(x: Tensor, axis: str) -> Tensor:
        if not padded or not axis:
            return x
        sizes = [case.lengths[0]] * (2 if axis == "pairs" else 1)
        return x.unflatten(0, (len(case.lengths), *sizes))

    tensors = tuple(shaped(x, axis) for axis, group in rows for x in group)
    return Work(call, tensors, shaped(output, "atoms"), case.lengths, padded)
