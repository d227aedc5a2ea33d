"""Batches for the tests of pair attention, and the equation itself as loops over atoms."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from ditkernels import DensePair, DisplacementPair, ProjectedPair, TablePair, pair_attention
from ditkernels.pair_attention import PairDescriptor
from tests.support.layouts import boundaries

# Every descriptor, with two modulations of its own and with one for both roles.
VARIANTS = (
    "dense",
    "dense-shared",
    "table",
    "table-shared",
    "projected",
    "projected-shared",
    "displacement",
    "displacement-shared",
    "displacement-table",
    "displacement-table-shared",
)
ROWS, FEATURES, HIDDEN = 5, 3, 4  # S, E, F
INDEX_DTYPES = (torch.uint8, torch.int16, torch.int32, torch.int64)


@dataclass
class Batch:
    """The arguments of pair_attention for a ragged batch."""

    query: Tensor
    key: Tensor
    value: Tensor
    pair: PairDescriptor
    cu_seqlens: Tensor
    mask: Tensor | None = None
    bias: Tensor | None = None

    @property
    def sizes(self) -> list[int]:
        return self.cu_seqlens.diff().tolist()

    def leaves(self) -> dict[str, Tensor]:
        """The differentiable tensors by name."""
        named = {"query": self.query, "key": self.key, "value": self.value, "bias": self.bias}
        named |= {field.name: getattr(self.pair, field.name) for field in fields(self.pair)}
        return {name: x for name, x in named.items() if x is not None and x.is_floating_point()}

    def with_leaves(self, new: dict[str, Tensor]) -> Batch:
        own = {name: x for name, x in new.items() if name in ("query", "key", "value", "bias")}
        rest = {name: x for name, x in new.items() if name not in own}
        return replace(self, **own, pair=replace(self.pair, **rest))

    def requires_grad(self) -> Batch:
        return self.with_leaves({name: x.detach().requires_grad_() for name, x in self.leaves().items()})

    def to(self, dtype: torch.dtype) -> Batch:
        """All floating tensors in a dtype, geometry in float32 at least."""
        geometry = torch.float64 if dtype == torch.float64 else torch.float32
        return self.with_leaves(
            {n: x.detach().to(geometry if n in ("positions", "v1") else dtype) for n, x in self.leaves().items()}
        )

    def run(self, impl: str, **options) -> Tensor:
        options = {"cu_seqlens": self.cu_seqlens, "mask": self.mask, "bias": self.bias, "impl": impl} | options
        return pair_attention(self.query, self.key, self.value, self.pair, **options)

    def gradients(self, impl: str, cotangent: Tensor, **options) -> tuple[Tensor, dict[str, Tensor]]:
        """The output and the gradient of every leaf."""
        batch = self.requires_grad()
        out, leaves = batch.run(impl, **options), batch.leaves()
        return out.detach(), dict(zip(leaves, torch.autograd.grad(out, list(leaves.values()), cotangent), strict=True))


def make_pair(variant: str, sizes: list[int], channels: int, dtype: torch.dtype = torch.float64) -> PairDescriptor:
    tokens, pairs = sum(sizes), sum(n * n for n in sizes)
    shared = variant.endswith("-shared")
    geometry = torch.float64 if dtype == torch.float64 else torch.float32

    def randn(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=dtype)

    def second(*shape: int) -> Tensor | None:
        return None if shared else randn(*shape)

    if variant.startswith("dense"):
        return DensePair(randn(pairs, channels), second(pairs, channels))
    index = torch.randint(0, ROWS, (pairs,), dtype=INDEX_DTYPES[pairs % 4])
    if variant.startswith("table"):
        return TablePair(index, randn(ROWS, channels), second(ROWS, channels))
    if variant.startswith("projected"):
        return ProjectedPair(randn(pairs, FEATURES), randn(FEATURES, channels), second(FEATURES, channels))
    positions, v1 = torch.randn(tokens, 3, dtype=geometry), torch.randn(3, HIDDEN, dtype=geometry)
    pair = DisplacementPair(positions, v1, randn(HIDDEN, channels), second(HIDDEN, channels))
    if "table" in variant:
        pair = replace(pair, index=index, table_a=randn(ROWS, channels), table_b=second(ROWS, channels))
    return pair


def make_batch(
    variant: str,
    sizes: list[int],
    heads: int = 2,
    width: int = 3,
    dtype: torch.dtype = torch.float64,
    mask: bool = False,
    bias: bool = False,
) -> Batch:
    tokens, pairs = sum(sizes), sum(n * n for n in sizes)
    query, key, value = torch.randn(3, tokens, heads, width, dtype=dtype)
    return Batch(
        query,
        key,
        value,
        make_pair(variant, sizes, heads * width, dtype),
        boundaries(sizes),
        mask=torch.rand(pairs) > 0.3 if mask else None,
        bias=torch.randn(pairs, heads, dtype=dtype) if bias else None,
    )


def dense_modulations(pair: PairDescriptor, sizes: list[int]) -> tuple[Tensor, Tensor]:
    """a and b as tensors (P, C)."""
    if pair.form == "dense":
        a, b = pair.a, pair.b
    elif pair.form == "table":
        a = pair.table_a[pair.index.long()]
        b = None if pair.table_b is None else pair.table_b[pair.index.long()]
    elif pair.form == "projected":
        a = pair.e @ pair.weight_a
        b = None if pair.weight_b is None else pair.e @ pair.weight_b
    else:
        molecules = pair.positions.split(sizes)
        delta = torch.cat([(r[None, :] - r[:, None]).reshape(-1, 3) for r in molecules])
        hidden = torch.nn.functional.silu(delta @ pair.v1).to(pair.weight_a.dtype)
        a, b = hidden @ pair.weight_a, None if pair.weight_b is None else hidden @ pair.weight_b
        if pair.index is not None:
            a = a + pair.table_a[pair.index.long()]
            b = None if b is None else b + pair.table_b[pair.index.long()]
    return a, a if b is None else b


def equation(batch: Batch, scale: float | None = None, exclude_self: bool = False) -> Tensor:
    """Eqs. 15-16 atom by atom, in the dtype of the batch: the natural PyTorch code for one molecule."""
    heads, width = batch.query.shape[1:]
    scale = width**-0.5 if scale is None else scale
    a, b = (x.unflatten(-1, (heads, width)) for x in dense_modulations(batch.pair, batch.sizes))
    out = torch.zeros_like(batch.query)
    start, row = 0, 0
    for n in batch.sizes:
        senders = slice(start, start + n)
        for i in range(n):
            rows = slice(row + i * n, row + (i + 1) * n)
            logits = scale * (batch.query[start + i] * batch.key[senders] * a[rows]).sum(-1)  # (n, H)
            if batch.bias is not None:
                logits = logits + batch.bias[rows]
            allowed = torch.ones(n, dtype=torch.bool) if batch.mask is None else batch.mask[rows].clone()
            if exclude_self:
                allowed[i] = False
            if allowed.any():
                weights = logits[allowed].softmax(0)
                out[start + i] = (weights[..., None] * batch.value[senders][allowed] * b[rows][allowed]).sum(0)
        start, row = start + n, row + n * n
    return out
