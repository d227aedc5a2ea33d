"""Launches the Triton kernels of pair attention.

    logit_ij^h = scale * sum_{c in h} q_ic k_jc a_ij,c (+ bias_ij^h)
    p_ij^h     = softmax over the allowed senders j
    out_ic     = sum_j p_ij^{h(c)} v_jc b_ij,c

Forward: 2 launches (schedule, forward). Backward: 3 (schedule, backward, and the sum of the queries' partials), and

    bias                        a cast
    table_a, table_b            up to 64 rows: weights, and a sum of its partials for each table; more rows: the sort
                                of the pairs by row (10 small launches of PyTorch), rows, and a sum of the chunks for
                                each table
    weight_a, weight_b          weights, and a sum of its partials for each
    e                           features
    v1, positions               features, a sum of partials for v1, and one launch for positions

Elements moved per pair from and to memory, C = H * D (tokens, tables and weights stay in the caches; H weights and as
many gradients of logits, in float32, are kept in the backward where the list of pairs needs them):

                  forward               backward
    dense         C or 2 C read         as much read and as much written
    table         1 index               1 index read twice, 2 H + 2 written and read
    projected     E read                E read twice and written, 2 H + 2 written and read
    displacement  1 index or nothing    1 index read twice, 2 H + 2 written and read

Nothing else grows with the number of pairs. There are no atomics, and nothing depends on the device's load: equal bits
in every run.
"""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from ditkernels.pair_attention.impl.triton import rules
from ditkernels.pair_attention.impl.triton.backward_kernel import backward_kernel, reduce_kernel
from ditkernels.pair_attention.impl.triton.forward_kernel import forward_kernel
from ditkernels.pair_attention.impl.triton.pair_list_kernels import features_kernel, rows_kernel, weights_kernel
from ditkernels.triton.call import KernelCall, splits
from ditkernels.triton.configs import Config
from ditkernels.triton.displacements import positions_gradient
from ditkernels.triton.launch import launch
from ditkernels.triton.schedule import Batch
from ditkernels.triton.segments import reduce_segments, segments

FIELDS = {
    "dense": ("a", "b"),
    "table": ("index", "table_a", "table_b"),
    "projected": ("e", "weight_a", "weight_b"),
    "displacement": ("positions", "v1", "weight_a", "weight_b", "index", "table_a", "table_b"),
}
POINTERS = ("a", "b", "e", "weight_a", "weight_b", "positions", "v1", "index", "table_a", "table_b")
LISTED = ("e", "weight_a", "weight_b", "positions", "v1", "table_a", "table_b")  # gradients from the list of pairs
FEW_ROWS = 64  # of a table whose gradient is a matrix product
SPLITS = 32  # at most, of sums over all pairs
COLUMNS = 64


