"""Launches the Triton kernels of SO(3) attention.

    logit_ij^h    = scale * sum_{(x,m), c in h} q_i,xm,c k_j,xm,c a_ij,x,c  (+ bias_ij^h)
    out_i,(o,m),c = sum_j p_ij^{h(c)} sum_paths (J,x,o) w_path,c g_ij,J,c
                    sum_{M,n} CG[J,x,o]_{M n m} Y_JM(r_j - r_i) v_j,(x,n),c

Forward: 2 launches (schedule, forward). Backward: 4 (schedule, rows, keys, values), with 8 components of queries or
more in the basis form one more for the queries, and one more schedule for every other size of tiles, 2 at most; and

    bias                    a cast
    a, or weight_a          one launch per irrep of the queries, and a sum of partials for weight_a
    g, or weight_g          one launch per filter degree, and a sum of partials for weight_g
    path_weight             in the launches of g, and a sum of partials
    scaling                 the sort of the pairs by table row (10 small launches of PyTorch), then for each filter
                            degree one launch and one that sums its chunks
    positions               one launch per filter degree, and 2 more

Elements moved per pair from and to memory, C = H * D, A irreps of queries, J filter degrees (tokens, weights and tables
stay in the caches; the backward keeps p and the gradients of the logits, H each in float32, and the list of pairs):

                  forward               backward
    dense         (A + J) C read        (2 A + 3 J) C read, (A + J) C written
    basis         1 index               1 index, read a few times

Nothing else grows with the number of pairs. There are no atomics, and nothing depends on the device's load: equal bits
in every run.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ditkernels.so3_attention.impl.triton import rules
from ditkernels.so3_attention.impl.triton.backward_kernels import rows_kernel, tokens_kernel, values_kernel
from ditkernels.so3_attention.impl.triton.call import FIELDS, Call
from ditkernels.so3_attention.impl.triton.forward_kernel import forward_kernel
from ditkernels.so3_attention.impl.triton.pair_list import PairList, shared_gradients
from ditkernels.triton.launch import launch
from ditkernels.triton.schedule import Batch


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
    """out (T, Mo, H, D) in the dtype of q, and lse (T, H) float32."""
    batch = Batch(offsets, lengths, pair_offsets, pair_stride, q.shape[0])
    call = Call(form, q, fields, batch, scale, irreps, kind, cutoff)
    out = q.new_empty(q.shape[0], call.couplings.outputs, *q.shape[2:])
    lse = q.new_empty(q.shape[0], call.heads, dtype=torch.float32)
    config = call.config("forward")
    tiles = batch.tiles(config.receivers)
    launch(
        forward_kernel,
        (tiles.capacity * call.groups(config),),
        config,
        query=q,
        key=k,
        value=v,
        **call.pointers,
        mask=mask,
        bias=bias,
        out=out,
        lse=lse,
        **tiles.arguments,
        **batch.arguments,
        scale=scale,
        INTO=call.couplings.into,
        **call.values,
        **call.queries,
        EXCLUDE_SELF=exclude_self,
        RECEIVERS=config.receivers,
        SENDERS=config.senders,
        **call.sizes(config),
        **call.radial,
    )
    return out, lse


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
    batch = Batch(offsets, lengths, pair_offsets, pair_stride, q.shape[0])
    call = Call(form, q, fields, batch, scale, irreps, kind, cutoff)
    *field_needs, bias_need = needs
    given = zip(FIELDS[form], field_needs, strict=True)
    wanted = {name for name, need in given if need and call.fields[name] is not None}
    num_pairs = batch.pairs(call.fields.get("a"), call.fields.get("index"), mask, bias)
    weights, d_logits = (q.new_empty(num_pairs, call.heads, dtype=torch.float32) for _ in range(2))
    receivers, senders = (q.new_empty(num_pairs, dtype=torch.int32) for _ in range(2))
    dq, dk, dv = (torch.empty_like(x) for x in (q, k, v))

    # float32 products, and 16 bytes of every row to a thread, leave no registers for all path weights; on AMD GPUs
    # scalar registers would get short instead.
    wide = form == "dense" and call.components <= rules.FEW
    late = (q.dtype == torch.float32 or wide) and not batch.architecture.startswith("gfx")
    # With many components a program has no registers left for sums of as many.
    apart = form == "basis" and q.shape[1] >= 8
    config = call.config("rows")
    tiles = {config.receivers: batch.tiles(config.receivers)}
    launch(
        rows_kernel,
        (tiles[config.receivers].capacity * call.groups(config),),
        config,
        query=q,
        key=k,
        value=v,
        out=out,
        lse=lse,
        grad_out=grad_out,
        **call.pointers,
        mask=mask,
        bias=bias,
        d_query=None if apart else dq,
        LATE=late,
        weights=weights,
        d_logits=d_logits,
        receivers=receivers,
        senders=senders,
        **tiles[config.receivers].arguments,
        **batch.arguments,
        scale=scale,
        INTO=call.couplings.into,
        **call.values,
        **call.queries,
        EXCLUDE_SELF=exclude_self,
        RECEIVERS=config.receivers,
        SENDERS=config.senders,
        **call.sizes(config),
        **call.radial,
    )
    basis = ("positions", "index", "scaling", "logarithms")
    of_logits = {"d_logits": d_logits, "scale": scale, **call.queries, **call.some(*basis, "a", "weight_a")}
    of_values = {"grad_out": grad_out, "d_value": dv, "weights": weights, "OUT_OF": call.couplings.out_of}
    kernels = [
        ("tokens", tokens_kernel, {"others": q, "d_own": dk, "OF_QUERIES": False, **of_logits}),
        ("values", values_kernel, {**of_values, **call.values, **call.some(*basis, "g", "weight_g", "path_weight")}),
    ]
    if apart:
        kernels.append(("tokens", tokens_kernel, {"others": k, "d_own": dq, "OF_QUERIES": True, **of_logits}))
    for name, kernel, own in kernels:
        config = call.config(name)
        block = config.receivers if own.get("OF_QUERIES") else config.senders
        if block not in tiles:
            tiles[block] = batch.tiles(block)
        launch(
            kernel,
            (tiles[block].capacity * call.groups(config),),
            config,
            **own,
            mask=mask,
            **tiles[block].arguments,
            **batch.arguments,
            EXCLUDE_SELF=exclude_self,
            RECEIVERS=config.receivers,
            SENDERS=config.senders,
            **call.sizes(config),
            **call.radial,
        )
    grads = shared_gradients(call, PairList(q, k, v, grad_out, weights, d_logits, receivers, senders), wanted)
    d_fields = tuple(grads.get(name) for name in FIELDS[form])
    return dq, dk, dv, d_fields, d_logits.to(bias.dtype) if bias_need and bias is not None else None
