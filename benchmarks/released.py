"""The network as it was released, for comparison: pair tensors of width F, two projections of them in every block.

Same weights and same function as `DiTMC`; what is left out are the exact savings: here the conditioner and the hop
embedding are evaluated at every step, the latter for every pair, and every block projects the pair tensor (P, F).
"""

from __future__ import annotations

from torch import Tensor

from ditkernels import DensePair
from ditkernels.models.ditmc import DiTMC
from ditkernels.models.ditmc.model import Conditioning
from ditkernels.models.molecule.graph import GraphBatch


class ReleasedDiTMC(DiTMC):
    """`DiTMC` with the released model's operations; give it the weights of another by `load_state_dict`."""

    def encode(self, graph: GraphBatch) -> Conditioning:
        return Conditioning(graph, self.conditioner(graph), (), None)

    def denoise(self, positions: Tensor, t: Tensor, conditioning: Conditioning, **options) -> Tensor:
        return super().denoise(positions, t, self.encode(conditioning.graph), **options)

    def _pair(self, conditioning: Conditioning, block: int, positions: Tensor, gate: float) -> DensePair:
        if block == 0:
            self.pair_tensor = self._embed(conditioning.graph, positions, gate)
        return DensePair(*self.blocks[block].pair_maps(self.pair_tensor))

    def _embed(self, graph: GraphBatch, positions: Tensor, gate: float) -> Tensor:
        pair = gate * self.hop_embedding(graph.hop_values[graph.hop_index.long()])
        if self.displacement is None:
            return pair
        size = graph.num_atoms // graph.num_molecules  # the benchmark repeats one molecule
        places = positions.view(graph.num_molecules, size, 3)
        return pair + self.displacement((places[:, None] - places[:, :, None]).reshape(-1, 3))
