"""Weights of the original DiTMC program: its parameter tree, turned into ours.

The tree's names are listed in the original's checkpoints; :mod:`ditkernels.models.ditmc.original_names` says where each
of our parameters comes from.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from ditkernels.models.ditmc.config import ATOM_FEATURES, DiTMCConfig
from ditkernels.models.ditmc.model import DiTMC
from ditkernels.models.ditmc.original_names import sources


def config_of_tree(tree: Mapping[str, np.ndarray], heads: int) -> DiTMCConfig:
    """The configuration whose network has the shapes of a parameter tree.

    Args:
        tree: arrays by path, such as ``layers_0_encoder/Dense_0/kernel``.
        heads: number of attention heads; the shapes do not tell it.

    Raises:
        ValueError: a path is missing, or the tree is of a kind that this package has no network for.
    """
    atom_features, width = _get(tree, "conditioner/node_embedding/MLP_0/Dense_0/kernel").shape
    layouts = [name for name, count in ATOM_FEATURES.items() if count == atom_features]
    if not layouts:
        raise ValueError(f"the parameter tree takes {atom_features} atom attributes; known layouts are {ATOM_FEATURES}")
    relative = "edge_embedding/MLP_1/Dense_0/kernel" in tree
    absolute = "node_embedding/MLP_0/Dense_0/kernel" in tree
    equivariant = any("/E3MLP_0/" in path for path in tree)
    if relative + absolute + equivariant != 1:
        raise ValueError("the parameter tree is neither purely aPE nor purely rPE nor purely PE(3)")
    options = {"embedding": "rpe" if relative else "ape"}
    if equivariant:
        basis_size, _ = _get(tree, "layers_0_encoder/SelfAttention_0/relative_positional_encoding/kernel").shape
        _, filter_degrees, *_ = _get(tree, "layers_0_encoder/SelfAttention_0/tensor/kernel").shape
        options = {
            "embedding": "pe3",
            "degree": filter_degrees - 1,
            "basis_size": basis_size,
            "equivariant_norm": "variance",
            "parity_broadcast": True,
        }
    return DiTMCConfig(
        width=width,
        heads=heads,
        blocks=_count(tree, "layers_{}_encoder/"),
        conditioner_layers=_count(tree, "conditioner/layers_{}/"),
        layout=layouts[0],
        **options,
    )


def load_original(tree: Mapping[str, np.ndarray], heads: int) -> DiTMC:
    """A network with the original's weights, in the precision that the tree stores.

    Raises:
        ValueError: the tree lacks an array, has one that nothing uses, or one of the wrong shape; named.
    """
    config = config_of_tree(tree, heads)
    precision = torch.from_numpy(np.array(_get(tree, "readout/Dense_1/kernel"))).dtype
    model = DiTMC(config).to(precision)
    own, used, state = model.state_dict(), set(), {}
    for name, source in sources(model).items():
        arrays = [torch.from_numpy(np.array(_get(tree, path))) for path in source.paths]
        try:
            state[name] = source.convert(*arrays)
        except (IndexError, RuntimeError) as error:
            shapes = ", ".join(str(tuple(array.shape)) for array in arrays)
            raise ValueError(f"{name}: {', '.join(source.paths)} of shapes {shapes} do not fit: {error}") from error
        if state[name].shape != own[name].shape:
            expected, found = tuple(own[name].shape), tuple(state[name].shape)
            raise ValueError(f"{name}: expected shape {expected}, the tree gives {found}")
        used.update(source.paths)
    unused = sorted(set(tree) - used)
    if unused:
        raise ValueError(f"the parameter tree has {len(unused)} arrays that nothing uses, first {unused[0]}")
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
