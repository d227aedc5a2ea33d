"""The original PE(3) network's formulas in NumPy, float64, one molecule: the part that replaces aPE's and rPE's blocks.

Written from the description of the released model with its ten-path vector form, not from our modules: no irrep lists,
no Clebsch-Gordan tables. Atom states are a dict from "0+", "1+", "0-", "1-" to (n, F) or (n, 3, F).
"""

from __future__ import annotations

import math

import numpy as np

from tests.support.numpy_primitives import Tree, norm, silu

SLOTS = ("0+", "1+", "0-", "1-")


def random_layers(tree: Tree, rng, width, blocks, basis) -> None:
    """Random arrays of everything that only a PE(3) network has."""
    f = width
    tree["edge_embedding/Embed_0/embedding"] = rng.normal(size=(512, 2 * basis)) / np.sqrt(2 * basis)
    tree.random_mlp(rng, "edge_embedding/MLP_0", 2 * basis, 2 * basis, 2 * basis, bias=False)
    for k in range(blocks):
        base = f"layers_{k}_encoder"
        attention = f"{base}/SelfAttention_0"
        inputs, attended = (("0+",), ("0+", "1-")) if k == 0 else (SLOTS, SLOTS)
        tree.random_norm(rng, f"{base}/LayerNorm_0", f)
        tree.random_dense(rng, f"{base}/Dense_0", f, (15 if k == 0 else 18) * f)
        for irrep in inputs:
            for name in ("query", "key", "value"):
                tree.random_dense(rng, f"{attention}/{name}/{irrep}", f, f, bias=False)
        tree.random_dense(rng, f"{attention}/relative_positional_encoding", basis, len(inputs) * f, bias=False)
        for irrep in ("0+", "1-"):
            tree.random_dense(rng, f"{attention}/filter/{irrep}", basis, f, bias=False)
        slots = 1 if k == 0 else 2
        tree[f"{attention}/tensor/kernel"] = rng.normal(size=(1, 2, slots, slots, slots, 2, f))
        for irrep in attended:
            tree.random_dense(rng, f"{attention}/out/{irrep}", f, f, bias=irrep == "0+")
        for irrep in SLOTS:
            tree.random_dense(rng, f"{base}/E3MLP_0/Dense_0/{irrep}", f, 4 * f, bias=irrep == "0+")
            tree.random_dense(rng, f"{base}/E3MLP_0/Dense_1/{irrep}", 4 * f, f, bias=irrep == "0+")
    tree.random_norm(rng, "readout/LayerNorm_0", f)
    tree.random_dense(rng, "readout/Dense_0", f, 3 * f)
    tree.random_dense(rng, "readout/Dense_1", f, 2, bias=False)


def pair_basis(tree: Tree, r, hops):
    """Scaled radial functions (n, n, 2, K) and unit directions (n, n, 3)."""
    delta = r[None, :] - r[:, None]
    distance = np.sqrt((delta**2).sum(-1))
    unit = delta / np.where(distance > 0, distance, 1)[..., None]
    size = tree["edge_embedding/Embed_0/embedding"].shape[1] // 2
    tau = distance / (1 + distance)
    radial = np.stack([math.comb(size - 1, n) * tau**n * (1 - tau) ** (size - 1 - n) for n in range(size)], -1)
    scaling = tree.mlp("edge_embedding/MLP_0", tree["edge_embedding/Embed_0/embedding"][hops])
    return (1 + scaling.reshape(*hops.shape, 2, size)) * radial[..., None, :], unit


def equivariant_norm(h):
    out = {}
    for irrep, x in h.items():
        square = x**2 if irrep[0] == "0" else (x**2).sum(1)
        norms = np.where(square > 1e-6, np.sqrt(square), 0)
        size = np.sqrt(norms.var(-1, keepdims=True) + 1e-6)
        out[irrep] = norm(x) if irrep == "0+" else times(1 / size, x)
    return out


def times(factor, feature):
    return factor * feature if feature.ndim == 2 else factor[:, None] * feature


def dense(tree: Tree, path, h):
    return {irrep: tree.dense(f"{path}/{irrep}", x) for irrep, x in h.items()}


