"""What the attention of a pair of atoms knows of the molecular graph: bond-pair or all-pair tokens (eqs. 9 and 10)."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from ditkernels.models.ditmc.layers import MLP
from ditkernels.models.molecule.graph import HOP_TABLE_ROWS, GraphBatch
from ditkernels.nn import truncated_normal_


class PairConditioning(nn.Module, ABC):
    r"""Graph tokens of all ordered pairs, as few rows and an integer per pair: :math:`c_{ij} = \mathrm{rows}[s_{ij}]`.

    Maps of the tokens are evaluated on the rows, so no tensor with a row of features per pair is needed.
    """

    @abstractmethod
    def tokens(self, graph: GraphBatch, edges: Tensor) -> Tensor:
        """Rows (S, F) of a batch, from the graph and the conditioner's final bond tokens (E, F)."""

    @abstractmethod
    def index(self, graph: GraphBatch) -> Tensor:
        """(P,) int32, the row of every ordered pair: receiver i, sender j, in the order of the batch's pair arrays."""


class HopEmbedding(PairConditioning):
    r"""All-pair tokens :math:`c_{ij} = \mathrm{MLP}(\mathrm{Emb}[s_{ij}])` of the hop count s (eq. 10).

    Args:
        width: features F of a token.
        bias: whether the layers of the MLP have one.
    """

    def __init__(self, width: int, *, bias: bool = True) -> None:
        super().__init__()
        self.hops = nn.Embedding(HOP_TABLE_ROWS, width)
        self.mlp = MLP(width, width, width, bias=bias)

    def forward(self, hop_values: Tensor) -> Tensor:
        """Hop counts (S,) to tokens (S, F)."""
        return self.mlp(self.hops(hop_values))

    def tokens(self, graph: GraphBatch, edges: Tensor) -> Tensor:
        """One row for every distinct hop count of the batch."""
        return self(graph.hop_values)

    def index(self, graph: GraphBatch) -> Tensor:
        return graph.hop_index


class BondEmbedding(PairConditioning):
    r"""Bond-pair tokens (eq. 9): the conditioner's final token :math:`e_{ij}` of the directed bond j → i for a bonded
    pair (receiver i, sender j), one learned vector :math:`\bar c` for every other pair.

    Args:
        width: features F of a token, those of the conditioner.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.unbonded = nn.Parameter(torch.empty(width))

    def reset_parameters(self) -> None:
        """The vector of unbonded pairs starts like a row of an embedding table."""
        truncated_normal_(self.unbonded, self.unbonded.shape[0] ** -0.5)

    def tokens(self, graph: GraphBatch, edges: Tensor) -> Tensor:
        """Row 0 for unbonded pairs, row 1 + e for the directed bond e of the batch."""
        return torch.cat((self.unbonded.unsqueeze(0).to(edges.dtype), edges))

    def index(self, graph: GraphBatch) -> Tensor:
        return graph.bond_index()


class HopScaling(HopEmbedding):
    r"""All-pair tokens of a PE(3) network: factors of radial functions less 1, from an MLP without biases.

    Args:
        degrees: degrees of the filter.
        basis_size: radial functions K; a token has degrees * K numbers.
    """

    def __init__(self, degrees: int, basis_size: int) -> None:
        super().__init__(degrees * basis_size, bias=False)

    def reset_parameters(self) -> None:
        """The factors start at 1."""
        nn.init.zeros_(self.mlp[2].weight)


class BondScaling(BondEmbedding):
    """Bond-pair tokens of a PE(3) network: the same kind of MLP on the bond tokens and on the learned vector.

    Args:
        width: features F of the conditioner.
        degrees: degrees of the filter.
        basis_size: radial functions K.
    """

    def __init__(self, width: int, degrees: int, basis_size: int) -> None:
        super().__init__(width)
        self.mlp = MLP(width, degrees * basis_size, degrees * basis_size, bias=False)

    def reset_parameters(self) -> None:
        """The factors start at 1."""
        super().reset_parameters()
        nn.init.zeros_(self.mlp[2].weight)

    def tokens(self, graph: GraphBatch, edges: Tensor) -> Tensor:
        return self.mlp(super().tokens(graph, edges))
