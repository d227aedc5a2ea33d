"""Cases of the models: a block, an evaluation, a training step and a sampling run of DiTMC with random weights.

`call` knows, beside the names of the operators' implementations, "released": the network as it was released, see
`released.py`. Half precision is autocast, as in training. Operations are those of the matrix products of the reference
path, counted by torch.utils.flop_counter; bytes are not counted.
"""

from __future__ import annotations

import copy
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.cases.case import BOTH, FORWARD, Case, OwnTime, Random, Work
from benchmarks.cases.molecules import batch, network
from benchmarks.cases.pair import DRUGS, equal
from benchmarks.cases.released import ReleasedDiTMC
from ditkernels.models.ditmc import DiTMC, flow_matching_loss, sample
from ditkernels.models.ditmc.engine import Engines
from ditkernels.models.ditmc.model import RECOMPUTE
from ditkernels.models.ditmc.pairs import DirectionPair
from ditkernels.models.molecule.graph import GraphBatch
from ditkernels.pair_attention import DisplacementPair, TablePair

NETWORKS = ("ape-b", "rpe-b", "pe3-b")
STEPS = 50


@dataclass(frozen=True)
class Parts:
    """A network, a batch of graphs and positions (T, 3) of its atoms."""

    model: DiTMC
    graph: GraphBatch
    start: Tensor

    @classmethod
    def of(cls, case: Case, device: torch.device, same: bool) -> Parts:
        model = network(case.form, device)
        start = Random(device, "float32").coordinates(case.atoms, 3, std=2.0)
        return cls(model, batch(case.lengths, model.config, device, same), start)

    def double(self) -> Parts:
        model = copy.deepcopy(self.model).double()
        return Parts(model, self.graph.to(dtype=torch.float64), self.start.double())

    @cached_property
    def released(self) -> DiTMC:
        model = ReleasedDiTMC(self.model.config).to(self.start.device, self.start.dtype)
        model.load_state_dict(self.model.state_dict())
        return model

    def form(self, impl: str) -> tuple[DiTMC, str]:
        """The network and the implementation of its operators that a contestant's `impl` means."""
        return (self.released, "reference") if impl == "released" else (self.model, impl)


def precision(case: Case, device: torch.device):
    """The context of one run."""
    half = case.dtype != "float32"
    return torch.autocast(device.type, dtype=getattr(torch, case.dtype)) if half else nullcontext()


class BlockOfPairs(nn.Module):
    """A block of a network together with its maps of the pair tokens (S, F'), which every block has its own."""

    def __init__(self, model: DiTMC, graph: GraphBatch):
        super().__init__()
        self.block, self.graph, self.config, self.displacement = model.blocks[1], graph, model.config, None
        if model.displacement is not None:
            self.displacement = nn.ParameterList([model.displacement[0].weight, model.displacement[2].weight])

    def forward(self, impl: str, state: Tensor, condition: Tensor, positions: Tensor, tokens: Tensor) -> Tensor:
        index, block = self.graph.hop_index, self.block
        if self.config.equivariant:
            pair = DirectionPair(positions, index, 1 + tokens.unflatten(-1, (self.config.degree + 1, -1)))
        elif self.displacement is None:
            pair = TablePair(index, *block.pair_maps(tokens))
        else:
            first, last = (weight.t() for weight in self.displacement)
            pair = DisplacementPair(positions, first, *block.pair_maps(last), index, *block.pair_maps(tokens))
        return block(state, condition, pair, self.graph.cu_seqlens, impl)


def block(case: Case, device: torch.device) -> Work:
    """The second block of a network (the first of PE(3) starts from scalars) between random states; with its backward
    pass gradients of the states, the positions, the pair tokens and all weights.
    """
    parts, random = Parts.of(case, device, same=False), Random(device, "float32")
    module, width = BlockOfPairs(parts.model, parts.graph), parts.model.config.width
    inputs, outputs = (case.atoms, width), (case.atoms, width)
    tokens = width
    if parts.model.config.equivariant:
        inputs, outputs = ((case.atoms, x.dim, width) for x in (module.block.irreps_in, module.block.irreps))
        tokens = (parts.model.config.degree + 1) * parts.model.config.basis_size
    tensors = (random.normal(*inputs), random.normal(case.atoms, width), parts.start)
    tensors += (random.normal(len(parts.graph.hop_values), tokens, std=0.3),)
    names, weights = zip(*((name, weight.detach()) for name, weight in module.named_parameters()))

    def call(impl: str, cu_seqlens: Tensor, *tensors: Tensor) -> Tensor:
        with precision(case, device):
            given = dict(zip(names, tensors[4:], strict=True))
            out = torch.func.functional_call(module, given, (impl, *tensors[:4]))
        return out.to(tensors[0].dtype)

    return Work(call, (*tensors, *weights), random.normal(*outputs), case.lengths)


def evaluation(case: Case, device: torch.device) -> Work:
    """One evaluation of a network on copies of one molecule; what depends on the graph alone is there already, except
    in the released form, which has no such part.
    """
    return _evaluation(case, Parts.of(case, device, same=True))


def _evaluation(case: Case, parts: Parts) -> Work:
    t = torch.full((parts.graph.num_molecules,), 0.5, dtype=parts.start.dtype, device=parts.start.device)
    with torch.inference_mode():
        conditioning = {model: model.encode(parts.graph) for model in {parts.model, _released(parts)}}

    def call(impl: str, cu_seqlens: None) -> tuple[Tensor]:
        model, impl = parts.form(impl)
        with torch.inference_mode(), precision(case, parts.start.device):
            return (model.denoise(parts.start, t, conditioning[model], impl=impl),)

    return Work(call, lengths=case.lengths, exact=lambda: _evaluation(replace(case, dtype="float32"), parts.double()))


