"""The public function of pair attention: arguments checked, layout made, implementation chosen."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ditkernels.pair_attention import checks, ops
from ditkernels.pair_attention.descriptors import FORMS, PairDescriptor, tensors
from ditkernels.pair_attention.impl import BACKENDS, reference


def select_impl(device: torch.device | str, dtype: torch.dtype, form: str) -> str:
    """The implementation that impl="auto" uses: a pure function of device, dtype and form ("dense", "table", ...)."""
    device = torch.device(device)
    for name, backend in BACKENDS.items():
        if backend.unsupported(form, device, dtype) is None:
            return name
    return "reference"


def available_impls(device: torch.device | str, dtype: torch.dtype = torch.float32) -> list[str]:
    """The implementations that run every form on this device: the reference, and the back-ends that work here."""
    device = torch.device(device)
    working = (n for n, b in BACKENDS.items() if all(b.unsupported(form, device, dtype) is None for form in FORMS))
    return ["reference", *working]


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
    bias: (P, H) or (B, N, N, H), dtype of query or float32, differentiable; the logarithm of a multiplicative cutoff
        goes here
    scale: factor of the logits, 1/sqrt(D) by default
    exclude_self: leave out j = i
    impl: "auto" (see :func:`select_impl`), "reference" or the name of a back-end; an explicit choice works or raises,
        it never falls back
    check: also compare the values of cu_seqlens, lengths and index with their ranges (waits for the device)

    Returns a tensor like query. Differentiable twice in every floating tensor; a third time with impl="reference".
    Raises ValueError for a bad argument, RuntimeError where the chosen implementation cannot run.
    """
    query, key, value, pair = checks.autocast(query, key, value, pair)
    checks.arguments(query, key, value, pair, cu_seqlens, lengths, mask, bias, impl)
    layout = checks.layout(query, pair, cu_seqlens, lengths, mask, bias, check)
    form = pair.form
    if scale is None:
        scale = 1.0 / math.sqrt(query.shape[-1])
    if impl == "auto":
        impl = select_impl(query.device, query.dtype, form)
    elif impl != "reference":
        reason = BACKENDS[impl].unsupported(form, query.device, query.dtype)
        if reason is not None:
            raise RuntimeError(
                f"impl={impl!r} cannot run pair_attention ({form}, {query.device.type}, {query.dtype}): {reason}"
            )

    tokens = [_flat(x, query, "T") for x in (query, key, value)]
    flat_pair = tuple(_flat(x, query, field.shape[0]) for x, field in zip(tensors(pair), FORMS[form], strict=True))
    places = (layout.offsets, layout.lengths, layout.pair_offsets, layout.pair_stride)
    options = (_flat(mask, query, "P"), _flat(bias, query, "P"), float(scale), bool(exclude_self))
    if impl == "reference":
        with checks.autocast_off(query.device):
            out, _ = reference.attention(form, *tokens, flat_pair, *places, *options, full=layout.full)
    else:
        out, _ = ops.OPERATORS[form](*tokens, *flat_pair, *places, *options, impl)
    return out.reshape(query.shape)


def _flat(x: Tensor | None, query: Tensor, rows: str | int) -> Tensor | None:
    """x with one leading axis for tokens ("T") or pairs ("P"); pair tensors are contiguous, so theirs is a view."""
    if x is None:
        return None
    if query.dim() == 4 and rows in ("T", "P"):
        x = x.flatten(0, 1 if rows == "T" else 2)
    return x if rows == "P" else x.contiguous()
