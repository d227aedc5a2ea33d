"""The original program's formulas in NumPy, float64, one molecule, pair by pair: an independent second source.

Written from the description of the released model, not from our modules: own head folding, own pair tensors. It makes
oracle files of any size.
"""

from __future__ import annotations

import numpy as np

from tests.support import numpy_pe3, numpy_scalar
from tests.support.numpy_primitives import Tree


def random_tree(rng, embedding, width, blocks, conditioner_layers, atom_features, basis) -> Tree:
    tree, f = Tree(), width
    tree["time_embedding/GaussianRandomFourierFeatures_0/b"] = rng.normal(size=(1, f // 4))
    tree.random_mlp(rng, "time_embedding/MLP_0", f // 2, f, f)
    tree["node_embedding/Embed_0/embedding"] = rng.normal(size=(119, f)) / np.sqrt(f)
    for kind, size in (("node", atom_features), ("edge", 4)):
        tree.random_mlp(rng, f"conditioner/{kind}_embedding/MLP_0", size, f, f)
        tree.random_norm(rng, f"conditioner/{kind}_embedding/LayerNorm_0", f)
    for k in range(conditioner_layers):
        for i, size in enumerate((3 * f, 2 * f)):
            tree.random_mlp(rng, f"conditioner/layers_{k}/MLP_{i}", size, f, f)
            tree.random_norm(rng, f"conditioner/layers_{k}/LayerNorm_{i}", size)
    if embedding == "pe3":
        numpy_pe3.random_layers(tree, rng, width, blocks, basis)
    else:
        numpy_scalar.random_layers(tree, rng, embedding, width, blocks)
    return tree


def time_vector(tree: Tree, t):
    frequencies = tree["time_embedding/GaussianRandomFourierFeatures_0/b"][0]
    phase, fourier = 2 * np.pi * t * frequencies, np.empty(2 * len(frequencies))
    fourier[0::2], fourier[1::2] = np.cos(phase), np.sin(phase)
    return tree.mlp("time_embedding/MLP_0", fourier)


def atom_tokens(tree: Tree, layers, inputs):
    """The conditioner's tokens (n, F)."""
    senders, receivers = inputs["in_bond_send"], inputs["in_bond_recv"]
    nodes, edges = (
        tree.norm(f"conditioner/{kind}_embedding/LayerNorm_0", tree.mlp(f"conditioner/{kind}_embedding/MLP_0", x))
        for kind, x in (("node", inputs["in_node_attr"]), ("edge", inputs["in_bond_attr"]))
    )
    for k in range(layers):
        base = f"conditioner/layers_{k}"
        joined = np.concatenate((nodes[senders], nodes[receivers], edges), -1)
        edges = tree.mlp(f"{base}/MLP_0", tree.norm(f"{base}/LayerNorm_0", joined))
        incoming = np.zeros_like(nodes)
        for edge, receiver in zip(edges, receivers, strict=True):
            incoming[receiver] += edge
        nodes = tree.mlp(f"{base}/MLP_1", tree.norm(f"{base}/LayerNorm_1", np.concatenate((nodes, incoming), -1)))
    return nodes


def network(tree: Tree, heads, blocks, layers, r, t, inputs) -> np.ndarray:
    """Output (n, 3) before centering at positions r (n, 3) and time t."""
    equivariant = "layers_0_encoder/E3MLP_0/Dense_0/0+/kernel" in tree
    of_kind = (numpy_pe3 if equivariant else numpy_scalar).network
    elements = tree["node_embedding/Embed_0/embedding"][inputs["in_atomic_numbers"]]
    nodes = atom_tokens(tree, layers, inputs)
    return of_kind(tree, heads, blocks, elements, time_vector(tree, t), nodes, r - r.mean(0), inputs["in_hops"])


def centered(x):
    return x - x.mean(0)


def aligned(moving, target):
    """``moving`` turned onto ``target`` by the best proper rotation."""
    u, _, vt = np.linalg.svd(target.T @ moving)
    u[:, 2] *= np.sign(np.linalg.det(u @ vt))
    return moving @ (u @ vt).T


def make_oracle(
    path, *, embedding, width, heads, blocks, layers, atom_features, atoms, steps, seed, basis=12, dtype=np.float64
) -> None:
    """Write an oracle file with random weights and a random tree-shaped molecule."""
    rng = np.random.default_rng(seed)
    tree = random_tree(rng, embedding, width, blocks, layers, atom_features, basis)
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