def tensor_product(kernel, scalar, vector, value):
    """The ten paths of filter (scalar (F,), vector (3, F)) and one sender's value; two where it has scalars only."""
    if set(value) == {"0+"}:
        return {
            "0+": kernel[0, 0, 0, 0, 0, 0] * scalar * value["0+"],
            "1-": kernel[0, 1, 0, 0, 0, 1] * vector * value["0+"],
        }
    out = {}
    for p, (zero, one) in enumerate((("0+", "1+"), ("0-", "1-"))):
        other = 1 - p
        a, b = value[("0+", "0-")[other]], value[("1+", "1-")[other]]
        k = kernel[0, :, :, :, p, :]  # filter degree, value parity, value degree, output degree
        out[zero] = k[0, p, 0, 0] * scalar * value[zero] + k[1, other, 1, 0] * (vector * b).sum(0) / math.sqrt(3)
        cross = np.cross(vector, b, axis=0) / math.sqrt(2)
        out[one] = k[0, p, 1, 1] * scalar * value[one] + k[1, other, 0, 1] * a * vector + k[1, other, 1, 1] * cross
    return out


def attention(tree: Tree, path, x, basis, unit, heads):
    n, f = x["0+"].shape
    q, key, v = (dense(tree, f"{path}/{name}", x) for name in ("query", "key", "value"))
    logit_map = tree.dense(f"{path}/relative_positional_encoding", basis[..., 0, :]).reshape(n, n, len(x), f)
    scalars = tree.dense(f"{path}/filter/0+", basis[..., 0, :])
    vectors = unit[..., None] * tree.dense(f"{path}/filter/1-", basis[..., 1, :])[:, :, None]
    kernel, width = tree[f"{path}/tensor/kernel"], f // heads
    irreps = [irrep for irrep in SLOTS if irrep in x]
    components = sum(1 if irrep[0] == "0" else 3 for irrep in irreps)
    logit_head, value_head = np.arange(f) % heads, np.arange(f) // width
    made = SLOTS if len(x) == 4 else ("0+", "1-")
    out = {irrep: np.zeros((n, f) if irrep[0] == "0" else (n, 3, f)) for irrep in made}
    for i in range(n):
        others = [j for j in range(n) if j != i]
        if not others:
            continue
        logits = np.zeros((len(others), heads))
        for row, j in enumerate(others):
            for a, irrep in enumerate(irreps):
                product = q[irrep][i] * key[irrep][j] * logit_map[i, j, a]
                for head in range(heads):
                    logits[row, head] += product[..., logit_head == head].sum()
        logits /= math.sqrt(components * width)
        p = np.exp(logits - logits.max(0))
        p /= p.sum(0)
        for row, j in enumerate(others):
            weighted = {irrep: p[row, value_head] * v[irrep][j] for irrep in irreps}
            for irrep, message in tensor_product(kernel, scalars[i, j], vectors[i, j], weighted).items():
                out[irrep][i] += message
    return dense(tree, f"{path}/out", out)


def gated_mlp(tree: Tree, path, h):
    z = dense(tree, f"{path}/Dense_0", h)
    s = z["0+"]
    gate = (1 + np.tanh(np.sqrt(2 / np.pi) * (s + 0.044715 * s**3))) / 2
    return dense(tree, f"{path}/Dense_1", {irrep: times(gate, x) for irrep, x in z.items()})


def network(tree: Tree, heads, blocks, elements, time, nodes, r, hops):
    """Output (n, 3) before centering, from element embeddings (n, F), time vector (F,) and atom tokens (n, F)."""
    f = elements.shape[-1]
    basis, unit = pair_basis(tree, r, hops)
    h = {"0+": elements}
    for k in range(blocks):
        base = f"layers_{k}_encoder"
        rows = tree.dense(f"{base}/Dense_0", silu(tree.norm(f"{base}/LayerNorm_0", nodes + time)))
        pieces = iter(np.split(rows, rows.shape[-1] // f, -1))

        def modulated(h, pieces=pieces):
            x = {irrep: times(1 + next(pieces), x) for irrep, x in equivariant_norm(h).items()}
            x["0+"] = x["0+"] + next(pieces)
            return x

        update = attention(tree, f"{base}/SelfAttention_0", modulated(h), basis, unit, heads)
        if k == 0:  # one parity slot is broadcast over both
            update = {irrep: update["0+" if irrep[0] == "0" else "1-"] for irrep in SLOTS}
        update = {irrep: times(next(pieces), update[irrep]) for irrep in SLOTS}
        h = {irrep: h.get(irrep, 0) + update[irrep] for irrep in SLOTS}
        update = gated_mlp(tree, f"{base}/E3MLP_0", modulated(h))
        h = {irrep: h[irrep] + times(next(pieces), update[irrep]) for irrep in SLOTS}
    condition = tree.norm("readout/LayerNorm_0", nodes + time)
    _, scale, _ = np.split(silu(tree.dense("readout/Dense_0", condition)), 3, -1)
    vectors = equivariant_norm({"0+": h["0+"], "1-": h["1+"] + h["1-"]})["1-"]
    return tree.dense("readout/Dense_1", times(1 + scale, vectors))[..., 0]
