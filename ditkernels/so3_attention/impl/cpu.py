"""SO(3) attention on the CPU: native kernels (csrc/cpu/so3_attention), any float dtype, all cores.

    logit_ij^h    = scale * sum_{(x,m), c in h} q_i,xm,c k_j,xm,c a_ij,x,c  (+ bias_ij^h)
    out_i,(o,m),c = sum_j p_ij^{h(c)} sum_paths (J,x,o) w_path,c g_ij,J,c
                    sum_{M,n} CG[J,x,o]_{M n m} Y_JM(r_j - r_i) v_j,(x,n),c

Senders come in tiles, joined by a running softmax. Since the path weights do not depend on the sender, the kernels sum
p g_J Y_JM v_n over senders first and contract with CG once per receiver. In the basis form the radial functions and
their projections, over the band of functions that are not negligible at a distance, are made tile by tile, once for
both directions of a pair where a whole molecule is one piece of work, so that no tensor of pairs exists beside the
index. Work is split by (molecule, receivers: up to 256 in the basis form, 128 else), which depends on shapes only, so
results do not depend on the number of threads; shared gradients are added per group of neighbouring items, then over
the groups. There are no atomics: equal bits in every run. The backward recomputes p from lse.

Elements moved per pair from and to memory, C = H * D, A irreps of queries, J filter degrees (tokens and weights stay in
cache):

                  forward               backward
    dense         (A + J) C read        as much read and as much written
    basis         1 index               1 index

Token tensors, weights and tables of half precision are widened to float32 here, rows of a and g by the kernels,
receiver by receiver.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from ditkernels.attention.native import computed, has_padding, num_pairs, unsupported, widen
from ditkernels.so3 import RADIAL_BASES
from ditkernels.so3_attention.spec import spec

__all__ = ["backward", "forward", "unsupported"]

FIELDS = {
    "dense": ("positions", "path_weight", "a", "g"),
    "basis": ("positions", "path_weight", "weight_a", "weight_g", "index", "scaling"),
}
# Arguments of the native operators, in their order.
ARGUMENTS = ("positions", "path_weight", "a", "g", "weight_a", "weight_g", "index", "scaling")
GRADIENTS = ("positions", "path_weight", "a", "g", "weight_a", "weight_g", "scaling")
PER_PAIR = ("a", "g", "index")
SUMS = ("path_weight", "weight_a", "weight_g", "scaling")  # the kernels add to their gradients


def forward(
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
) -> tuple[Tensor, Tensor]:
    """out (T, Mo, H, D) in the dtype of q, and lse (T, H) in the compute dtype (float32, or float64 for float64)."""
    tokens = tuple(map(widen, (q, k, v)))
    named = computed(dict(zip(FIELDS[form], fields, strict=True)), PER_PAIR)
    components = spec(irreps, _filter_degrees(named)).dims[2]
    out = tokens[0].new_empty(q.shape[0], components, *q.shape[2:])
    lse = out.new_empty(q.shape[0], q.shape[2])
    if has_padding(q, lengths):
        out.zero_()
        lse.fill_(-torch.inf)
    torch.ops.ditkernels_native.so3_attention_forward(
        *tokens,
        *map(named.get, ARGUMENTS),
        offsets,
        lengths,
        pair_offsets,
        pair_stride,
        num_pairs(named, PER_PAIR, mask, bias),
        mask,
        bias,
        scale,
        exclude_self,
        _irreps(irreps, _filter_degrees(named)),
        _kind(kind),
        cutoff,
        out,
        lse,
    )
    return out.to(q.dtype), lse


def backward(
    form: str,
    grad_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
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
    needs: tuple[bool, ...],
) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor | None, ...], Tensor | None]:
    """Gradients of q, k, v, of each field that ``needs`` asks for, and of the bias, in their dtypes."""
    tokens = tuple(map(widen, (q, k, v)))
    named = computed(dict(zip(FIELDS[form], fields, strict=True)), PER_PAIR)
    padding = has_padding(q, lengths)
    new = torch.zeros_like if padding else torch.empty_like
    d_tokens = tuple(map(new, tokens))
    wanted = [name for name, need in zip(FIELDS[form], needs) if need and named[name] is not None]
    grads = {name: (torch.zeros_like if name in SUMS else new)(named[name]) for name in wanted}
    d_bias = torch.zeros_like(bias) if needs[-1] and bias is not None else None
    torch.ops.ditkernels_native.so3_attention_backward(
        widen(grad_out),
        *tokens,
        widen(out),
        lse,
        *map(named.get, ARGUMENTS),
        offsets,
        lengths,
        pair_offsets,
        pair_stride,
        num_pairs(named, PER_PAIR, mask, bias),
        mask,
        bias,
        scale,
        exclude_self,
        _irreps(irreps, _filter_degrees(named)),
        _kind(kind),
        cutoff,
        *d_tokens,
        *map(grads.get, GRADIENTS),
        d_bias,
    )
    given = zip(FIELDS[form], fields, strict=True)
    d_fields = tuple(grads[name].to(x.dtype) if name in grads else None for name, x in given)
    return *(x.to(q.dtype) for x in d_tokens), d_fields, d_bias


@cache
def _irreps(irreps: str, filter_degrees: int) -> Tensor:
    """The irreps as the native operators take them: sizes, degrees, paths."""
    lists = spec(irreps, filter_degrees)
    sizes = [*map(len, lists.degrees), filter_degrees, len(lists.steps)]
    numbers = (sizes, *lists.degrees, *lists.steps)
    return torch.tensor([number for part in numbers for number in part], dtype=torch.int64)


def _kind(kind: str) -> int:
    return RADIAL_BASES.index(kind) if kind else 0


def _filter_degrees(named: dict[str, Tensor | None]) -> int:
    return (named["g"] if "g" in named else named["weight_g"]).shape[1]
