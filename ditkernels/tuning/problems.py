"""Typical calls of both operators: what their Triton kernels are compiled, counted and tuned for."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from types import ModuleType

import torch
from torch import Tensor

from ditkernels.layout import Layout
from ditkernels.pair_attention.descriptors import FORMS as PAIR_FORMS
from ditkernels.so3 import Irreps, paths
from ditkernels.so3.tables import CLEBSCH_GORDAN
from ditkernels.so3_attention.descriptors import FORMS as SO3_FORMS
from ditkernels.triton.launch import Launch, recorded

FEATURES = 256  # E, F
BASIS = 64  # K
ROWS = 24  # S, hop counts
BONDS = 5000  # S, one row per bond
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
IRREPS = {"L = 1": "0+ 1-", "L = 2": "0+ 1- 2+", "L = 1, both parities": "0+ 1+ 0- 1-"}


@dataclass(frozen=True)
class Problem:
    """One call: B molecules of N atoms each, H heads of width D, C = H D channels.

    irreps: of queries, keys, values and outputs of so3_attention, a name of IRREPS; "" for pair_attention
    rare: with gradients of positions, which training does not need, and tables with a row per bond
    """

    operator: str
    form: str
    dtype: torch.dtype
    irreps: str = ""
    channels: int = 256
    heads: int = 8
    molecules: int = 64
    atoms: int = 44
    rare: bool = False

    @property
    def name(self) -> str:
        parts = (self.operator, self.form, self.irreps.replace(",", ""), str(self.dtype)[6:], "rare" * self.rare)
        return " ".join(filter(None, parts))

    @property
    def pairs(self) -> int:
        return self.molecules * self.atoms**2

    @property
    def degrees(self) -> int:
        """J, the number of filter degrees."""
        return max(irrep.degree for irrep in self.irreps_list) + 1

    @property
    def irreps_list(self) -> Irreps:
        return Irreps(IRREPS[self.irreps])


@dataclass(frozen=True)
class Call:
    """The arguments of one call, and what runs it."""

    backend: ModuleType
    form: str
    tokens: tuple[Tensor, Tensor, Tensor]
    fields: tuple[Tensor | None, ...]
    layout: tuple
    statics: tuple
    grad_out: Tensor
    needs: tuple[bool, ...]

    def forward(self) -> tuple[Tensor, Tensor]:
        """out, lse"""
        arguments = (self.form, *self.tokens, self.fields, *self.layout, None, None, *self.statics)
        return self.backend.forward(*arguments)

    def backward(self, out: Tensor, lse: Tensor) -> tuple[Tensor, ...]:
        """The gradients that there are."""
        arguments = (self.form, self.grad_out, *self.tokens, out, lse, self.fields, *self.layout, None, None)
        *tokens, fields, _ = self.backend.backward(*arguments, *self.statics, self.needs)
        return (*tokens, *(x for x in fields if x is not None))


def rare_problems() -> list[Problem]:
    """Those with gradients of positions, and of tables with a row per bond."""
    forms = (("pair_attention", "displacement"), ("so3_attention", "dense"), ("so3_attention", "basis"))
    return [replace(problem, rare=True) for problem in every_problem() if (problem.operator, problem.form) in forms]


def every_problem() -> list[Problem]:
    """Every form and dtype of both operators, SO(3) attention at L = 1 and 2; and DiTMC's with both parities."""
    pair = [Problem("pair_attention", form, dtype) for form in PAIR_FORMS for dtype in DTYPES]
    natural = ("L = 1", "L = 2")
    so3 = [Problem("so3_attention", form, dtype, name) for form in SO3_FORMS for name in natural for dtype in DTYPES]
    return [*pair, *so3, Problem("so3_attention", "basis", torch.bfloat16, "L = 1, both parities")]


