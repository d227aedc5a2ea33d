"""NumPy layers of the original program, float64, and a tree of its parameters by path."""

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

    def random_dense(self, rng, path, inputs, outputs, bias=True):
        self[f"{path}/kernel"] = rng.normal(size=(inputs, outputs)) / np.sqrt(inputs)
        if bias:
            self[f"{path}/bias"] = 0.3 * rng.normal(size=outputs)

    def random_mlp(self, rng, path, inputs, hidden, outputs, bias=True):
        self.random_dense(rng, f"{path}/Dense_0", inputs, hidden, bias)
        self.random_dense(rng, f"{path}/Dense_1", hidden, outputs, bias)

    def random_norm(self, rng, path, size):
        self[f"{path}/scale"] = 1 + 0.2 * rng.normal(size=size)
        self[f"{path}/bias"] = 0.2 * rng.normal(size=size)
