"""The original aPE and rPE networks' blocks in NumPy, float64, one molecule, pair by pair."""

from __future__ import annotations

import numpy as np

from tests.support.numpy_primitives import Tree, gelu, norm, silu


def random_layers(tree: Tree, rng, embedding, width, blocks) -> None:
    """Random arrays of everything that only a scalar network has."""
    f = width
    tree["edge_embedding/Embed_0/embedding"] = rng.normal(size=(512, f)) / np.sqrt(f)
    if embedding == "ape":
        tree.random_mlp(rng, "node_embedding/MLP_0", 3, f, f, bias=False)
        tree.random_mlp(rng, "edge_embedding/MLP_0", f, f, f)
    else:
        tree.random_mlp(rng, "edge_embedding/MLP_0", 3, f, f, bias=False)
        tree.random_mlp(rng, "edge_embedding/MLP_1", f, f, f)
    for k in range(blocks):
        base = f"layers_{k}_encoder"
        attention = f"{base}/SelfAttention_0"
        tree.random_norm(rng, f"{base}/LayerNorm_0", f)
        tree.random_dense(rng, f"{base}/Dense_0", f, 6 * f)
        tree.random_mlp(rng, f"{base}/MLP_0", f, 4 * f, f)
        for name in ("query", "key", "value", "filter"):
            tree.random_dense(rng, f"{attention}/{name}/0+", f, f, bias=False)
        tree.random_dense(rng, f"{attention}/out/0+", f, f)
        tree.random_dense(rng, f"{attention}/relative_positional_encoding", f, f, bias=False)
        tree[f"{attention}/tensor/kernel"] = rng.normal(size=(1, 1, 1, 1, 1, 1, f))
    tree.random_dense(rng, "readout/Dense_0", f, 2 * f)
    tree.random_dense(rng, "readout/Dense_1", f, 6)


def pair_tensor(tree: Tree, r, hops):
    """u (n, n, F), a function of the hop count, in rPE also of the displacement."""
    rows = tree["edge_embedding/Embed_0/embedding"][hops]
    if "edge_embedding/MLP_1/Dense_0/kernel" not in tree:
        return tree.mlp("edge_embedding/MLP_0", rows)
    return tree.mlp("edge_embedding/MLP_0", r[None, :] - r[:, None]) + tree.mlp("edge_embedding/MLP_1", rows)


def attention(tree: Tree, path, x, u, heads):
    n, f = x.shape
    width = f // heads
    q, key, v = (tree.dense(f"{path}/{name}/0+", x) for name in ("query", "key", "value"))
    logit_map = tree.dense(f"{path}/relative_positional_encoding", u)
    value_map = tree[f"{path}/tensor/kernel"].ravel() * tree.dense(f"{path}/filter/0+", u)
    message = np.zeros((n, f))
    for i in range(n):
        others = [j for j in range(n) if j != i]
        if not others:
            continue
        for head in range(heads):
            logit_features = np.arange(f) % heads == head
            product = q[i] * key[others] * logit_map[i, others]
            logits = product[:, logit_features].sum(-1) / np.sqrt(width)
            p = np.exp(logits - logits.max())
            p /= p.sum()
            value_features = np.arange(f) // width == head
            message[i, value_features] = (p[:, None] * v[others] * value_map[i, others])[:, value_features].sum(0)
    return tree.dense(f"{path}/out/0+", message)


def network(tree: Tree, heads, blocks, elements, time, nodes, r, hops):
    """Output (n, 3) before centering, from element embeddings (n, F), time vector (F,) and atom tokens (n, F)."""
    h, u = elements, pair_tensor(tree, r, hops)
    if "node_embedding/MLP_0/Dense_0/kernel" in tree:
        h = h + tree.mlp("node_embedding/MLP_0", r)
    for k in range(blocks):
        base = f"layers_{k}_encoder"
        condition = tree.norm(f"{base}/LayerNorm_0", nodes + time)
        g1, b1, a1, g2, b2, a2 = np.split(tree.dense(f"{base}/Dense_0", silu(condition)), 6, -1)
        h = h + a1 * attention(tree, f"{base}/SelfAttention_0", norm(h) * (1 + g1) + b1, u, heads)
        h = h + a2 * tree.mlp(f"{base}/MLP_0", norm(h) * (1 + g2) + b2, gelu)
    shift, scale = np.split(silu(tree.dense("readout/Dense_0", nodes + time)), 2, -1)
    return tree.dense("readout/Dense_1", norm(h) * (1 + scale) + shift)[:, :3]
