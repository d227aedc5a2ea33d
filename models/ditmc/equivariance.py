"""How far a network is from the symmetries of space and of atom order, on given molecules."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ditkernels.models.ditmc.config import DiTMCConfig
from ditkernels.models.ditmc.geometry import center, kabsch_align, random_rotations, rotate
from ditkernels.models.ditmc.model import DiTMC
from ditkernels.models.ditmc.prior import PRIORS
from ditkernels.models.ditmc.sampler import sample
from ditkernels.models.molecule.graph import GraphBatch, MolecularGraph, collate
from ditkernels.pair_attention import available_impls as pair_attention_impls
from ditkernels.so3_attention import available_impls as so3_attention_impls

SYMMETRIES = ("permutation", "translation", "rotation", "reflection")

TIMES = (0.0, 0.5, 0.98)
"""Times of the network outputs: first, middle and last of 50 steps."""

ROUNDING_FACTOR = 100
"""A symmetry that holds by construction may be off by this much times what a change of the last digits does."""

LEAST_TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-13}
"""Relative tolerance where the last digits of the inputs matter less: about a hundred roundings."""

LOST = 0.1
"""From this relative tolerance on, rounding has grown so large that a comparison says nothing."""

SHIFT = 10.0
"""Standard deviation in Å of each coordinate of the translations."""

MoleculeWithPositions = tuple[MolecularGraph, np.ndarray]
"""A graph and the positions (n, 3) of its atoms in Å."""


@dataclass(frozen=True)
class EquivarianceError:
    """How much the answer to a moved question differs from the moved answer.

    Attributes:
        symmetry: one of :data:`SYMMETRIES`.
        quantity: ``output t=0.50`` (centered network output: Å, for velocity networks Å per unit time) or
            ``sample (50 steps)`` (Å).
        impl, dtype: back-end and precision of the run.
        error: largest :math:`|f(Rx) - R f(x)|` of an atom, over all molecules.
        scale: largest :math:`|f(x)|` of an atom.
        guaranteed: whether the symmetry holds by construction of the network.
        tolerance: largest ``relative`` error of a guaranteed symmetry: :data:`ROUNDING_FACTOR` times the relative
            change of f(x) when every coordinate of x changes by a rounding, as layers and steps can amplify rounding by
            any factor; at least :data:`LEAST_TOLERANCE`.
    """

    symmetry: str
    quantity: str
    impl: str
    dtype: str
    error: float
    scale: float
    guaranteed: bool
    tolerance: float

    @property
    def relative(self) -> float:
        """``error / scale``; the error itself where all outputs are 0."""
        return self.error / self.scale if self.scale else self.error

    @property
    def passed(self) -> bool:
        """Whether the error is a number within the tolerance, or the network never promised the symmetry."""
        return not self.guaranteed or self.relative <= self.tolerance

    @property
    def lost(self) -> bool:
        """Whether rounding has grown so large that the comparison says nothing, whatever its verdict."""
        return self.tolerance >= LOST


def guaranteed_symmetries(config: DiTMCConfig) -> tuple[str, ...]:
    """The symmetries that a network has whatever its weights are, in the order of :data:`SYMMETRIES`.

    Absolute positions and displacements enter scalar networks through ordinary MLPs, so these have to learn rotations
    and reflections. In a PE(3) network all maps are equivariant; the released model's ``parity_broadcast`` mixes
    true and pseudo tensors, which costs it reflections.
    """
    holds = {
        "permutation": not config.index_encoding,
        "translation": True,
        "rotation": config.equivariant,
        "reflection": config.equivariant and not config.parity_broadcast,
    }
    return tuple(name for name in SYMMETRIES if holds[name])


def available_impls(config: DiTMCConfig) -> list[str]:
    """The implementations that run this network's attention on the CPU, in float64 too."""
    of_operator = so3_attention_impls if config.equivariant else pair_attention_impls
    return of_operator(torch.device("cpu"), torch.float64)


@torch.no_grad()
def equivariance_errors(
    model: DiTMC,
    batches: Sequence[Sequence[MoleculeWithPositions]],
    *,
    impls: Sequence[str],
    dtypes: Sequence[torch.dtype] = (torch.float32, torch.float64),
    steps: int = 50,
    times: Sequence[float] = TIMES,
    seed: int = 0,
) -> Iterator[EquivarianceError]:
    """Compare f(Rx) with R f(x) for every symmetry R; rows come as they are computed.

    f is the network output at :math:`x_t = (1 - t) x_0 + t x_1` between a prior sample and the given conformer, and the
    result of Euler sampling from the prior sample. Every molecule gets a rotation, a translation, a mirror plane and an
    order of its atoms of its own. Graphs stay as they are (chiral tags included), but for the order of their atoms.

    Args:
        model: the network, on the CPU; left unchanged.
        batches: molecules with conformers; those of a batch are evaluated together.
        impls: back-ends of the attention operator.
        dtypes: precisions of network and positions.
        steps: Euler steps of the sampling.
        times: times of the network outputs.
        seed: of prior samples, rotations, translations, planes and orders.

    Yields:
        Rows by dtype, back-end, quantity and symmetry.

    Raises:
        ValueError: no batch, or an empty one.
    """
    generator = torch.Generator().manual_seed(seed)
    if not batches or not all(batches):
        raise ValueError("equivariance_errors needs at least one molecule in every batch, and one batch")
    cases = [_Case(batch, model.config, generator) for batch in batches]
    guaranteed = guaranteed_symmetries(model.config)
    for dtype in dtypes:
        network = copy.deepcopy(model).to(dtype).eval()
        for impl in impls:
            for quantity, function in _quantities(network, impl, steps, times):
                found = [case.errors(function, dtype) for case in cases]
                largest = {name: _largest(numbers[name] for numbers in found) for name in found[0]}
                scale, rounding = largest["size"], largest["rounding"]
                tolerance = ROUNDING_FACTOR * (rounding / scale if scale else rounding)
                for name in SYMMETRIES:
                    yield EquivarianceError(
                        symmetry=name,
                        quantity=quantity,
                        impl=impl,
                        dtype=str(dtype).removeprefix("torch."),
                        error=largest[name],
                        scale=scale,
                        guaranteed=name in guaranteed,
                        tolerance=_largest((LEAST_TOLERANCE[dtype], tolerance)),
                    )


