"""SO(3) attention with OpenEquivariance's fused convolution, from its public documentation (version 0.7).

`TensorProductConv` gathers the senders, multiplies by one weight per pair, path and channel, and sums over the senders,
deterministically as our operator does; operands and instructions are those of e3nn. **Not yet run**: the package needs
a GPU to be imported.
"""

from __future__ import annotations

import openequivariance as oeq
import torch
from torch import Tensor

from benchmarks.composition import Pairs
from benchmarks.e3nn_reference import E3nnComposition


class OpenEquivarianceAttention(E3nnComposition):
    """The composition with a generated kernel."""

    def make_product(self) -> torch.nn.Module:
        problem = oeq.TPProblem(
            *map(oeq.Irreps, self.operands),
            self.instructions,
            irrep_normalization="none",
            path_normalization="none",
            shared_weights=False,
            internal_weights=False,
        )
        return oeq.TensorProductConv(problem, deterministic=True)

    def aggregate(self, value: Tensor, harmonics: Tensor, weights: Tensor, pairs: Pairs) -> Tensor:
        places = (pairs.receivers, pairs.senders, pairs.by_sender)
        return self.product(value, harmonics, weights.flatten(1).contiguous(), *places)
