"""Weights of the original DiTMC program: its parameter tree, turned into ours.

The tree's names are listed in the original's checkpoints; arrays of dense layers are stored (in, out). Two things
differ beyond names. The original folds features into heads as ``f mod heads`` for the logits and ``f // head_width``
for the values; we fold both as the latter, so the columns of the query, key and logit maps are permuted here. And
three of its six output columns are never read; they are dropped.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ditkernels.models.ditmc.config import ATOM_FEATURES, DiTMCConfig
from ditkernels.models.ditmc.model import DiTMC


def config_of_tree(tree: Mapping[str, np.ndarray], heads: int) -> DiTMCConfig:
    """The configuration whose network has the shapes of a parameter tree.

    Args:
        tree: arrays by path, such as ``layers_0_encoder/Dense_0/kernel``.
        heads: number of attention heads; the shapes do not tell it.

    Raises:
        ValueError: a path is missing, or the tree is of a kind that this package has no network for.
    """
    if any("1-" in path or "1+" in path for path in tree):
        raise ValueError(
            "the parameter tree is of a PE(3) network (it has degree-1 arrays); only aPE and rPE are known"
        )
    atom_features, width = _get(tree, "conditioner/node_embedding/MLP_0/Dense_0/kernel").shape
    layouts = [name for name, count in ATOM_FEATURES.items() if count == atom_features]
    if not layouts:
        raise ValueError(f"the parameter tree takes {atom_features} atom attributes; known layouts are {ATOM_FEATURES}")
    relative = "edge_embedding/MLP_1/Dense_0/kernel" in tree
    absolute = "node_embedding/MLP_0/Dense_0/kernel" in tree
    if relative == absolute:
        raise ValueError("the parameter tree is neither purely aPE nor purely rPE")
    return DiTMCConfig(
        embedding="rpe" if relative else "ape",
        width=width,
        heads=heads,
        blocks=_count(tree, "layers_{}_encoder/"),
        conditioner_layers=_count(tree, "conditioner/layers_{}/"),
        layout=layouts[0],
    )


def load_original(tree: Mapping[str, np.ndarray], heads: int) -> DiTMC:
    """A network with the original's weights, in the precision that the tree stores.

    Raises:
        ValueError: the tree lacks an array, has one that nothing uses, or one of the wrong shape; named.
    """
    config = config_of_tree(tree, heads)
    precision = torch.from_numpy(np.array(_get(tree, "readout/Dense_1/kernel"))).dtype
    model = DiTMC(config).to(precision)
    used: set[str] = set()
    state = {}
    for name, (path, convert) in _assignments(config).items():
        state[name] = convert(torch.from_numpy(np.array(_get(tree, path))))
        used.add(path)
    unused = sorted(set(tree) - used)
    if unused:
        raise ValueError(f"the parameter tree has {len(unused)} arrays that nothing uses, first {unused[0]}")
    own = model.state_dict()
    for name, value in state.items():
        if value.shape != own[name].shape:
            raise ValueError(f"{name}: expected shape {tuple(own[name].shape)}, the tree gives {tuple(value.shape)}")
    model.load_state_dict(state)
    return model


def _get(tree: Mapping[str, np.ndarray], path: str) -> np.ndarray:
    if path not in tree:
        raise ValueError(f"the parameter tree lacks {path}")
    return tree[path]


def _count(tree: Mapping[str, np.ndarray], pattern: str) -> int:
    count = 0
    while any(path.startswith(pattern.format(count)) for path in tree):
        count += 1
    return count


def _same(array: Tensor) -> Tensor:
    return array


def _transposed(array: Tensor) -> Tensor:
    return array.t().contiguous()


def _assignments(config: DiTMCConfig) -> dict:
    """Our parameter name -> (original path, conversion)."""
    head_width = config.width // config.heads
    # Our logit channel n * head_width + a is the original's feature a * heads + n.
    fold = torch.arange(config.width).view(head_width, config.heads).t().flatten()

    def folded(array: Tensor) -> Tensor:
        return array.t()[fold].contiguous()

    table: dict = {}

    def dense(ours: str, theirs: str, bias: bool = True, convert=_transposed) -> None:
        table[f"{ours}.weight"] = (f"{theirs}/kernel", convert)
        if bias:
            table[f"{ours}.bias"] = (f"{theirs}/bias", _same)

    def mlp(ours: str, theirs: str, bias: bool = True) -> None:
        dense(f"{ours}.0", f"{theirs}/Dense_0", bias)
        dense(f"{ours}.2", f"{theirs}/Dense_1", bias)

    def norm(ours: str, theirs: str) -> None:
        table[f"{ours}.weight"] = (f"{theirs}/scale", _same)
        table[f"{ours}.bias"] = (f"{theirs}/bias", _same)

    table["time_embedding.frequencies"] = ("time_embedding/GaussianRandomFourierFeatures_0/b", torch.flatten)
    mlp("time_embedding.mlp", "time_embedding/MLP_0")
    table["atom_embedding.elements.weight"] = ("node_embedding/Embed_0/embedding", _same)
    table["hop_embedding.hops.weight"] = ("edge_embedding/Embed_0/embedding", _same)
    if config.embedding == "ape":
        mlp("atom_embedding.position", "node_embedding/MLP_0", bias=False)
        mlp("hop_embedding.mlp", "edge_embedding/MLP_0")
    else:
        mlp("displacement", "edge_embedding/MLP_0", bias=False)
        mlp("hop_embedding.mlp", "edge_embedding/MLP_1")

    for kind in ("node", "edge"):
        mlp(f"conditioner.{kind}_embedding.0", f"conditioner/{kind}_embedding/MLP_0")
        norm(f"conditioner.{kind}_embedding.1", f"conditioner/{kind}_embedding/LayerNorm_0")
    for k in range(config.conditioner_layers):
        for i, kind in enumerate(("edge", "node")):
            mlp(f"conditioner.layers.{k}.{kind}_mlp", f"conditioner/layers_{k}/MLP_{i}")
            norm(f"conditioner.layers.{k}.{kind}_norm", f"conditioner/layers_{k}/LayerNorm_{i}")

    for k in range(config.blocks):
        ours, theirs = f"blocks.{k}", f"layers_{k}_encoder"
        attention = f"{theirs}/SelfAttention_0"
        norm(f"{ours}.condition_norm", f"{theirs}/LayerNorm_0")
        dense(f"{ours}.modulation.linear", f"{theirs}/Dense_0")
        mlp(f"{ours}.mlp", f"{theirs}/MLP_0")
        dense(f"{ours}.attention.query", f"{attention}/query/0+", bias=False, convert=folded)
        dense(f"{ours}.attention.key", f"{attention}/key/0+", bias=False, convert=folded)
        dense(f"{ours}.attention.value", f"{attention}/value/0+", bias=False)
        dense(f"{ours}.attention.out", f"{attention}/out/0+")
        dense(f"{ours}.pair_maps.logit", f"{attention}/relative_positional_encoding", bias=False, convert=folded)
        dense(f"{ours}.pair_maps.value", f"{attention}/filter/0+", bias=False)
        table[f"{ours}.pair_maps.gamma"] = (f"{attention}/tensor/kernel", torch.flatten)

    dense("readout.modulation", "readout/Dense_0")
    table["readout.output.weight"] = ("readout/Dense_1/kernel", lambda array: array[:, :3].t().contiguous())
    table["readout.output.bias"] = ("readout/Dense_1/bias", lambda array: array[:3])
    return table
