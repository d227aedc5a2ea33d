"""SO(3) attention with cuEquivariance's segmented polynomial, from its public documentation (version 0.13).

Gather of the senders, depthwise product with one weight per pair, path and channel, and the sum over senders are one
kernel ("uniform_1d"). The coefficients are ours and so are basis and layout: (2l+1, C) is what cuEquivariance calls
ir_mul. **Not yet run on a GPU**: only its method "naive", on a CPU, against our reference.
"""

from __future__ import annotations

import cuequivariance as cue
import cuequivariance_torch as cuet
import torch
from torch import Tensor

from benchmarks.composition import Composition, Pairs
from ditkernels.so3 import Irreps, clebsch_gordan, spherical_harmonics


class CuEquivarianceAttention(Composition):
    """The composition with a kernel of cuEquivariance: method "uniform_1d" needs a GPU, "naive" is PyTorch."""

    components_last = False

    def __init__(
        self,
        irreps_qk: Irreps,
        irreps_v: Irreps,
        irreps_out: Irreps,
        filter_degrees: int,
        heads: int,
        channels: int,
        method: str = "uniform_1d",
    ):
        super().__init__(irreps_qk, irreps_v, irreps_out, filter_degrees, heads, channels)
        product = cue.SegmentedTensorProduct.from_subscripts("u,iu,j,ku+ijk")  # weights, values, harmonics, output
        for irrep in irreps_v:
            product.add_segment(1, (irrep.dim, channels))
        for degree in range(filter_degrees):
            product.add_segment(2, (2 * degree + 1,))
        for irrep in irreps_out:
            product.add_segment(3, (irrep.dim, channels))
        for path in self.paths:
            degrees = (path.filter_degree, irreps_v[path.value].degree, irreps_out[path.output].degree)
            coefficients = clebsch_gordan(*degrees).transpose(0, 1).numpy()
            weight = product.add_segment(0, (channels,))
            product.add_path(weight, path.value, path.filter_degree, path.output, c=coefficients)
        polynomial = cue.SegmentedPolynomial.eval_last_operand(product.flatten_coefficient_modes())
        self.product = cuet.SegmentedPolynomial(polynomial, method=method)

    def to_own(self, x: Tensor) -> Tensor:
        return x.flatten(1)

    def from_own(self, x: Tensor, heads: int) -> Tensor:
        return x.unflatten(1, (self.irreps_out.dim, heads, -1))

    def harmonics_of(self, delta: Tensor) -> Tensor:
        return spherical_harmonics(delta, self.filter_degrees)

    def aggregate(self, value: Tensor, harmonics: Tensor, weights: Tensor, pairs: Pairs) -> Tensor:
        shape = torch.empty(value.shape[0], 1, dtype=value.dtype, device=value.device)
        operands = [weights.flatten(1), value, harmonics]
        places = {"input_indices": {1: pairs.senders}, "output_indices": {0: pairs.receivers}}
        return self.product(operands, output_shapes={0: shape}, **places)[0]
