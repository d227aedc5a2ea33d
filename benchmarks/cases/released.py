"""The network as it was released, for comparison: pair tensors of width F, two projections of them in every block.

Same weights and same function as `DiTMC`; what is left out are the exact savings: here the conditioner and the hop
embedding are evaluated at every step, the latter for every pair, and every block projects the pair tensor (P, F).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ditkernels import DensePair
from ditkernels.models.ditmc import Conditioning, DiTMC
from ditkernels.models.molecule.graph import GraphBatch


class ReleasedDiTMC(DiTMC):
    """`DiTMC` with the released model's operations; give it the weights of another by `load_state_dict`."""

    def encode(self, graph: GraphBatch) -> Conditioning:
        return Conditioning(graph, self.conditioner(graph)[0], ReleasedPairs(self, graph))

    def denoise(self, positions: Tensor, t: Tensor, conditioning: Conditioning, **options) -> Tensor:
        return super().denoise(positions, t, self.encode(conditioning.graph), **options)


@dataclass(frozen=True)
class ReleasedPairs:
    """The pair tensor (P, F), made anew for every step, and its two projections in every block."""

    network: ReleasedDiTMC
    graph: GraphBatch

    def descriptors(self, positions: Tensor, gate: float) -> Iterator[DensePair]:
        pair = self._embed(positions, gate)
        for block in self.network.blocks:
            yield DensePair(*block.pair_maps(pair))

    def _embed(self, positions: Tensor, gate: float) -> Tensor:
        network, graph = self.network, self.graph
        pair = gate * network.hop_embedding(graph.hop_values[graph.hop_index.long()])
        if network.displacement is None:
            return pair
        receivers, senders = listed(graph)
        return pair + network.displacement(positions[senders] - positions[receivers])


@lru_cache(maxsize=4)
def listed(graph: GraphBatch) -> tuple[Tensor, Tensor]:
    """Receivers and senders (P,) of all ordered pairs; not a part of what is timed."""
    receivers, senders = [], []
    bounds = graph.cu_seqlens.tolist()
    for first, last in zip(bounds[:-1], bounds[1:]):
        atoms = torch.arange(first, last, device=graph.cu_seqlens.device)
        receivers.append(atoms.repeat_interleave(last - first))
        senders.append(atoms.repeat(last - first))
    return torch.cat(receivers), torch.cat(senders)
