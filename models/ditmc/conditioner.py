"""Graph conditioner: a mesh-graph-net over the bonds (spec of the released model: section 2.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ditkernels.models.ditmc.layers import MLP, affine_layer_norm
from ditkernels.models.molecule.graph import GraphBatch

BOND_FEATURES = 4
"""Single, double, triple, aromatic."""


class ConditionerLayer(nn.Module):
    r"""One round of messages, without residual connections.

    .. math::
        e_{ij} \leftarrow \mathrm{MLP}_e(\mathrm{LN}[n_j; n_i; e_{ij}]), \qquad
        n_i \leftarrow \mathrm{MLP}_n(\mathrm{LN}[n_i; \textstyle\sum_j e_{ij}])
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.edge_norm = affine_layer_norm(3 * width)
        self.edge_mlp = MLP(3 * width, width, width)
        self.node_norm = affine_layer_norm(2 * width)
        self.node_mlp = MLP(2 * width, width, width)

    def forward(self, nodes: Tensor, edges: Tensor, senders: Tensor, receivers: Tensor) -> tuple[Tensor, Tensor]:
        """Nodes (T, F), edges (E, F), bond ends (E,) each -> updated nodes and edges."""
        edges = self.edge_mlp(self.edge_norm(torch.cat((nodes[senders], nodes[receivers], edges), dim=-1)))
        incoming = torch.zeros_like(nodes, dtype=edges.dtype).index_add(0, receivers, edges)
        nodes = self.node_mlp(self.node_norm(torch.cat((nodes.to(edges.dtype), incoming), dim=-1)))
        return nodes, edges


class Conditioner(nn.Module):
    """Atom and bond tokens of the molecular graph (eq. 8): constant along sampling and shared by all samples of a
    molecule.
    """

    def __init__(self, atom_features: int, width: int, layers: int) -> None:
        super().__init__()
        self.node_embedding = nn.Sequential(MLP(atom_features, width, width), affine_layer_norm(width))
        self.edge_embedding = nn.Sequential(MLP(BOND_FEATURES, width, width), affine_layer_norm(width))
        self.layers = nn.ModuleList(ConditionerLayer(width) for _ in range(layers))

    def forward(self, graph: GraphBatch) -> tuple[Tensor, Tensor]:
        """Atom and bond attributes of a batch to atom tokens (T, F) and tokens (E, F) of its directed bonds."""
        dtype = self.node_embedding[0][0].weight.dtype
        nodes = self.node_embedding(graph.atom_features.to(dtype))
        edges = self.edge_embedding(graph.bond_features.to(dtype))
        for layer in self.layers:
            nodes, edges = layer(nodes, edges, graph.bond_senders, graph.bond_receivers)
        return nodes, edges
