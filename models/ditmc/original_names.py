"""Where each of our parameters is in the original program's parameter tree.

Arrays of dense layers are stored (in, out) there. Beyond names, three things differ. The original folds features into
heads as ``f mod heads`` for the logits and ``f // head_width`` for the values; we fold both as the latter, so the
columns of the query, key and logit maps are permuted here. Outputs of its readout that are never read are dropped. And
its tensor product has a weight for every combination of degrees and parities, of which only the allowed paths act.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ditkernels.models.ditmc.equivariant import EquivariantDiTBlock
from ditkernels.models.ditmc.model import DiTMC
from ditkernels.so3 import Irrep, Irreps


@dataclass(frozen=True)
class Source:
    """Paths of arrays in the original's tree, and the function of them that is our parameter."""

    paths: tuple[str, ...]
    convert: Callable[..., Tensor]


class Sources(dict[str, Source]):
    """Our parameter name -> its source, filled layer by layer."""

    def one(self, ours: str, theirs: str, convert: Callable[[Tensor], Tensor] = torch.clone) -> None:
        self[ours] = Source((theirs,), convert)

    def dense(self, ours: str, theirs: str, *, bias: bool = True, columns: Tensor | slice = slice(None)) -> None:
        """A dense layer, or the ``columns`` of it that are ours, in our order."""
        self.one(f"{ours}.weight", f"{theirs}/kernel", lambda kernel: kernel.t()[columns].contiguous())
        if bias:
            self.one(f"{ours}.bias", f"{theirs}/bias", lambda bias: bias[columns].contiguous())

    def mlp(self, ours: str, theirs: str, *, bias: bool = True) -> None:
        self.dense(f"{ours}.0", f"{theirs}/Dense_0", bias=bias)
        self.dense(f"{ours}.2", f"{theirs}/Dense_1", bias=bias)

    def norm(self, ours: str, theirs: str) -> None:
        self.one(f"{ours}.weight", f"{theirs}/scale")
        self.one(f"{ours}.bias", f"{theirs}/bias")

    def equivariant_dense(
        self, ours: str, theirs: str, irreps: Irreps, *, bias: bool = False, columns: Tensor | slice = slice(None)
    ) -> None:
        """A dense layer with one matrix per irrep, and the bias of the true scalar."""

        def stacked(*kernels: Tensor) -> Tensor:
            return torch.stack([kernel.t()[columns] for kernel in kernels])

        self[f"{ours}.weight"] = Source(tuple(f"{theirs}/{irrep}/kernel" for irrep in irreps), stacked)
        if bias:
            self.one(f"{ours}.bias", f"{theirs}/0+/bias")


def sources(model: DiTMC) -> Sources:
    """The sources of all parameters of a network."""
    config, table = model.config, Sources()
    table.one("time_embedding.frequencies", "time_embedding/GaussianRandomFourierFeatures_0/b", torch.flatten)
    table.mlp("time_embedding.mlp", "time_embedding/MLP_0")
    table.one("atom_embedding.elements.weight", "node_embedding/Embed_0/embedding")
    table.one("hop_embedding.hops.weight", "edge_embedding/Embed_0/embedding")
    if config.embedding == "rpe":
        table.mlp("displacement", "edge_embedding/MLP_0", bias=False)
        table.mlp("hop_embedding.mlp", "edge_embedding/MLP_1")
    else:
        table.mlp("hop_embedding.mlp", "edge_embedding/MLP_0", bias=not config.equivariant)
    if config.embedding == "ape":
        table.mlp("atom_embedding.position", "node_embedding/MLP_0", bias=False)

    for kind in ("node", "edge"):
        table.mlp(f"conditioner.{kind}_embedding.0", f"conditioner/{kind}_embedding/MLP_0")
        table.norm(f"conditioner.{kind}_embedding.1", f"conditioner/{kind}_embedding/LayerNorm_0")
    for k in range(config.conditioner_layers):
        for i, kind in enumerate(("edge", "node")):
            table.mlp(f"conditioner.layers.{k}.{kind}_mlp", f"conditioner/layers_{k}/MLP_{i}")
            table.norm(f"conditioner.layers.{k}.{kind}_norm", f"conditioner/layers_{k}/LayerNorm_{i}")

    # Our logit channel n * head_width + a is the original's feature a * heads + n.
    logit_columns = torch.arange(config.width).view(-1, config.heads).t().flatten()
    for k, block in enumerate(model.blocks):
        ours, theirs = f"blocks.{k}", f"layers_{k}_encoder"
        table.norm(f"{ours}.condition_norm", f"{theirs}/LayerNorm_0")
        table.dense(f"{ours}.modulation.linear", f"{theirs}/Dense_0")
        if config.equivariant:
            _equivariant_block(table, ours, theirs, block, logit_columns)
        else:
            _scalar_block(table, ours, theirs, logit_columns)
    if config.equivariant:
        table.norm("readout.condition_norm", "readout/LayerNorm_0")
        # The scales of degree 1 among scales of all degrees and a shift.
        vectors = slice(config.width, 2 * config.width)
        table.dense("readout.modulation", "readout/Dense_0", columns=vectors)
        table.dense("readout.output", "readout/Dense_1", bias=False, columns=slice(1))
    else:
        table.dense("readout.modulation", "readout/Dense_0")
        table.dense("readout.output", "readout/Dense_1", columns=slice(3))
    return table


