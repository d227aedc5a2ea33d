"""SO(3) attention in plain PyTorch: this file defines what every other implementation computes.

    logit_ij^h    = scale * sum_{(x,m), c in h} q_i,xm,c k_j,xm,c a_ij,x,c  (+ bias_ij^h)
    p_ij^h        = softmax over the allowed senders j of logit_ij^h
    out_i,(o,m),c = sum_j p_ij^{h(c)} sum_paths (J,x,o) w_path,c g_ij,J,c
                    sum_{M,n} CG[J,x,o]_{M n m} Y_JM(r_j - r_i) v_j,(x,n),c

(arXiv 2506.15378, eqs. 18-19, with two radial weights a and g.) Differentiable to any order, any floating dtype; half
precision is computed in float32 and rounded once. A receiver without an allowed sender has output 0 and no gradient.
Coincident atoms have no direction: Y_J is 0 for J > 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ditkernels.attention.pairs import Pairs, allowed_rows, arrange, forbid, softmax
from ditkernels.so3 import clebsch_gordan, radial_basis, spherical_harmonics
from ditkernels.so3_attention.spec import degrees_of, spec

PAIR_ROWS = {"dense": 2, "basis": 4}  # the field that has one row per pair
FILTER = 3  # the field whose second axis counts the filter degrees


def radial_weights(
    form: str,
    fields: tuple[Tensor | None, ...],
    distance: Tensor,
    kind: str,
    cutoff: float,
    pairs: Pairs,
    allowed: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """a (*pairs, A, C) and g (*pairs, J, C) of every pair, where (*pairs) is (B, N, N) or (P,).

    distance: (*pairs)
    allowed: bool (*pairs), the rows of pair tensors that may be read; None = all
    """
    if form == "dense":
        return allowed_rows(fields[2], pairs, allowed), allowed_rows(fields[3], pairs, allowed)
    if form == "basis":
        _, _, weight_a, weight_g, index, scaling = fields
        rho = radial_basis(kind, distance, weight_a.shape[0], cutoff).unsqueeze(-2)  # (*pairs, 1, K)
        if index is None:
            rho = rho.expand(*rho.shape[:-2], weight_g.shape[1], rho.shape[-1])
        else:
            rho = rho * scaling[allowed_rows(index, pairs, allowed).long()]  # (*pairs, J, K)
        a = torch.einsum("...k,kac->...ac", rho[..., 0, :], weight_a)
        return a, torch.einsum("...jk,kjc->...jc", rho, weight_g)
    raise ValueError(f"form must be 'dense' or 'basis', got {form!r}")


def attention(
    form: str,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    fields: tuple[Tensor | None, ...],
    offsets: Tensor,
    lengths: Tensor,
    pair_offsets: Tensor,
    pair_stride: int,
    mask: Tensor | None,
    bias: Tensor | None,
    scale: float,
    exclude_self: bool,
    irreps: str,
    kind: str,
    cutoff: float,
    full: bool = False,
) -> tuple[Tensor, Tensor]:
    """SO(3) attention on the flat layout of :mod:`ditkernels.layout`.

    q, k: (T, Mq, H, D), v: (T, Mv, H, D)
    fields: positions (T, 3), path_weight (W, C), then the tensors of the radial descriptor
    mask: (P,) bool or None; bias: (P, H) or None
    irreps: "qk|v|out", see :mod:`ditkernels.so3_attention.spec`
    kind, cutoff: of the radial basis
    full: the caller knows that a padded batch has no padding

    Returns out (T, Mo, H, D) in the dtype of q, and without gradient the logarithm of the softmax denominators, lse (T,
    H), in the accumulation dtype (-inf for a receiver without an allowed sender).
    """
    num_tokens, _, heads, width = q.shape
    given_dtype = q.dtype
    dtype = torch.float64 if given_dtype == torch.float64 else torch.float32
    of_pairs = next((x for x in (fields[PAIR_ROWS[form]], mask, bias) if x is not None), None)
    num_pairs = None if of_pairs is None else of_pairs.shape[0]
    pairs, allowed = arrange(num_tokens, num_pairs, offsets, lengths, pair_offsets, pair_stride, full)

    fields = tuple(x.to(dtype) if x is not None and x.is_floating_point() else x for x in fields)
    positions, path_weight = fields[:2]
    q, k, v = (x.to(dtype).flatten(2) for x in (q, k, v))  # (T, M, C)
    if allowed is not None:
        # (T, 1): an atom is in one molecule with itself unless it is padding
        inside = allowed.diagonal(dim1=1, dim2=2).reshape(-1, 1)
        q, k, v = (torch.where(inside[..., None], x, 0.0) for x in (q, k, v))
        positions = torch.where(inside, positions, 0.0)
    allowed = forbid(pairs, allowed, mask, exclude_self, num_tokens, q.device)

    filter_degrees = degrees_of(fields[FILTER].shape[1])
    lists = spec(irreps, filter_degrees)
    delta = pairs.sender(positions) - pairs.receiver(positions)  # (*pairs, 3)
    square = delta.square().sum(-1)
    apart = square > 0
    distance = torch.where(apart, torch.where(apart, square, 1.0).sqrt(), 0.0)
    harmonics = spherical_harmonics(delta, filter_degrees)  # (*pairs, J * J)
    a, g = radial_weights(form, fields, distance, kind, cutoff, pairs, allowed)

    a = a[..., list(lists.repeats), :]  # (*pairs, Mq, C)
    products = (pairs.receiver(q * scale) * a * pairs.sender(k)).sum(-2)  # (*pairs, C)
    logits = products.unflatten(-1, (heads, width)).sum(-1)
    if bias is not None:
        logits = logits + pairs.pair(bias).to(dtype)
    weights, total, lse = softmax(pairs, logits, allowed)

    p = weights.repeat_interleave(width, dim=-1)  # (*pairs, C)
    total = total.repeat_interleave(width, dim=-1)  # (T, C)
    _, value_degrees, output_degrees = lists.degrees
    out = [q.new_zeros(num_tokens, 2 * degree + 1, heads * width) for degree in output_degrees]
    for w, (degree, x, o) in zip(path_weight, lists.steps, strict=True):
        coupling = clebsch_gordan(degree, value_degrees[x], output_degrees[o], dtype, q.device)
        value = v[:, lists.starts[x] : lists.starts[x] + 2 * value_degrees[x] + 1]
        y = harmonics[..., degree**2 : (degree + 1) ** 2]
        turned = torch.einsum("...nm,...nc->...mc", torch.einsum("...M,Mnm->...nm", y, coupling), pairs.sender(value))
        message = (p * g[..., degree, :]).unsqueeze(-2) * turned
        out[o] = out[o] + w * pairs.sum(message) / total.unsqueeze(-2)
    return torch.cat(out, dim=1).unflatten(-1, (heads, width)).to(given_dtype), lse