def _released(parts: Parts) -> DiTMC:
    return parts.model if parts.model.config.equivariant else parts.released


def training(case: Case, device: torch.device) -> Work:
    """Loss, gradients and an AdamW step, at the learning rate 0 so that every run does the same; returns gradients.

    The last word of a direction such as "step, recompute hidden" is what the network makes again.
    """
    parts = Parts.of(case, device, same=False)
    parts.model.set_recompute("none" if case.direction == "step" else case.direction.split()[-1])
    return _training(case, parts)


def _training(case: Case, parts: Parts) -> Work:
    random = Random(parts.start.device, "float32", seed=2)
    x0, z = (random.coordinates(case.atoms, 3).to(parts.start.dtype) for _ in range(2))
    t = torch.linspace(0.1, 0.8, len(case.lengths)).to(parts.start)
    optimizers = {}

    def call(impl: str, cu_seqlens: None) -> tuple[Tensor, ...]:
        model, impl = parts.form(impl)
        if model not in optimizers:
            optimizers[model] = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=0.01, fused=True)
        with precision(case, parts.start.device):
            loss = flow_matching_loss(model, parts.graph, parts.start, x0, t, z, impl=impl)
        loss.backward()
        optimizers[model].step()
        gradients = tuple(p.grad for p in model.parameters() if p.grad is not None)
        optimizers[model].zero_grad()  # nothing of a run is left behind but the optimizer's state
        return gradients

    return Work(call, lengths=case.lengths, exact=lambda: _training(replace(case, dtype="float32"), parts.double()))


def sampling(case: Case, device: torch.device) -> Work:
    """STEPS Euler steps for copies of one molecule, conditioning included, with engines that earlier calls used, too;
    on a CPU two steps are timed, and the second one stands for all after it: one step costs what another does.

    With the direction "50 steps, cuda graph" our back-ends replay a graph.
    """
    return _sampling(case, Parts.of(case, device, same=True))


def _sampling(case: Case, parts: Parts) -> Work:
    scaled = parts.start.device.type == "cpu"
    engines: dict[str, Engines] = {}

    def call(impl: str, cu_seqlens: None) -> OwnTime | tuple[Tensor]:
        model, operator_impl = parts.form(impl)
        if impl not in engines:
            cuda_graph = case.direction.endswith("cuda graph") and operator_impl != "reference"
            engines[impl] = Engines(model, operator_impl, cuda_graph)
        stamps = [time.perf_counter()]
        with precision(case, parts.start.device):
            positions = sample(
                model,
                parts.graph,
                parts.start,
                steps=2 if scaled else STEPS,
                engines=engines[impl],
                callback=lambda *_: stamps.append(time.perf_counter()),
            )
        if not scaled:
            return (positions,)
        first, step = map(float, np.diff(stamps))
        return OwnTime(first + (STEPS - 1) * step, (positions,))  # the first interval holds the conditioning, too

    return Work(call, lengths=case.lengths, exact=lambda: _sampling(replace(case, dtype="float32"), parts.double()))


def count(case: Case, work: Work) -> int:
    """Operations of the matrix products of one run."""
    if case.operator == "sampling":
        work = evaluation(case, torch.device("cpu"))
    with FlopCounterMode(display=False) as counter:
        work.call("reference", work.cu_seqlens, *work.tensors)
    # Of a block only the forward pass is called; its backward has two products for each.
    repeats = {"sampling": STEPS, "block": 3 if case.direction == BOTH else 1}.get(case.operator, 1)
    return counter.get_total_flops() * repeats


def cases() -> list[Case]:
    core, memory, only = frozenset({"core", "gpu"}), frozenset({"memory"}), frozenset({"gpu-only"})
    memory_only = frozenset({"memory-only"})
    found = []
    for name in NETWORKS:
        short = core if name == "ape-b" else frozenset({"gpu"})  # one network is enough for a short run
        found += [
            _case("block", name, equal(16, 44), FORWARD, block, frozenset({"gpu"})),
            _case("block", name, equal(16, 44), BOTH, block, short),
            _case("network", name, equal(16, 44), "evaluation", evaluation, short),
            _case("training", name, DRUGS[:4], "step", training, short, batch="drugs4"),
            _case("training", name, equal(1, 100), "step", training, memory_only | {"per-pair"}),
            _case("sampling", name, equal(16, 44), "50 steps", sampling, core),
            _case("sampling", name, equal(16, 44), "50 steps, cuda graph", sampling, only),
        ]
        if name == "ape-b":  # the largest of the drugs; full selection only, as the released form takes its time
            found.append(_case("sampling", name, equal(4, 181), "50 steps", sampling, frozenset()))
        if name != "rpe-b":
            found += [
                _case("training", name, DRUGS[:8], f"step, recompute {what}", training, memory_only, batch="drugs8")
                for what in RECOMPUTE
            ]
        # What a GPU is for: 127 drug-like molecules, and hundreds of conformers at once.
        for dtype in ("float32", "bfloat16"):
            first = frozenset({"first"} if name == "ape-b" else ())
            many, step = (DRUGS * 8)[:127], only | memory | first
            found += [
                _case("training", name, many, "step", training, step, dtype, batch="drugs127"),
                _case("sampling", name, equal(512, 44), "50 steps", sampling, only | first, dtype),
            ]
    return found


def _case(operator, name, lengths, direction, set_up, tags, dtype="float32", **options) -> Case:
    return Case(operator, name, lengths, dtype, direction, set_up, count, heads=0, budget=3.0, tags=tags, **options)