def _scalar_block(table: Sources, ours: str, theirs: str, logit_columns: Tensor) -> None:
    attention = f"{theirs}/SelfAttention_0"
    table.mlp(f"{ours}.mlp", f"{theirs}/MLP_0")
    table.dense(f"{ours}.attention.query", f"{attention}/query/0+", bias=False, columns=logit_columns)
    table.dense(f"{ours}.attention.key", f"{attention}/key/0+", bias=False, columns=logit_columns)
    table.dense(f"{ours}.attention.value", f"{attention}/value/0+", bias=False)
    table.dense(f"{ours}.attention.out", f"{attention}/out/0+")
    pair_map = f"{attention}/relative_positional_encoding"
    table.dense(f"{ours}.pair_maps.logit", pair_map, bias=False, columns=logit_columns)
    table.dense(f"{ours}.pair_maps.value", f"{attention}/filter/0+", bias=False)
    table.one(f"{ours}.pair_maps.gamma", f"{attention}/tensor/kernel", torch.flatten)


def _equivariant_block(
    table: Sources, ours: str, theirs: str, block: EquivariantDiTBlock, logit_columns: Tensor
) -> None:
    attention = f"{theirs}/SelfAttention_0"
    before, attended, after = block.irreps_in, block.attention.irreps_out, block.irreps
    _, filter_degrees, _ = block.attention.weight_g.shape
    for name in ("query", "key"):
        table.equivariant_dense(f"{ours}.attention.{name}", f"{attention}/{name}", before, columns=logit_columns)
    table.equivariant_dense(f"{ours}.attention.value", f"{attention}/value", before)
    table.equivariant_dense(f"{ours}.attention.out", f"{attention}/out", attended, bias=True)
    table.equivariant_dense(f"{ours}.mlp.up", f"{theirs}/E3MLP_0/Dense_0", after, bias=True)
    table.equivariant_dense(f"{ours}.mlp.down", f"{theirs}/E3MLP_0/Dense_1", after, bias=True)

    def weight_a(kernel: Tensor) -> Tensor:
        return kernel.unflatten(-1, (len(before), -1))[..., logit_columns].contiguous()

    def weight_g(*kernels: Tensor) -> Tensor:
        return torch.stack(kernels, dim=1)

    def path_weight(kernel: Tensor) -> Tensor:
        def slot(axis: int, irrep: Irrep) -> int:
            """Even irreps are in slot 0 of a parity axis, odd ones in slot 1; natural ones have one slot for all."""
            return 0 if kernel.shape[axis] == 1 or irrep.parity > 0 else 1

        rows = []
        for path in block.attention.paths:
            value, output = before[path.value], attended[path.output]
            rows.append(kernel[0, path.filter_degree, slot(2, value), value.degree, slot(4, output), output.degree])
        return torch.stack(rows)

    table.one(f"{ours}.attention.weight_a", f"{attention}/relative_positional_encoding/kernel", weight_a)
    table[f"{ours}.attention.weight_g"] = Source(
        tuple(f"{attention}/filter/{irrep}/kernel" for irrep in Irreps.natural(filter_degrees - 1)), weight_g
    )
    table.one(f"{ours}.attention.path_weight", f"{attention}/tensor/kernel", path_weight)
