"""`ditkernels.so3_attention` from e3nn's parts (arXiv 2506.15378, eqs. 18-19).

A depthwise `TensorProduct` ('uvu' instructions, one weight per pair, path and channel) couples the values of the
senders with the harmonics of the pairs; the softmax and the sums over senders are gathers and index_add. Features are
flat, as e3nn stores them: "Cx0e + Cx1o", (T, C * M).

Modes: "eager" and "script" are e3nn's own (`jit_mode`: how the code that e3nn generates is run; eager is its default
from PyTorch 2.10 on). e3nn 0.6.0 has a third, "inductor", which leaves the tensor product as it is; what compiles it is
torch.compile of the whole attention, here "compile", once for all sizes.
"""

from __future__ import annotations

import e3nn
import torch
from e3nn import o3
from torch import Tensor

from benchmarks.composition import Composition, Pairs
from ditkernels.so3 import Irreps
from ditkernels.so3.conventions import (
    e3nn_path_weight,
    from_convention,
    from_e3nn_layout,
    to_convention,
    to_e3nn_layout,
)

MODES = ("eager", "script", "compile")
PARITY = {1: "e", -1: "o", 0: "e"}


class E3nnComposition(Composition):
    """What e3nn's conventions ask for: features, harmonics and weights; a subclass brings the tensor product.

    irreps: without parity labels they are all even for e3nn
    normalization: of e3nn's harmonics, "component", "norm" or "integral"; the result is the same
    mode: one of MODES
    """

    components_last = True

    def __init__(
        self,
        irreps_qk: Irreps,
        irreps_v: Irreps,
        irreps_out: Irreps,
        filter_degrees: int,
        heads: int,
        channels: int,
        normalization: str = "component",
        mode: str = "eager",
    ):
        super().__init__(irreps_qk, irreps_v, irreps_out, filter_degrees, heads, channels)
        labelled = irreps_v.labelled
        self.operands = (
            _e3nn(irreps_v, channels),
            "+".join(f"1x{J}{'o' if labelled and J % 2 else 'e'}" for J in range(filter_degrees)),
            _e3nn(irreps_out, channels),
        )
        self.instructions = [(path.value, path.filter_degree, path.output, "uvu", True) for path in self.paths]
        before = e3nn.get_optimization_defaults()["jit_mode"]
        e3nn.set_optimization_defaults(jit_mode="script" if mode == "script" else "eager")
        try:
            degrees = list(range(filter_degrees))
            self.harmonics = o3.SphericalHarmonics(degrees, normalize=True, normalization=normalization)
            self.product = self.make_product()
        finally:
            e3nn.set_optimization_defaults(jit_mode=before)
        factors = [
            e3nn_path_weight(
                path.filter_degree,
                irreps_v[path.value].degree,
                irreps_out[path.output].degree,
                f"e3nn-{normalization}",
                filter_first=False,
            )
            for path in self.paths
        ]
        self.register_buffer("factors", torch.tensor(factors)[:, None], persistent=False)
        if mode == "compile":
            self.compile(dynamic=True)

    def make_product(self) -> torch.nn.Module:
        """The tensor product of `operands` by `instructions`, without e3nn's normalizations."""
        raise NotImplementedError

    def to_own(self, x: Tensor) -> Tensor:
        return to_native(x, self.irreps_v)

    def from_own(self, x: Tensor, heads: int) -> Tensor:
        return from_native(x, self.irreps_out, heads)

    def harmonics_of(self, delta: Tensor) -> Tensor:
        return self.harmonics(delta)

    def weights_of(self, weights: Tensor) -> Tensor:
        return weights * self.factors


class E3nnAttention(E3nnComposition):
    """The composition with e3nn's own product."""

    def make_product(self) -> torch.nn.Module:
        return o3.TensorProduct(
            *self.operands,
            self.instructions,
            irrep_normalization="none",
            path_normalization="none",
            shared_weights=False,
            internal_weights=False,
        )

    def aggregate(self, value: Tensor, harmonics: Tensor, weights: Tensor, pairs: Pairs) -> Tensor:
        messages = self.product(value[pairs.senders], harmonics, weights.flatten(1))
        return messages.new_zeros(value.shape[0], messages.shape[1]).index_add(0, pairs.receivers, messages)


def to_native(x: Tensor, irreps: Irreps) -> Tensor:
    """Features (T, M, H, D) of ours as e3nn stores them, (T, C * M)."""
    return to_e3nn_layout(to_convention(x.flatten(-2), irreps, "e3nn-norm"), irreps)


def from_native(x: Tensor, irreps: Irreps, heads: int) -> Tensor:
    """The inverse of `to_native`."""
    return from_convention(from_e3nn_layout(x, irreps), irreps, "e3nn-norm").unflatten(-1, (heads, -1))


def _e3nn(irreps: Irreps, channels: int) -> str:
    return " + ".join(f"{channels}x{irrep.degree}{PARITY[irrep.parity]}" for irrep in irreps)
