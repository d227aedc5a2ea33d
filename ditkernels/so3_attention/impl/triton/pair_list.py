"""Launches the kernels over the list of pairs: gradients of radial weights, path weights, scaling and positions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
from torch import Tensor

from ditkernels.so3_attention.impl.triton.call import Call
from ditkernels.so3_attention.impl.triton.pair_list_kernels import (
    geometry_kernel,
    query_radial_kernel,
    value_radial_kernel,
)
from ditkernels.triton.call import splits
from ditkernels.triton.displacements import positions_gradient
from ditkernels.triton.launch import launch
from ditkernels.triton.segments import Segments, reduce_segments, segments

SPLITS = 32  # at most, of sums over all pairs that are as large as a weight
PATH_SPLITS = 256  # of sums that are as large as the path weights

BASIS = ("positions", "index", "scaling", "logarithms")


@dataclass(frozen=True)
class PairList:
    """Tokens, and what the row pass says of pairs: weights p and gradients of the logits (P, H), receivers and senders
    (P,).
    """

    query: Tensor
    key: Tensor
    value: Tensor
    grad_out: Tensor
    weights: Tensor
    d_logits: Tensor
    receivers: Tensor
    senders: Tensor

    def __len__(self) -> int:
        return self.weights.shape[0]

    def some(self, *names: str) -> dict[str, Tensor | int]:
        """Arguments of a kernel."""
        arguments = {name: getattr(self, name) for name in (*names, "receivers", "senders")}
        return {**arguments, "num_pairs": len(self)}


def shared_gradients(call: Call, pairs: PairList, wanted: set[str]) -> dict[str, Tensor]:
    """Gradients by field, of those wanted."""
    grads: dict[str, Tensor] = {}
    if "a" in wanted or "weight_a" in wanted:
        name = "a" if call.form == "dense" else "weight_a"
        grads[name] = _of_queries(call, pairs)
    if wanted & {"g", "weight_g", "path_weight"}:
        grads |= _of_values(call, pairs, wanted)
    if wanted & {"scaling", "positions"}:
        grads |= _of_geometry(call, pairs, wanted)
    return grads


def _of_queries(call: Call, pairs: PairList) -> Tensor:
    """d_a (P, A, C), or d_weight_a (K, A, C)."""
    config = call.config("query_radial")
    dense = call.form == "dense"
    like = call.fields["a" if dense else "weight_a"]
    grad = torch.empty_like(like)
    blocks = triton.cdiv(len(pairs), config.senders)
    parts = blocks if dense else splits(len(pairs), config.senders, SPLITS, call.count)
    for x in range(call.couplings.irreps):
        partials = None if dense else like.new_empty(parts, call.count, call.channels, dtype=torch.float32)
        launch(
            query_radial_kernel,
            (parts * call.groups(config),),
            config,
            **pairs.some("query", "key", "d_logits"),
            **call.some(*BASIS),
            d_a=grad if dense else None,
            partials=partials,
            scale=call.scale,
            X=x,
            **call.queries,
            SPLITS=parts,
            PAIRS=config.senders,
            **call.sizes(config),
            **call.radial,
        )
        if partials is not None:
            grad[:, x] = partials.sum(0)
    return grad


def _of_values(call: Call, pairs: PairList, wanted: set[str]) -> dict[str, Tensor]:
    """d_g (P, J, C) or d_weight_g (K, J, C), and d_path_weight (W, C)."""
    config = call.config("value_radial")
    name = "g" if call.form == "dense" else "weight_g"
    of_radial, of_paths = name in wanted, "path_weight" in wanted
    like = call.fields[name]
    grad = torch.empty_like(like) if of_radial else None
    paths = call.couplings.paths
    if call.form == "basis" and of_radial:
        parts = splits(len(pairs), config.senders, SPLITS, call.count)
    elif of_paths:
        parts = splits(len(pairs), config.senders, PATH_SPLITS, len(paths))
    else:
        parts = triton.cdiv(len(pairs), config.senders)
    summed = of_radial and call.form == "basis"
    # A degree without a path is not visited by any of its programs.
    path_sums = like.new_zeros(parts, len(paths), call.channels, dtype=torch.float32) if of_paths else None
    for degree in range(call.couplings.degrees):
        partials = like.new_empty(parts, call.count, call.channels, dtype=torch.float32) if summed else None
        launch(
            value_radial_kernel,
            (parts * call.groups(config),),
            config,
            **pairs.some("value", "grad_out", "weights"),
            **call.some(*BASIS, "path_weight", "g", "weight_g"),
            d_g=grad if call.form == "dense" else None,
            partials=partials,
            partials_paths=path_sums,
            J=degree,
            **call.values,
            PATHS=call.couplings.paths,
            SPLITS=parts,
            PAIRS=config.senders,
            **call.sizes(config),
            **call.radial,
        )
        if partials is not None:
            grad[:, degree] = partials.sum(0)
    grads = {name: grad} if of_radial else {}
    if path_sums is not None:
        grads["path_weight"] = path_sums.sum(0).to(call.fields["path_weight"].dtype)
    return grads


def _of_geometry(call: Call, pairs: PairList, wanted: set[str]) -> dict[str, Tensor]:
    """d_scaling (S, J, K) and d_positions (T, 3).

    In launches apart, though they read the same: one that makes both needs more registers than there are.
    """
    grads = {}
    if "scaling" in wanted:
        grads["scaling"] = _of_scaling(call, pairs)
    if "positions" in wanted:
        d_delta = pairs.weights.new_empty(call.couplings.degrees, len(pairs), 3)
        for degree in range(call.couplings.degrees):
            kernel = "distances" if degree == 0 else "forces"
            _geometry(call, pairs, degree, kernel, d_delta=d_delta[degree])
        grads["positions"] = positions_gradient(d_delta, call.batch)
    return grads


def _of_scaling(call: Call, pairs: PairList) -> Tensor:
    """d_scaling (S, J, K): by degree the sums of chunks of pairs with the same row, and their sums."""
    like, degrees = call.fields["scaling"], call.couplings.degrees
    runs = segments(call.fields["index"], pairs.receivers, like.shape[0])
    grad = like.new_empty(degrees, like.shape[0], call.count, dtype=torch.float32)
    for degree in range(degrees):
        partials = grad.new_empty(runs.capacity, call.count)
        kernel = "distances" if degree == 0 else "geometry"
        _geometry(call, pairs, degree, kernel, partials=partials, runs=runs)
        reduce_segments(partials, runs, grad[degree])
    return grad.transpose(0, 1).to(like.dtype).contiguous()


def _geometry(
    call: Call,
    pairs: PairList,
    degree: int,
    kernel: str,
    d_delta: Tensor | None = None,
    partials: Tensor | None = None,
    runs: Segments | None = None,
) -> None:
    """One launch of the geometry kernel: for d_delta (P, 3), or for the partials of the chunks of runs.

    kernel: by which its configuration is chosen; degree 0 knows no directions, and has the projections of the queries'
    weights
    """
    config = call.config(kernel)
    chunks = dict.fromkeys(("order", "starts", "chunks", "table_rows")) if runs is None else runs.arguments
    launch(
        geometry_kernel,
        (triton.cdiv(len(pairs), config.senders) if runs is None else runs.capacity,),
        config,
        **pairs.some("query", "key", "value", "grad_out", "weights", "d_logits"),
        **call.some(*BASIS, "path_weight", "g", "weight_a", "weight_g"),
        d_delta=d_delta,
        partials=partials,
        **chunks,
        scale=call.scale,
        ROWS=0 if runs is None else call.fields["scaling"].shape[0],
        J=degree,
        **call.queries,
        **call.values,
        PATHS=call.couplings.paths,
        PAIRS=config.senders,
        **call.sizes(config),
        **call.radial,
    )
