"""Who is measured. A contestant that cannot run a case says why, and the tables print it.

auto and the others of ours   every back-end that works on the device, `contestants.ours.backends`
eager                         impl="reference", against which every ratio is taken
compile                       torch.compile of that
released                      whole networks with the operations of the released model
e3nn eager, script, compile   a composition with e3nn's tensor product, in each of its modes
cuequivariance, openequivariance   compositions with their kernels: need a GPU, not yet run on one
sdpa, flex                    attention that knows less: the price of the pair information
"""

from __future__ import annotations

import torch

from benchmarks.cases import Case
from benchmarks.contestants.contestant import Contestant, Run
from benchmarks.contestants.ours import Backend, Compiled, Eager, Released, automatic, backends
from benchmarks.contestants.prices import Flex, ScaledDotProduct
from benchmarks.contestants.tensor_products import CuEquivariance, E3nn, OpenEquivariance

__all__ = ["E3NN_MODES", "Contestant", "Eager", "Run", "automatic", "contestants", "everybody", "named"]

E3NN_MODES = ("eager", "script", "compile")


def everybody(device: torch.device) -> list[Contestant]:
    """All contestants on a device, ours first."""
    others = (Eager(), Compiled(), Released(), *map(E3nn, E3NN_MODES), CuEquivariance(), OpenEquivariance())
    return [*map(Backend, backends(device)), *others, ScaledDotProduct(), Flex()]


def contestants(case: Case, device: torch.device) -> list[Contestant]:
    """Those that belong into the table of a case."""
    return [contestant for contestant in everybody(device) if contestant.concerns(case)]


def named(name: str, device: torch.device) -> Contestant:
    for contestant in everybody(device):
        if contestant.name == name:
            return contestant
    raise ValueError(f"no contestant is called {name!r} on {device}")