def forward(
    form: str,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    pair: tuple[Tensor | None, ...],
    offsets: Tensor,
    lengths: Tensor,
    pair_offsets: Tensor,
    pair_stride: int,
    mask: Tensor | None,
    bias: Tensor | None,
    scale: float,
    exclude_self: bool,
) -> tuple[Tensor, Tensor]:
    """out (T, H, D) in the dtype of q, and lse (T, H) float32."""
    call = _Call(form, q, pair, Batch(offsets, lengths, pair_offsets, pair_stride, q.shape[0]), scale)
    out, lse = torch.empty_like(q), q.new_empty(q.shape[:2], dtype=torch.float32)
    config = call.config("forward")
    tiles = call.batch.tiles(config.receivers)
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
        **call.batch.arguments,
        scale=scale,
        EXCLUDE_SELF=exclude_self,
        RECEIVERS=config.receivers,
        SENDERS=config.senders,
        **call.constants(config),
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
    pair: tuple[Tensor | None, ...],
    offsets: Tensor,
    lengths: Tensor,
    pair_offsets: Tensor,
    pair_stride: int,
    mask: Tensor | None,
    bias: Tensor | None,
    scale: float,
    exclude_self: bool,
    needs: tuple[bool, ...],
) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor | None, ...], Tensor | None]:
    """Gradients of q, k, v, of every pair tensor that ``needs`` marks, and of the bias if its last entry is set."""
    batch = Batch(offsets, lengths, pair_offsets, pair_stride, q.shape[0])
    call = _Call(form, q, pair, batch, scale)
    *pair_needs, bias_need = needs
    wanted = {
        name for name, need in zip(FIELDS[form], pair_needs, strict=True) if need and call.fields[name] is not None
    }
    bias_need = bias_need and bias is not None
    per_pair = (call.fields.get("a"), call.fields.get("e"), call.fields.get("index"), mask, bias)
    num_pairs = batch.pairs(*per_pair)

    config = call.config("backward")
    tiles = batch.tiles(config.senders)
    dq, dk, dv = (torch.empty_like(x) for x in (q, k, v))
    grads = {name: torch.empty_like(call.fields[name]) for name in ("a", "b") if name in wanted}
    listed = bool(wanted & set(LISTED))
    heads = q.shape[1]
    d_logits = q.new_empty(num_pairs, heads, dtype=torch.float32) if listed or bias_need else None
    weights = q.new_empty(num_pairs, heads, dtype=torch.float32) if listed else None
    receivers, senders = (q.new_empty(num_pairs, dtype=torch.int32) if listed else None for _ in range(2))
    # A tile keeps one row per atom of its molecule: sum n^2 / S + n at most.
    rows = (
        batch.size * triton.cdiv(pair_stride, config.senders) * pair_stride or num_pairs // config.senders + q.shape[0]
    )
    partials = q.new_empty(rows, *q.shape[1:], dtype=torch.float32)
    launch(
        backward_kernel,
        (tiles.capacity * call.groups(config),),
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
        d_query=dq,
        d_key=dk,
        d_value=dv,
        d_a=grads.get("a"),
        d_b=grads.get("b"),
        partials=partials,
        weights=weights,
        d_logits=d_logits,
        receivers=receivers,
        senders=senders,
        **tiles.arguments,
        tile_row=tiles.row,
        **batch.arguments,
        scale=scale,
        EXCLUDE_SELF=exclude_self,
        RECEIVERS=config.receivers,
        SENDERS=config.senders,
        **call.constants(config),
    )
    launch(
        reduce_kernel,
        (tiles.capacity, triton.cdiv(call.channels, COLUMNS)),
        Config(0, config.senders, 0, warps=4, stages=1),
        partials=partials,
        d_query=dq,
        **tiles.arguments,
        tile_row=tiles.row,
        **batch.arguments,
        CHANNELS=call.channels,
        ATOMS=config.senders,
        COLUMNS=COLUMNS,
    )
    if listed:
        given = {"query": q, "key": k, "value": v, "grad_out": grad_out, "weights": weights, "d_logits": d_logits}
        call.list = {**given, "receivers": receivers, "senders": senders}
        call.num_pairs = num_pairs
        grads |= _of_tables(call, wanted)
        grads |= _of_weights(call, wanted)
        grads |= _of_features(call, wanted)
    d_pair = tuple(grads.get(name) for name in FIELDS[form])
    return dq, dk, dv, d_pair, d_logits.to(bias.dtype) if bias_need else None


class _Call(KernelCall):
    """What all kernels of one call share."""

    def __init__(self, form: str, q: Tensor, pair: tuple[Tensor | None, ...], batch: Batch, scale: float):
        super().__init__("pair_attention", form, rules.rule, q.dtype, *q.shape[1:], batch)
        self.scale = scale
        self.fields = dict(zip(FIELDS[form], pair, strict=True))
        self.list: dict[str, Tensor] = {}
        self.num_pairs = 0

    @property
    def pointers(self) -> dict[str, Tensor | None]:
        return {name: self.fields.get(name) for name in POINTERS}

    @property
    def inner(self) -> int:
        """E or F; 0 where nothing is projected."""
        weight = self.fields.get("weight_a")
        return 0 if weight is None else weight.shape[0]

    def constants(self, config: Config) -> dict:
        own = {"FORM": self.form, "INNER": self.inner, "FEATURES": config.features, "DOT": self.dot}
        return {**own, **self.sizes(config)}


