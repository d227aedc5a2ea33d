"""Would tables of the radial projections pay in sampling? `python -m benchmarks.radial_tables`, on one thread.

For a hop class the weights a and g of a PE(3) attention are smooth functions of the distance alone. Here a table holds
their values and slopes at nodes tau = r / (1 + r), one set for each hop class; a pair takes the cubic Hermite
interpolation of four rows, all pairs of a molecule in one pass of `F.embedding_bag`, and the operator takes the result
as `DenseRadial`, molecule by molecule so that it stays in the cache. Beside it: the form that the network uses, which
makes the 64 functions and projects them, and that form with one function, which is what attention costs without them.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ditkernels.so3 import Irreps, paths, radial_basis
from ditkernels.so3_attention import DenseRadial, RadialBasis, so3_attention

IRREPS = Irreps.with_parity(1)
"""Of the inner blocks of a PE(3) network."""
CHANNELS, HEADS, FUNCTIONS, DEGREES, CLASSES = 256, 8, 64, 2, 16
SIZES = ((8, 18), (2, 44), (1, 100))
NODES, LARGEST_TAU = 128, 0.96
"""Nodes of a table, from r = 0 to 24 Angstrom."""
ROUNDS = 15


@dataclass(frozen=True)
class Radial:
    """Weights of the radial functions, of one attention: weight (K, A + J, C), scaling (S, J, K)."""

    weight: Tensor
    scaling: Tensor

    @classmethod
    def random(cls, channels: int = CHANNELS) -> Radial:
        weight = torch.randn(FUNCTIONS, len(IRREPS) + DEGREES, channels) * FUNCTIONS**-0.5
        return cls(weight, 1 + 0.3 * torch.randn(CLASSES, DEGREES, FUNCTIONS))

    def exact(self, tau: Tensor, hop: int) -> Tensor:
        """(n,) to (n, A + J, C) in float64: a by the factors of degree 0, g by those of its own degree."""
        phi = radial_basis("bernstein", tau / (1 - tau), FUNCTIONS)
        factors = self.scaling[hop].double()[[0] * len(IRREPS) + list(range(DEGREES))]
        return torch.einsum("nk,xk,kxc->nxc", phi, factors, self.weight.double())

    def basis(self, index: Tensor, count: int = FUNCTIONS) -> RadialBasis:
        """The descriptor of the network, with the first `count` functions."""
        a, g = self.weight[:count].split((len(IRREPS), DEGREES), dim=1)
        scaling = self.scaling[..., :count].contiguous()
        return RadialBasis("bernstein", a.contiguous(), g.contiguous(), index=index, scaling=scaling)


class Table:
    """Values and slopes of a and g at the nodes, for every hop class: rows (S * nodes * 2, A * C) and (..., J * C)."""

    def __init__(self, radial: Radial, nodes: int = NODES) -> None:
        self.nodes, self.step = nodes, LARGEST_TAU / (nodes - 1)
        tau = torch.arange(nodes, dtype=torch.float64) * self.step
        rows = []
        for hop in range(CLASSES):
            value, slope = torch.func.jvp(partial(radial.exact, hop=hop), (tau,), (torch.ones_like(tau),))
            rows.append(torch.stack((value, slope * self.step), dim=1))
        a, g = torch.stack(rows).to(radial.weight).split((len(IRREPS), DEGREES), dim=-2)
        self.parts = [part.contiguous().flatten(0, 2).flatten(1) for part in (a, g)]

    def __call__(self, tau: Tensor, hop: Tensor) -> list[Tensor]:
        """a (n, A, C) and g (n, J, C) of pairs with tau (n,) and hop class (n,). Raises ValueError beyond the table."""
        if tau.numel() and float(tau.max()) > LARGEST_TAU:
            raise ValueError(f"tau must be at most {LARGEST_TAU}, got {float(tau.max())}")
        place = tau / self.step
        node = place.floor().clamp(max=self.nodes - 2)
        x, row = place - node, 2 * (hop.long() * self.nodes + node.long())
        x2, x3 = x * x, x * x * x
        weights = torch.stack((2 * x3 - 3 * x2 + 1, x3 - 2 * x2 + x, 3 * x2 - 2 * x3, x3 - x2), dim=1)
        rows = row.unsqueeze(1) + torch.arange(4)
        sums = (F.embedding_bag(rows, part, per_sample_weights=weights, mode="sum") for part in self.parts)
        return [part.unflatten(1, (count, -1)) for part, count in zip(sums, (len(IRREPS), DEGREES), strict=True)]


@torch.inference_mode()
def measure(molecules: int, size: int, rounds: int = ROUNDS) -> tuple[dict[str, float], float]:
    """Fewest milliseconds of one attention for each way, and the error of the tables over the largest output."""
    torch.manual_seed(0)
    query, key, value = torch.randn(3, molecules, size, IRREPS.dim, HEADS, CHANNELS // HEADS)
    positions = 3 * torch.randn(molecules, size, 3)
    path_weight = torch.randn(len(paths(IRREPS, IRREPS, DEGREES)), CHANNELS)
    hops = torch.randint(CLASSES, (molecules, size, size), dtype=torch.int32).triu(1)
    hops = hops + hops.transpose(1, 2)
    radial = Radial.random()
    table, full, one = Table(radial), radial.basis(hops), radial.basis(hops, 1)

    def attend(radial: RadialBasis | DenseRadial, some: slice = slice(None)) -> Tensor:
        irreps = {"irreps_qk": IRREPS, "irreps_v": IRREPS, "irreps_out": IRREPS}
        given = (query[some], key[some], value[some], positions[some], path_weight, radial)
        return so3_attention(*given, **irreps, exclude_self=True, impl="cpu")

    def looked_up(b: int) -> DenseRadial:
        distance = torch.cdist(positions[b], positions[b]).flatten()
        return DenseRadial(
            *(x.view(1, size, size, *x.shape[1:]) for x in table(distance / (1 + distance), hops[b].flatten()))
        )

    def tables() -> list[Tensor]:
        return [attend(looked_up(b), slice(b, b + 1)) for b in range(molecules)]

    kept = looked_up(0)
    ways = {
        "functions and projections": lambda: attend(full),
        "tables": tables,
        "tables, attention alone": lambda: [attend(kept, slice(b, b + 1)) for b in range(molecules)],
        "tables, lookup alone": lambda: [looked_up(b) for b in range(molecules)],
        "one function": lambda: attend(one),
    }
    exact = attend(full)
    error = float((torch.cat(tables()) - exact).abs().max() / exact.abs().max())
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.process_time()
            way()
            best[name] = min(best[name], 1e3 * (time.process_time() - start))
    return best, error


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="each way runs so often, in turns")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    for size in SIZES:
        best, error = measure(*size, rounds)
        cells = ", ".join(f"{name} {milliseconds:.2f} ms" for name, milliseconds in best.items())
        print(f"{size[0]} x {size[1]} atoms: {cells}; error of the tables {error:.0e}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
