"""The public function of SO(3) attention: arguments checked, layout made, implementation chosen."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ditkernels.attention import cutoff as cutoffs
from ditkernels.attention import selection
from ditkernels.attention.checks import autocast_dtype, autocast_features, autocast_off, cast
from ditkernels.attention.flat import flat
from ditkernels.so3 import Irreps
from ditkernels.so3_attention import checks, ops
from ditkernels.so3_attention.descriptors import COMMON, FORMS, RadialDescriptor, tensors
from ditkernels.so3_attention.impl import BACKENDS, reference


def select_impl(device: torch.device | str, dtype: torch.dtype, form: str) -> str:
    """The implementation that impl="auto" uses: a pure function of device, dtype and form ("dense" or "basis")."""
    return selection.automatic(BACKENDS, form, device, dtype)


def available_impls(device: torch.device | str, dtype: torch.dtype = torch.float32) -> list[str]:
    """The implementations that run every form on this device: the reference, and the back-ends that work here."""
    return selection.available(BACKENDS, FORMS, device, dtype)


def so3_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    positions: Tensor,
    path_weight: Tensor,
    radial: RadialDescriptor,
    *,
    irreps_qk: Irreps | str,
    irreps_v: Irreps | str | None = None,
    irreps_out: Irreps | str | None = None,
    cu_seqlens: Tensor | None = None,
    lengths: Tensor | None = None,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    cutoff: Tensor | None = None,
    scale: float | None = None,
    exclude_self: bool = False,
    impl: str = "auto",
    check: bool = False,
) -> Tensor:
    """Rotation-equivariant attention: invariant weights, values coupled with the direction from receiver to sender.

        logit_ij^h    = scale * sum_{(x,m), c in h} q_i,xm,c k_j,xm,c a_ij,x,c  (+ bias_ij^h)
        p_ij^h        = softmax over the allowed senders j of logit_ij^h
        out_i,(o,m),c = sum_j p_ij^{h(c)} sum_paths (J,x,o) w_path,c g_ij,J,c
                        sum_{M,n} CG[J,x,o]_{M n m} Y_JM(r_j - r_i) v_j,(x,n),c

    (arXiv 2506.15378, eqs. 18-19.) x runs over the irreps of a list, m, n and M over components, c over channels. The
    conventions of Y and CG are those of :mod:`ditkernels.so3`. The paths are :func:`ditkernels.so3.paths` of value and
    output irreps with the filter degrees J that g has: all that angular momentum (and parity, where irreps are
    labelled) allow. Half precision is accumulated in float32. A receiver without an allowed sender (also: padding) has
    output 0 and gradients 0. A pair at distance 0 has no direction: its terms with J > 0 are 0.

    Two batch layouts, as in :func:`ditkernels.pair_attention.pair_attention`: *ragged* with ``cu_seqlens``, and
    *padded* with (B, N) in place of T and (B, N, N) in place of P.

    query, key: (T, Mq, H, D), float16, bfloat16, float32 or float64; Mq components of irreps_qk, C = H * D channels
    value: (T, Mv, H, D), dtype of query
    positions: (T, 3), float32 (float64 for float64 tokens)
    path_weight: (number of paths, C), dtype of query
    radial: DenseRadial or RadialBasis, which give a and g
    irreps_qk, irreps_v, irreps_out: Irreps or text such as "0+ 1- 2+"; irreps_qk by default
    cu_seqlens: (B+1,) int32 or int64, from 0 to T; ragged only
    lengths: (B,) int32 or int64, at most N; padded only
    mask: bool (P,) or (B, N, N), True = allowed
    bias: (P, H) or (B, N, N, H), dtype of query or float32, differentiable
    cutoff: (P,) or (B, N, N), dtype of query or float32, differentiable; factor >= 0 of the softmax weights, which
        enters as its logarithm; 0 forbids the pair
    scale: factor of the logits, 1/sqrt(Mq * D) by default
    exclude_self: leave out j = i
    impl: "auto" (see :func:`select_impl`), "reference" or the name of a back-end; an explicit choice works or raises,
        it never falls back
    check: also compare the values of cu_seqlens, lengths and index with their ranges (waits for the device)

    Returns (T, Mo, H, D), dtype of query. Differentiable twice in every floating tensor, positions included; a third
    time with impl="reference". Raises ValueError for a bad argument, RuntimeError where the chosen implementation
    cannot run.
    """
    form = checks.form(radial)
    if isinstance(query, Tensor) and (dtype := autocast_dtype(query.device)) is not None:
        query, key, value, path_weight = (cast(x, dtype) for x in (query, key, value, path_weight))
        radial = autocast_features(query.device, radial, FORMS[form][len(COMMON) :])
    irreps = checks.irreps(irreps_qk, irreps_v, irreps_out)
    checks.arguments(
        query, key, value, positions, path_weight, radial, irreps, cu_seqlens, lengths, mask, bias, cutoff, impl
    )
    mask, bias = cutoffs.apply(cutoff, mask, bias, heads=query.shape[-2])
    layout = checks.layout(query, radial, cu_seqlens, lengths, mask, bias, check)
    if scale is None:
        scale = 1.0 / math.sqrt(query.shape[-3] * query.shape[-1])
    impl = selection.chosen(impl, "so3_attention", BACKENDS, form, query.device, query.dtype)

    padded, fields = query.dim() == 5, FORMS[form]
    flat_tokens = [flat(x, "T", padded) for x in (query, key, value)]
    given = (positions, path_weight, *tensors(radial))
    flat_fields = tuple(flat(x, field.rows, padded) for x, field in zip(given, fields, strict=True))
    places = (layout.offsets, layout.lengths, layout.pair_offsets, layout.pair_stride)
    options = (flat(mask, "P", padded), flat(bias, "P", padded))
    statics = (float(scale), bool(exclude_self), irreps, radial.kind, float(radial.cutoff or 0.0))
    if impl == "reference":
        with autocast_off(query.device):
            out, _ = reference.attention(form, *flat_tokens, flat_fields, *places, *options, *statics, full=layout.full)
    else:
        out, _ = ops.OPERATORS[form](*flat_tokens, *flat_fields, *places, *options, *statics, impl)
    return out.reshape(*query.shape[:-3], *out.shape[1:])
