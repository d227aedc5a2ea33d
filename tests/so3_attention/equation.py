"""The equation of SO(3) attention as loops over atoms and paths, with formulas of its own but for the Clebsch-Gordan
coefficients: the natural PyTorch code for one molecule, in the dtype of the batch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ditkernels.so3 import clebsch_gordan
from tests.so3_attention.cases import Batch


def read(irreps: str) -> list[tuple[int, int, slice]]:
    """(degree, parity or 0, components) of each irrep."""
    result, start = [], 0
    for text in irreps.split():
        degree, parity = int(text[0]), {"+": 1, "-": -1, "": 0}[text[1:]]
        result.append((degree, parity, slice(start, start + 2 * degree + 1)))
        start += 2 * degree + 1
    return result


def coupled(values: str, outputs: str, degrees: int) -> list[tuple[int, int, int]]:
    """The paths (filter degree, value irrep, output irrep): angular momenta and parities multiply."""
    return [
        (degree, x, o)
        for o, (lo, po, _) in enumerate(read(outputs))
        for degree in range(degrees)
        for x, (lx, px, _) in enumerate(read(values))
        if lo in range(abs(lx - degree), lx + degree + 1) and (po == px * (1 if degree % 2 == 0 else -1))
    ]


def lengths_and_directions(delta: Tensor) -> tuple[Tensor, Tensor]:
    """r (n) and delta / r (n, 3); where r = 0 both are 0 and have no gradient."""
    apart = (delta != 0).any(-1)
    r = torch.where(apart[:, None], delta, 1.0).norm(dim=-1)
    return torch.where(apart, r, 0.0), torch.where(apart[:, None], delta / r[:, None], 0.0)


def harmonics(direction: Tensor) -> list[Tensor]:
    """Y_0, Y_1 and Y_2 of unit vectors (n, 3), with sum_M Y_JM^2 = 1."""
    x, y, z = direction.unbind(-1)
    second = (math.sqrt(3) / 2 * (x**2 - y**2), math.sqrt(3) * x * y, math.sqrt(3) * x * z, math.sqrt(3) * y * z)
    return [torch.ones_like(x)[:, None], direction, torch.stack([*second, z**2 - (x**2 + y**2) / 2], -1)]


def functions(kind: str, r: Tensor, count: int, cutoff: float | None) -> Tensor:
    """phi_k(r) of distances (n): (n, K)."""
    if kind == "bernstein":
        terms = [math.comb(count - 1, k) * r**k / (1 + r) ** (count - 1) for k in range(count)]
    elif kind == "gaussian":
        spacing = cutoff / (count - 1)
        terms = [torch.exp(-((r - k * spacing) ** 2) / (2 * spacing**2)) for k in range(count)]
    else:  # sin(pi x) / (pi x) with its limit at 0 is torch.sinc
        terms = [math.sqrt(2 / cutoff) * k * math.pi / cutoff * torch.sinc(k * r / cutoff) for k in range(1, count + 1)]
    return torch.stack(terms, -1)


def radial_weights(batch: Batch, r: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
    """a (n, A, C) and g (n, J, C) of pairs with the distances r (n)."""
    radial = batch.radial
    if radial.form == "dense":
        return radial.a[rows], radial.g[rows]
    count, degrees = radial.weight_g.shape[:2]
    phi = functions(radial.kind, r, count, radial.cutoff).to(radial.weight_a.dtype)
    rho = [phi] * degrees
    if radial.index is not None:
        rho = [phi * radial.scaling[radial.index[rows].long(), degree] for degree in range(degrees)]
    a = torch.stack([rho[0] @ radial.weight_a[:, x] for x in range(radial.weight_a.shape[1])], 1)
    return a, torch.stack([rho[degree] @ radial.weight_g[:, degree] for degree in range(degrees)], 1)


def receiver(batch: Batch, i: int, senders: slice, rows: slice, pairs: tuple, scale: float, allowed: Tensor) -> Tensor:
    """The output (Mo, C) of receiver i; pairs: a, g and the harmonics of its pairs, allowed (n) bool."""
    heads, width = batch.query.shape[-2:]
    qk, values, outputs = map(read, batch.irreps)
    a, g, y = pairs
    query, key, value = (x.flatten(-2) for x in (batch.query[i], batch.key[senders], batch.value[senders]))
    sums = [torch.zeros(2 * lo + 1, heads * width, dtype=query.dtype) for lo, _, _ in outputs]
    if not allowed.any():
        return torch.cat(sums)
    products = sum((query[part] * key[:, part]).sum(1) * a[:, x] for x, (_, _, part) in enumerate(qk))
    logits = scale * products.unflatten(-1, (heads, width)).sum(-1)  # (n, H)
    if batch.bias is not None:
        logits = logits + batch.bias[rows]
    weights = (logits[allowed] - logits[allowed].detach().amax(0)).exp()
    if batch.cutoff is not None:
        weights = weights * batch.cutoff[rows][allowed, None]
    p = (weights / weights.sum(0)).repeat_interleave(width, -1)  # (allowed, C)
    steps = coupled(*batch.irreps[1:], g.shape[1])
    for w, (degree, x, o) in zip(batch.path_weight, steps, strict=True):
        lx, _, part = values[x]
        tensor = clebsch_gordan(degree, lx, outputs[o][0], dtype=query.dtype)
        turn = torch.einsum("jM,Mnm->jnm", y[degree][allowed], tensor)
        message = torch.einsum("jnm,jnc->jmc", turn, value[allowed][:, part])
        sums[o] = sums[o] + w * ((p * g[allowed, degree])[:, None] * message).sum(0)
    return torch.cat(sums)


def equation(batch: Batch, scale: float | None = None, exclude_self: bool = False) -> Tensor:
    """Eqs. 18-19, receiver by receiver."""
    tokens, components, heads, width = batch.query.shape
    scale = (components * width) ** -0.5 if scale is None else scale
    out, start, row = [], 0, 0
    for n in batch.sizes:
        senders, block = slice(start, start + n), slice(row, row + n * n)
        positions = batch.positions[senders]
        r, direction = lengths_and_directions((positions[None, :] - positions[:, None]).flatten(0, 1))
        a, g = radial_weights(batch, r, block)
        y = [part.to(g.dtype) for part in harmonics(direction)]
        allowed = torch.ones(n * n, dtype=torch.bool) if batch.mask is None else batch.mask[block].clone()
        if exclude_self:
            allowed[:: n + 1] = False
        if batch.cutoff is not None:
            allowed &= batch.cutoff[block] > 0
        for i in range(n):
            own = slice(i * n, (i + 1) * n)
            pairs = (a[own], g[own], [part[own] for part in y])
            rows = slice(row + i * n, row + (i + 1) * n)
            out.append(receiver(batch, start + i, senders, rows, pairs, scale, allowed[own]))
        start, row = start + n, row + n * n
    return torch.stack(out).unflatten(-1, (heads, width))
