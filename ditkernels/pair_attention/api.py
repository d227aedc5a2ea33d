"""The public function of pair attention: arguments checked, layout made, implementation chosen."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ditkernels.attention import cutoff as cutoffs
from ditkernels.attention import selection
from ditkernels.attention.checks import autocast_dtype, autocast_features, autocast_off, cast
from ditkernels.attention.flat import flat
from ditkernels.pair_attention import checks, ops
from ditkernels.pair_attention.descriptors import FORMS, PairDescriptor, tensors
from ditkernels.pair_attention.impl import BACKENDS, reference


def select_impl(device: torch.device | str, dtype: torch.dtype, form: str) -> str:
    """The implementation that impl="auto" uses: a pure function of device, dtype and form ("dense", "table", ...)."""
    return selection.automatic(BACKENDS, form, device, dtype)


def available_impls(device: torch.device | str, dtype: torch.dtype = torch.float32) -> list[str]:
    """The implementations that run every form on this device: the reference, and the back-ends that work here."""
    return selection.available(BACKENDS, FORMS, device, dtype)


def pair_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    pair: PairDescriptor,
    *,
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
    """Attention in which every channel of the logits and of the values is modulated per pair of atoms:

        logit_ij^h = scale * sum_{c in h} q_ic k_jc a_ij,c  (+ bias_ij^h)
        p_ij^h     = softmax over the allowed senders j of logit_ij^h
        out_ic     = sum_j p_ij^{h(c)} v_jc b_ij,c

    for a receiver i and the senders j of the same molecule (arXiv 2506.15378, eqs. 15-16). The modulations a and b are
    given by a pair descriptor. Half precision is accumulated in float32. A receiver without an allowed sender (also:
    padding) has output 0 and gradients 0.

    Two batch layouts. *Ragged*: query (T, H, D) holds the atoms of all molecules, ``cu_seqlens`` their boundaries; pair
    tensors have P = sum n_b^2 rows, molecule after molecule, receiver-major. *Padded*: query (B, N, H, D), pair tensors
    (B, N, N, ...), and optionally ``lengths``; padded pair tensors are viewed, never copied.

    query, key, value: (T, H, D) or (B, N, H, D), float16, bfloat16, float32 or float64; C = H * D channels, head-major
    pair: DensePair, TablePair, ProjectedPair or DisplacementPair
    cu_seqlens: (B+1,) int32 or int64, from 0 to T; ragged only
    lengths: (B,) int32 or int64, at most N; padded only
    mask: bool (P,) or (B, N, N), True = allowed
    bias: (P, H) or (B, N, N, H), dtype of query or float32, differentiable
    cutoff: (P,) or (B, N, N), dtype of query or float32, differentiable; factor >= 0 of the softmax weights, which
        enters as its logarithm; 0 forbids the pair
    scale: factor of the logits, 1/sqrt(D) by default
    exclude_self: leave out j = i
    impl: "auto" (see :func:`select_impl`), "reference" or the name of a back-end; an explicit choice works or raises,
        it never falls back
    check: also compare the values of cu_seqlens, lengths and index with their ranges (waits for the device)

    Returns a tensor like query. Differentiable twice in every floating tensor; a third time with impl="reference".
    Raises ValueError for a bad argument, RuntimeError where the chosen implementation cannot run.
    """
    form = checks.form(pair)
    if isinstance(query, Tensor) and (dtype := autocast_dtype(query.device)) is not None:
        query, key, value = (cast(x, dtype) for x in (query, key, value))
        pair = autocast_features(query.device, pair, FORMS[form])
    checks.arguments(query, key, value, pair, cu_seqlens, lengths, mask, bias, cutoff, impl)
    mask, bias = cutoffs.apply(cutoff, mask, bias, heads=query.shape[-2])
    layout = checks.layout(query, pair, cu_seqlens, lengths, mask, bias, check)
    if scale is None:
        scale = 1.0 / math.sqrt(query.shape[-1])
    impl = selection.chosen(impl, "pair_attention", BACKENDS, form, query.device, query.dtype)

    padded, fields = query.dim() == 4, FORMS[form]
    flat_tokens = [flat(x, "T", padded) for x in (query, key, value)]
    flat_pair = tuple(flat(x, field.rows, padded) for x, field in zip(tensors(pair), fields, strict=True))
    places = (layout.offsets, layout.lengths, layout.pair_offsets, layout.pair_stride)
    options = (flat(mask, "P", padded), flat(bias, "P", padded), float(scale), bool(exclude_self))
    if impl == "reference":
        with autocast_off(query.device):
            out, _ = reference.attention(form, *flat_tokens, flat_pair, *places, *options, full=layout.full)
    else:
        out, _ = ops.OPERATORS[form](*flat_tokens, *flat_pair, *places, *options, impl)
    return out.reshape(query.shape)
