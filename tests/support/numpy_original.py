"""The original program's formulas in NumPy, float64, one molecule, pair by pair: an independent second source.

Written from the description of the released model, not from our modules: own head folding, own pair tensors. It makes
oracle files of any size.
"""

from __future__ import annotations

import numpy as np


def silu(x):
    return x / (1 + np.exp(-x))


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def norm(x, scale=1.0, bias=0.0):
    mean = x.mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + 1e-6) * scale + bias


class Tree(dict):
    """Parameter tree with the layer kinds of the original."""

    def dense(self, path, x):
        y = x @ self[f"{path}/kernel"]
        return y + self[f"{path}/bias"] if f"{path}/bias" in self else y

    def mlp(self, path, x, act=silu):
        return self.dense(f"{path}/Dense_1", act(self.dense(f"{path}/Dense_0", x)))

    def norm(self, path, x):
        return norm(x, self[f"{path}/scale"], self[f"{path}/bias"])


def random_tree(rng, embedding, width, heads, blocks, conditioner_layers, atom_features) -> Tree:
    tree = Tree()

    def dense(path, inputs, outputs, bias=True):
        tree[f"{path}/kernel"] = rng.normal(size=(inputs, outputs)) / np.sqrt(inputs)
        if bias:
            tree[f"{path}/bias"] = 0.3 * rng.normal(size=outputs)

    def mlp(path, inputs, hidden, outputs, bias=True):
        dense(f"{path}/Dense_0", inputs, hidden, bias)
        dense(f"{path}/Dense_1", hidden, outputs, bias)

    def layer_norm(path, size):
        tree[f"{path}/scale"] = 1 + 0.2 * rng.normal(size=size)
        tree[f"{path}/bias"] = 0.2 * rng.normal(size=size)

    f = width
    tree["time_embedding/GaussianRandomFourierFeatures_0/b"] = rng.normal(size=(1, f // 4))
    mlp("time_embedding/MLP_0", f // 2, f, f)
    tree["node_embedding/Embed_0/embedding"] = rng.normal(size=(119, f)) / np.sqrt(f)
    tree["edge_embedding/Embed_0/embedding"] = rng.normal(size=(512, f)) / np.sqrt(f)
    if embedding == "ape":
        mlp("node_embedding/MLP_0", 3, f, f, bias=False)
        mlp("edge_embedding/MLP_0", f, f, f)
    else:
        mlp("edge_embedding/MLP_0", 3, f, f, bias=False)
        mlp("edge_embedding/MLP_1", f, f, f)
    for kind, size in (("node", atom_features), ("edge", 4)):
        mlp(f"conditioner/{kind}_embedding/MLP_0", size, f, f)
        layer_norm(f"conditioner/{kind}_embedding/LayerNorm_0", f)
    for k in range(conditioner_layers):
        for i, size in enumerate((3 * f, 2 * f)):
            mlp(f"conditioner/layers_{k}/MLP_{i}", size, f, f)
            layer_norm(f"conditioner/layers_{k}/LayerNorm_{i}", size)
    for k in range(blocks):
        base = f"layers_{k}_encoder"
        layer_norm(f"{base}/LayerNorm_0", f)
        dense(f"{base}/Dense_0", f, 6 * f)
        mlp(f"{base}/MLP_0", f, 4 * f, f)
        for name in ("query", "key", "value", "filter"):
            dense(f"{base}/SelfAttention_0/{name}/0+", f, f, bias=False)
        dense(f"{base}/SelfAttention_0/out/0+", f, f)
        dense(f"{base}/SelfAttention_0/relative_positional_encoding", f, f, bias=False)
        tree[f"{base}/SelfAttention_0/tensor/kernel"] = rng.normal(size=(1, 1, 1, 1, 1, 1, f))
    dense("readout/Dense_0", f, 2 * f)
    dense("readout/Dense_1", f, 6)
    return tree


def network(tree: Tree, heads: int, blocks: int, layers: int, r, t, inputs) -> np.ndarray:
    """Output (n, 3) before centering at positions r (n, 3) and time t."""
    numbers, hops = inputs["in_atomic_numbers"], inputs["in_hops"]
    senders, receivers = inputs["in_bond_send"], inputs["in_bond_recv"]
    n, f = len(numbers), tree["readout/Dense_0/kernel"].shape[0]
    r = r - r.mean(0)
    phase = 2 * np.pi * t * tree["time_embedding/GaussianRandomFourierFeatures_0/b"][0]
    fourier = np.empty(f // 2)
    fourier[0::2], fourier[1::2] = np.cos(phase), np.sin(phase)
    time = tree.mlp("time_embedding/MLP_0", fourier)

    h = tree["node_embedding/Embed_0/embedding"][numbers]
    hop_rows = tree["edge_embedding/Embed_0/embedding"][hops]
    if "node_embedding/MLP_0/Dense_0/kernel" in tree:
        h = h + tree.mlp("node_embedding/MLP_0", r)
        u = tree.mlp("edge_embedding/MLP_0", hop_rows)
    else:
        u = tree.mlp("edge_embedding/MLP_0", r[None, :] - r[:, None]) + tree.mlp("edge_embedding/MLP_1", hop_rows)

    nodes = tree.norm(
        "conditioner/node_embedding/LayerNorm_0", tree.mlp("conditioner/node_embedding/MLP_0", inputs["in_node_attr"])
    )
    edges = tree.norm(
        "conditioner/edge_embedding/LayerNorm_0", tree.mlp("conditioner/edge_embedding/MLP_0", inputs["in_bond_attr"])
    )
    for k in range(layers):
        base = f"conditioner/layers_{k}"
        joined = np.concatenate((nodes[senders], nodes[receivers], edges), -1)
        edges = tree.mlp(f"{base}/MLP_0", tree.norm(f"{base}/LayerNorm_0", joined))
        incoming = np.zeros((n, f))
        for edge, receiver in zip(edges, receivers, strict=True):
            incoming[receiver] += edge
        nodes = tree.mlp(f"{base}/MLP_1", tree.norm(f"{base}/LayerNorm_1", np.concatenate((nodes, incoming), -1)))

    width = f // heads
    for k in range(blocks):
        base = f"layers_{k}_encoder"
        condition = tree.norm(f"{base}/LayerNorm_0", nodes + time)
        g1, b1, a1, g2, b2, a2 = np.split(tree.dense(f"{base}/Dense_0", silu(condition)), 6, -1)
        attention = f"{base}/SelfAttention_0"
        x = norm(h) * (1 + g1) + b1
        q, key, v = (tree.dense(f"{attention}/{name}/0+", x) for name in ("query", "key", "value"))
        logit_map = tree.dense(f"{attention}/relative_positional_encoding", u)
        value_map = tree[f"{attention}/tensor/kernel"].ravel() * tree.dense(f"{attention}/filter/0+", u)
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
        h = h + a1 * tree.dense(f"{attention}/out/0+", message)
        h = h + a2 * tree.mlp(f"{base}/MLP_0", norm(h) * (1 + g2) + b2, gelu)
    shift, scale = np.split(silu(tree.dense("readout/Dense_0", nodes + time)), 2, -1)
    return tree.dense("readout/Dense_1", norm(h) * (1 + scale) + shift)[:, :3]


def centered(x):
    return x - x.mean(0)


def aligned(moving, target):
    """``moving`` turned onto ``target`` by the best proper rotation."""
    u, _, vt = np.linalg.svd(target.T @ moving)
    u[:, 2] *= np.sign(np.linalg.det(u @ vt))
    return moving @ (u @ vt).T


def make_oracle(
    path, *, embedding, width, heads, blocks, layers, atom_features, atoms, steps, seed, dtype=np.float64
) -> None:
    """Write an oracle file with random weights and a random tree-shaped molecule."""
    rng = np.random.default_rng(seed)
    tree = random_tree(rng, embedding, width, heads, blocks, layers, atom_features)
    if dtype != np.float64:
        tree = Tree({name: a.astype(dtype).astype(np.float64) for name, a in tree.items()})
    parents = np.array([rng.integers(0, i) for i in range(1, atoms)], dtype=np.int64)
    children = np.arange(1, atoms)
    hops = np.full((atoms, atoms), 510)
    np.fill_diagonal(hops, 0)
    for a, b in zip(parents, children, strict=True):
        hops[a, b] = hops[b, a] = 1
    for k in range(atoms):
        hops = np.minimum(hops, hops[:, k : k + 1] + hops[k : k + 1])
    laplacian = np.diag((hops == 1).sum(1)) - (hops == 1)
    values, vectors = np.linalg.eigh(laplacian.astype(float))
    scale = np.concatenate(([0.0], values[1:] ** -0.5))
    noise = rng.normal(size=(atoms, 3))
    inputs = {
        "in_atomic_numbers": rng.choice([1, 6, 7, 8], atoms),
        "in_positions": centered(rng.normal(size=(atoms, 3)) * 1.5),
        "in_t": np.full(atoms, 0.37),
        "in_node_attr": (rng.random((atoms, atom_features)) < 0.2).astype(float),
        "in_bond_send": np.concatenate((parents, children)),
        "in_bond_recv": np.concatenate((children, parents)),
        "in_bond_attr": np.eye(4)[np.tile(rng.integers(0, 4, atoms - 1), 2)],
        "in_hops": hops,
        "in_x0": centered(vectors @ (scale[:, None] * noise)),
        "in_prior_eigvec": vectors,
        "in_prior_scale": scale,
        "in_prior_noise": noise,
        "in_loss_z": rng.normal(size=(atoms, 3)),
        "in_loss_tau": np.array(0.62),
    }

    def run(r, t):
        return network(tree, heads, blocks, layers, r, t, inputs)

    x = inputs["in_x0"]
    for step in range(steps):
        t = step / steps
        x = x + (centered(run(x, t)) - x) / (1 - t) / steps
    tau = float(inputs["in_loss_tau"])
    x0 = aligned(inputs["in_x0"], inputs["in_positions"])
    x_t = (1 - tau) * x0 + tau * inputs["in_positions"] + 0.5 * centered(inputs["in_loss_z"])
    error = ((centered(run(centered(x_t), tau)) - inputs["in_positions"]) ** 2).mean()
    outputs = {
        "out_drift": run(inputs["in_positions"], 0.37),
        f"out_sample_euler{steps}": x,
        "out_loss": np.array(error / (1 - min(tau, 0.9)) ** 2),
        "meta_heads": np.array(heads),
    }
    arrays = {**{f"param/{name}": a for name, a in tree.items()}, **inputs, **outputs}
    np.savez(path, **{k: a.astype(dtype) if a.dtype == np.float64 else a for k, a in arrays.items()})