def call(problem: Problem, device: torch.device | str) -> Call:
    """Random arguments on a device; on "meta" they have no values."""
    channels, heads, pairs = problem.channels, problem.heads, problem.pairs
    tokens = problem.molecules * problem.atoms

    def normal(*shape: int, dtype: torch.dtype = problem.dtype) -> Tensor:
        return torch.randn(shape, dtype=dtype, device=device)

    def geometry(*shape: int) -> Tensor:
        return normal(*shape, dtype=torch.float32)

    rows = BONDS if problem.rare and problem.operator == "pair_attention" else ROWS
    index = torch.randint(rows, (pairs,), dtype=torch.int32, device=device)
    bounds = torch.arange(problem.molecules + 1, device=device) * problem.atoms
    layout = Layout.ragged(bounds, tokens)
    if problem.operator == "pair_attention":
        fields = {
            "dense": lambda: (normal(pairs, channels), normal(pairs, channels)),
            "table": lambda: (index, normal(rows, channels), normal(rows, channels)),
            "projected": lambda: (
                normal(pairs, FEATURES),
                *(normal(FEATURES, channels) / FEATURES**0.5 for _ in range(2)),
            ),
            "displacement": lambda: (
                geometry(tokens, 3),
                geometry(3, FEATURES),
                *(normal(FEATURES, channels) / FEATURES**0.5 for _ in range(2)),
                index,
                *(normal(rows, channels) for _ in range(2)),
            ),
        }[problem.form]()
        shape, forms, statics = (heads, channels // heads), PAIR_FORMS, (0.1, False)
    else:
        irreps = problem.irreps_list
        common = (geometry(tokens, 3) * 3, normal(_num_paths(problem), channels))
        inner = (len(irreps), problem.degrees)
        fields = {
            "dense": lambda: (*common, *(normal(pairs, x, channels) for x in inner)),
            "basis": lambda: (
                *common,
                *(normal(BASIS, x, channels) / BASIS**0.5 for x in inner),
                index,
                normal(ROWS, problem.degrees, BASIS),
            ),
        }[problem.form]()
        shape, forms = (irreps.dim, heads, channels // heads), SO3_FORMS
        kind = "bernstein" if problem.form == "basis" else ""
        statics = (0.1, False, "|".join([str(irreps)] * 3), kind, 0.0)
    backend = importlib.import_module(f"ditkernels.{problem.operator}.impl.triton")
    places = (layout.offsets, layout.lengths, layout.pair_offsets, layout.pair_stride)
    # Positions are given and not learned in training; their gradient is asked for by nobody but force fields.
    needs = tuple(field.differentiable and (problem.rare or field.name != "positions") for field in forms[problem.form])
    q, k, v, grad_out = (normal(tokens, *shape) for _ in range(4))
    return Call(backend, problem.form, (q, k, v), fields, places, statics, grad_out, (*needs, False))


def record(problem: Problem, architecture: str) -> dict[str, list[Launch]]:
    """The launches of the forward and of the backward pass on an architecture that need not be here."""
    given = call(problem, "meta")
    with recorded(architecture) as forward:
        out, lse = given.forward()
    with recorded(architecture) as backward:
        given.backward(out, lse)
    return {"forward": forward, "backward": backward}


def bytes_moved(problem: Problem) -> dict[str, int]:
    """Bytes of every input that is read and of every result that is written, once each, of both passes."""
    given = call(problem, "meta")
    with recorded():
        out, lse = given.forward()
        grads = given.backward(out, lse)
    inputs = [x for x in (*given.tokens, *given.fields) if x is not None]

    def size(*tensors: Tensor) -> int:
        return sum(x.numel() * x.element_size() for x in tensors)

    return {"forward": size(*inputs, out, lse), "backward": size(*inputs, given.grad_out, out, lse, *grads)}


def operations(problem: Problem) -> dict[str, int]:
    """Operations that the mathematics needs (a multiply-add is two), by pass: what kernels compute twice counts once.

    pair_attention: 6 C per pair forward (q k a, p b v), 14 C backward; a projection of E features to C channels costs 2
    E C per modulation forward, twice that backward. so3_attention: 2 C per component of the queries and per non-zero
    Clebsch-Gordan coefficient forward, three times that backward; K radial functions as projections.
    """
    channels = problem.channels
    if problem.operator == "pair_attention":
        projection = 4 * FEATURES * channels if problem.form in ("projected", "displacement") else 0
        forward, backward = 6 * channels + projection, 14 * channels + 2 * projection
    else:
        irreps = problem.irreps_list
        couplings = sum(
            len(CLEBSCH_GORDAN[path.filter_degree, irreps[path.value].degree, irreps[path.output].degree])
            for path in paths(irreps, irreps, problem.degrees)
        )
        parts = len(irreps) + problem.degrees
        projection = 2 * BASIS * channels * parts if problem.form == "basis" else 0
        core = 2 * channels * (irreps.dim + couplings + parts)
        forward, backward = core + projection, 3 * core + 2 * projection
    return {"forward": forward * problem.pairs, "backward": backward * problem.pairs}


def _num_paths(problem: Problem) -> int:
    return len(paths(problem.irreps_list, problem.irreps_list, problem.degrees))