_Function = Callable[[Tensor, Tensor, GraphBatch], Tensor]
"""Prior samples and conformers (T, 3), moved, and the graph to outputs (T, 3)."""


def _quantities(network: DiTMC, impl: str, steps: int, times: Sequence[float]) -> Iterator[tuple[str, _Function]]:
    """The functions f under test, by name."""
    for t in times:

        def output(x0: Tensor, x1: Tensor, graph: GraphBatch, t: float = t) -> Tensor:
            return network((1 - t) * x0 + t * x1, x0.new_full((graph.num_molecules,), t), graph, impl=impl)

        yield f"output t={t:.2f}", output
    name = f"sample ({steps} step{'s' if steps != 1 else ''})"
    yield name, lambda x0, x1, graph: sample(network, graph, x0, steps=steps, impl=impl)


class _Motion:
    """An orthogonal matrix and a shift per molecule, and an order of the atoms of the batch."""

    def __init__(self, graph: GraphBatch, orthogonal: Tensor, shift: Tensor, order: Tensor, after: GraphBatch) -> None:
        self.graph, self.orthogonal, self.shift, self.order, self.after = graph, orthogonal, shift, order, after

    def of_positions(self, x: Tensor) -> Tensor:
        return (rotate(x, self.orthogonal, self.graph) + self.shift[self.graph.molecule])[self.order]

    def of_output(self, y: Tensor) -> Tensor:
        """Outputs are centered, so the shift does not move them."""
        return rotate(y, self.orthogonal, self.graph)[self.order]


class _Case:
    """One batch of molecules, its inputs in float64 and what is done to them."""

    def __init__(
        self, molecules: Sequence[MoleculeWithPositions], config: DiTMCConfig, generator: torch.Generator
    ) -> None:
        graphs = [graph for graph, _ in molecules]
        self.graph = graph = collate(graphs)
        prior, draw = PRIORS[config.prior], {"generator": generator, "dtype": torch.float64}
        x0 = [prior.sample(g, torch.randn(g.num_atoms, 3, generator=generator).numpy()) for g in graphs]
        x1 = center(torch.from_numpy(np.concatenate([x for _, x in molecules])).double(), graph)
        # Conformers may lie in a plane z = 0, where products that rounding leaves elsewhere vanish exactly.
        self.x1 = rotate(x1, random_rotations(len(graphs), **draw), graph)
        self.x0 = kabsch_align(center(torch.from_numpy(np.concatenate(x0)).double(), graph), self.x1, graph)

        self.signs = torch.randint(2, self.x1.shape, generator=generator).double() * 2 - 1

        count = len(graphs)
        orders = [torch.randperm(g.num_atoms, generator=generator) for g in graphs]
        same = torch.arange(graph.num_atoms)
        permuted = torch.cat([start + order for start, order in zip(graph.cu_seqlens.tolist(), orders)])
        unmoved, unshifted = torch.eye(3, dtype=torch.float64).expand(count, 3, 3), torch.zeros(count, 3).double()
        normal = torch.nn.functional.normalize(torch.randn(count, 3, 1, **draw), dim=1)
        mirror = unmoved - 2 * normal @ normal.transpose(1, 2)
        reordered = collate([g.permuted(order.numpy()) for g, order in zip(graphs, orders)])
        self.motions = {
            "permutation": _Motion(graph, unmoved, unshifted, permuted, reordered),
            "translation": _Motion(graph, unmoved, SHIFT * torch.randn(count, 3, **draw), same, graph),
            "rotation": _Motion(graph, random_rotations(count, **draw), unshifted, same, graph),
            "reflection": _Motion(graph, mirror, unshifted, same, graph),
        }

    def errors(self, function: _Function, dtype: torch.dtype) -> dict[str, float]:
        """Largest error of an atom by symmetry; ``rounding``, the same for inputs that are changed by a rounding;
        ``size``, the largest output of an atom.
        """
        # Rounded before they are moved: both sides of a comparison start from the same numbers.
        x0, x1 = (x.to(dtype).double() for x in (self.x0, self.x1))
        base = function(x0.to(dtype), x1.to(dtype), self.graph).double()
        # As large as the rounding of a rotated position, also for coordinates that are exactly 0.
        rounding = (x + torch.finfo(dtype).eps * x.norm(dim=-1, keepdim=True) * self.signs for x in (x0, x1))
        nudged = function(*(x.to(dtype) for x in rounding), self.graph).double()
        numbers = {"size": _largest_norm(base), "rounding": _largest_norm(nudged - base)}
        for name, motion in self.motions.items():
            moved = (motion.of_positions(x).to(dtype) for x in (x0, x1))
            numbers[name] = _largest_norm(function(*moved, motion.after).double() - motion.of_output(base))
        return numbers


def _largest_norm(vectors: Tensor) -> float:
    return float(vectors.norm(dim=-1).max())


def _largest(numbers: Iterable[float]) -> float:
    """The largest number; not a number wins."""
    return float(torch.tensor(list(numbers), dtype=torch.float64).max())
