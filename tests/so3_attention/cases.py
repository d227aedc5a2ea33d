"""Batches for the tests of SO(3) attention."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from ditkernels import DenseRadial, RadialBasis, so3_attention
from ditkernels.so3 import Irreps
from ditkernels.so3_attention import RadialDescriptor
from tests.support.layouts import boundaries

# Irreps of queries and keys, of values, of outputs; number of filter degrees; number of paths.
IRREPS: dict[str, tuple[str, str, str, int, int]] = {
    "scalars": ("0+", "0+", "0+", 1, 1),
    "natural-1": ("0+ 1-", "0+ 1-", "0+ 1-", 2, 4),
    "natural-2": ("0+ 1- 2+", "0+ 1- 2+", "0+ 1- 2+", 3, 11),
    "parity-1": ("0+ 1+ 0- 1-", "0+ 1+ 0- 1-", "0+ 1+ 0- 1-", 2, 10),
    "parity-2": ("0+ 1+ 2+ 0- 1- 2-", "0+ 1+ 2+ 0- 1- 2-", "0+ 1+ 2+ 0- 1- 2-", 3, 30),
    "unlabelled-1": ("0 1", "0 1", "0 1", 2, 5),
    "unlabelled-2": ("0 1 2", "0 1 2", "0 1 2", 3, 15),
    "first-block": ("0+", "0+", "0+ 1-", 2, 2),  # of DiTMC with PE(3)
    "independent": ("1- 0+", "2+ 0- 1+", "1+ 0+ 2-", 3, 8),  # three lists, none in order; no path with J = 0 but 1+
    "low-filters": ("0+ 1- 2+", "0+ 1- 2+", "0+ 1- 2+", 2, 7),
    "high-filters": ("0", "0 1", "1 0", 3, 6),
}
# The radial weights, with the number of functions and the cutoff of each basis.
BASES = {"bernstein": (5, None), "gaussian": (4, 3.0), "bessel": (3, 2.5)}
RADIALS = ("dense", *BASES, *(f"{kind}-scaled" for kind in BASES))
# Few cases that meet every irreps list and every kind of radial weights.
VARIANTS = (
    *(("natural-2", radial) for radial in RADIALS),
    ("scalars", "gaussian"),
    ("natural-1", "dense"),
    ("parity-1", "bernstein-scaled"),
    ("parity-2", "bessel"),
    ("unlabelled-1", "bernstein"),
    ("unlabelled-2", "dense"),
    ("first-block", "bernstein-scaled"),
    ("independent", "dense"),
    ("independent", "gaussian-scaled"),
    ("low-filters", "bernstein"),
    ("high-filters", "bessel-scaled"),
)
FORMS = (("natural-1", "dense"), ("natural-1", "bernstein"), ("parity-1", "bernstein-scaled"))  # enough for most tests
ROWS = 4  # S
INDEX_DTYPES = (torch.uint8, torch.int16, torch.int32, torch.int64)
PAIR_FIELDS = ("a", "g", "index")  # what a descriptor has per pair
OWN = ("query", "key", "value", "positions", "path_weight", "bias", "cutoff")


@dataclass
class Batch:
    """The arguments of so3_attention for a ragged batch."""

    query: Tensor
    key: Tensor
    value: Tensor
    positions: Tensor
    path_weight: Tensor
    radial: RadialDescriptor
    irreps: tuple[str, str, str]
    cu_seqlens: Tensor
    mask: Tensor | None = None
    bias: Tensor | None = None
    cutoff: Tensor | None = None

    @property
    def sizes(self) -> list[int]:
        return self.cu_seqlens.diff().tolist()

    def leaves(self) -> dict[str, Tensor]:
        """The differentiable tensors by name."""
        named = {name: getattr(self, name) for name in OWN}
        named |= {f.name: getattr(self.radial, f.name) for f in fields(self.radial) if f.name != "cutoff"}
        return {name: x for name, x in named.items() if isinstance(x, Tensor) and x.is_floating_point()}

    def with_leaves(self, new: dict[str, Tensor]) -> Batch:
        own = {name: x for name, x in new.items() if name in OWN}
        rest = {name: x for name, x in new.items() if name not in OWN}
        return replace(self, **own, radial=replace(self.radial, **rest))

    def requires_grad(self) -> Batch:
        return self.with_leaves({name: x.detach().requires_grad_() for name, x in self.leaves().items()})

    def to(self, dtype: torch.dtype) -> Batch:
        """All floating tensors in a dtype, positions in float32 at least."""
        geometry = torch.float64 if dtype == torch.float64 else torch.float32
        return self.with_leaves(
            {n: x.detach().to(geometry if n == "positions" else dtype) for n, x in self.leaves().items()}
        )

    def run(self, impl: str, **options) -> Tensor:
        qk, values, outputs = self.irreps
        options = {"cu_seqlens": self.cu_seqlens, "mask": self.mask, "bias": self.bias, "cutoff": self.cutoff} | options
        options = {"irreps_qk": qk, "irreps_v": values, "irreps_out": outputs, "impl": impl} | options
        tokens = (self.query, self.key, self.value)
        return so3_attention(*tokens, self.positions, self.path_weight, self.radial, **options)

    def molecule(self, b: int) -> Batch:
        """The batch that holds molecule b alone."""
        n, start, row = self.sizes[b], sum(self.sizes[:b]), sum(size * size for size in self.sizes[:b])
        tokens, pairs = slice(start, start + n), slice(row, row + n * n)
        own = {name: getattr(self, name)[tokens] for name in ("query", "key", "value", "positions")}
        own |= {name: x[pairs] for name in ("mask", "bias", "cutoff") if (x := getattr(self, name)) is not None}
        rows = {name: x[pairs] for name in PAIR_FIELDS if (x := getattr(self.radial, name, None)) is not None}
        return replace(self, **own, radial=replace(self.radial, **rows), cu_seqlens=boundaries([n]))

    def cotangent(self) -> Tensor:
        """A random gradient of the output."""
        tokens, _, *channels = self.query.shape
        return torch.randn(tokens, Irreps(self.irreps[2]).dim, *channels, dtype=self.query.dtype)

    def gradients(self, impl: str, cotangent: Tensor, **options) -> tuple[Tensor, dict[str, Tensor]]:
        """The output and the gradient of every leaf."""
        batch = self.requires_grad()
        out, leaves = batch.run(impl, **options), batch.leaves()
        grads = torch.autograd.grad(out, list(leaves.values()), cotangent, allow_unused=True, materialize_grads=True)
        return out.detach(), dict(zip(leaves, grads, strict=True))


def make_radial(
    radial: str, pairs: int, irreps_qk: str, degrees: int, channels: int, dtype: torch.dtype = torch.float64
) -> RadialDescriptor:
    def randn(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=dtype)

    irreps = len(irreps_qk.split())
    if radial == "dense":
        return DenseRadial(randn(pairs, irreps, channels), randn(pairs, degrees, channels))
    kind, _, scaled = radial.partition("-")
    count, cutoff = BASES[kind]
    basis = RadialBasis(kind, randn(count, irreps, channels), randn(count, degrees, channels), cutoff)
    if scaled:
        index = torch.randint(0, ROWS, (pairs,), dtype=INDEX_DTYPES[pairs % 4])
        basis = replace(basis, index=index, scaling=randn(ROWS, degrees, count))
    return basis


def make_batch(
    irreps: str,
    radial: str,
    sizes: list[int],
    heads: int = 2,
    width: int = 3,
    dtype: torch.dtype = torch.float64,
    mask: bool = False,
    bias: bool = False,
    cutoff: bool = False,
) -> Batch:
    qk, values, outputs, degrees, paths = IRREPS[irreps]
    tokens, pairs = sum(sizes), sum(n * n for n in sizes)
    query, key = torch.randn(2, tokens, Irreps(qk).dim, heads, width, dtype=dtype)
    return Batch(
        query,
        key,
        torch.randn(tokens, Irreps(values).dim, heads, width, dtype=dtype),
        torch.randn(tokens, 3, dtype=torch.float64 if dtype == torch.float64 else torch.float32),
        torch.randn(paths, heads * width, dtype=dtype),
        make_radial(radial, pairs, qk, degrees, heads * width, dtype),
        (qk, values, outputs),
        boundaries(sizes),
        mask=torch.rand(pairs) > 0.3 if mask else None,
        bias=torch.randn(pairs, heads, dtype=dtype) if bias else None,
        cutoff=torch.rand(pairs, dtype=dtype).sub(0.2).clamp(min=0) if cutoff else None,
    )


def symmetric_index(batch: Batch) -> Batch:
    """The batch with index_ij = index_ji, as hop counts have it."""
    parts = batch.radial.index.split([n * n for n in batch.sizes])
    squares = [part.reshape(n, n) for part, n in zip(parts, batch.sizes, strict=True)]
    index = torch.cat([torch.triu(x).add(torch.triu(x, 1).T).flatten() for x in squares])
    return replace(batch, radial=replace(batch.radial, index=index.to(batch.radial.index.dtype)))