def _of_tables(call: _Call, wanted: set[str]) -> dict[str, Tensor]:
    names = [name for name in ("table_a", "table_b") if name in wanted]
    if not names:
        return {}
    rows = call.fields["table_a"].shape[0]
    shared = call.fields["table_b"] is None and call.fields.get("weight_b") is None
    if rows <= FEW_ROWS:
        return _sums(call, "table", rows, names, ("table_a", "table_b"), shared)
    config = call.config("rows")
    runs = segments(call.fields["index"], call.list["receivers"], rows)
    partials = [
        call.list["query"].new_empty(runs.capacity, call.channels, dtype=torch.float32) for _ in range(2 - shared)
    ]
    launch(
        rows_kernel,
        (runs.capacity * call.groups(config),),
        config,
        **call.list,
        partials_a=partials[0],
        partials_b=None if shared else partials[1],
        **runs.arguments,
        scale=call.scale,
        TABLE_ROWS=rows,
        PAIRS=config.senders,
        **call.sizes(config),
    )
    return _assigned(call, names, ("table_a", "table_b"), partials, lambda p, like: _segment_sum(p, runs, like))


def _of_weights(call: _Call, wanted: set[str]) -> dict[str, Tensor]:
    names = [name for name in ("weight_a", "weight_b") if name in wanted]
    if not names:
        return {}
    shared = call.fields["weight_b"] is None and call.fields.get("table_b") is None
    return _sums(call, call.form, call.inner, names, ("weight_a", "weight_b"), shared)


def _sums(
    call: _Call, form: str, inner: int, names: list[str], both: tuple[str, str], shared: bool
) -> dict[str, Tensor]:
    """Gradients of two matrices (inner, C) by the weights kernel, from its partial sums."""
    config = call.config("weights")
    parts = splits(call.num_pairs, config.senders, SPLITS, inner)
    like = call.list["query"]
    partials = [like.new_empty(parts, inner, call.channels, dtype=torch.float32) for _ in range(2 - shared)]
    constants = {**call.constants(config), "FORM": form, "INNER": inner}
    launch(
        weights_kernel,
        (parts * call.groups(config), triton.cdiv(inner, config.features)),
        config,
        **call.list,
        **{name: call.fields.get(name) for name in ("e", "positions", "v1", "index")},
        partials_a=partials[0],
        partials_b=None if shared else partials[1],
        num_pairs=call.num_pairs,
        scale=call.scale,
        SPLITS=parts,
        PAIRS=config.senders,
        **constants,
    )
    return _assigned(call, names, both, partials, lambda p, like: p.sum(0).to(like.dtype))


def _assigned(call: _Call, names, both, partials, total) -> dict[str, Tensor]:
    """What a and b were made of: two tensors, or one for both roles."""
    a, b = both
    if len(partials) == 2 and call.fields[b] is None:  # one of the two kinds is shared, this one is
        partials = [partials[0] + partials[1]]
    given = dict(zip((a, b), partials))
    return {name: total(given[name], call.fields[name]) for name in names}


def _segment_sum(partials: Tensor, runs, like: Tensor) -> Tensor:
    out = torch.empty_like(like)
    reduce_segments(partials, runs, out)
    return out


def _of_features(call: _Call, wanted: set[str]) -> dict[str, Tensor]:
    names = wanted & {"e", "v1", "positions"}
    if not names:
        return {}
    config, like = call.config("features"), call.list["query"]
    blocks = triton.cdiv(call.inner, config.features)
    parts = triton.cdiv(call.num_pairs, config.senders)
    if "v1" in names:
        parts = min(parts, SPLITS * 16)  # sums of 3 rows only: more of them, for more programs
    d_e = torch.empty_like(call.fields["e"]) if "e" in names else None
    partials = like.new_empty(parts, 3, call.inner, dtype=torch.float32) if "v1" in names else None
    d_delta = like.new_empty(blocks, call.num_pairs, 3, dtype=torch.float32) if "positions" in names else None
    launch(
        features_kernel,
        (parts, blocks),
        config,
        **call.list,
        **{name: call.fields.get(name) for name in ("weight_a", "weight_b", "positions", "v1")},
        d_e=d_e,
        partials_v1=partials,
        d_delta=d_delta,
        num_pairs=call.num_pairs,
        scale=call.scale,
        SPLITS=parts,
        PAIRS=config.senders,
        **call.constants(config),
    )
    grads = {}
    if d_e is not None:
        grads["e"] = d_e
    if partials is not None:
        grads["v1"] = partials.sum(0)
    if d_delta is not None:
        grads["positions"] = positions_gradient(d_delta, call.batch)
    return grads
