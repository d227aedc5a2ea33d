"""An energy made of two attention layers: forces without net force or torque, and a symmetric Hessian."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.so3_attention.cases import BASES, make_batch
from tests.support.rotations import random_orthogonal

ATOMS = [4, 2]


class Energy:
    """Scalars -> scalars and vectors -> the same -> one number per batch, a function of the positions alone."""

    def __init__(self, impl: str, kind: str):
        self.impl = impl
        self.first = make_batch("first-block", f"{kind}-scaled", ATOMS, heads=1, width=2)
        self.second = make_batch("natural-1", kind, ATOMS, heads=1, width=2)

    def __call__(self, positions):
        hidden = replace(self.first, positions=positions).run(self.impl)
        second = replace(self.second, query=hidden, key=hidden, value=hidden, positions=positions)
        out = second.run(self.impl, exclude_self=True)
        return out[:, 0].sin().sum() + out[:, 1:].square().sum()

    def forces(self, positions):
        positions = positions.detach().requires_grad_()
        return -torch.autograd.grad(self(positions), positions)[0]

    def hessian(self, positions):
        positions = positions.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(self(positions), positions, create_graph=True)
        rows = [torch.autograd.grad(g, positions, retain_graph=True)[0].flatten() for g in gradient.flatten()]
        return torch.stack(rows)


@pytest.fixture(params=BASES)
def energy(request, impl):
    return Energy(impl, request.param)


def test_no_net_force_and_no_torque_on_a_molecule(energy):
    positions = energy.first.positions
    forces = energy.forces(positions)
    assert forces.abs().max() > 0.1
    for r, f in zip(positions.split(ATOMS), forces.split(ATOMS), strict=True):
        assert f.sum(0).abs().max() < 1e-12 * f.abs().max()
        assert torch.linalg.cross(r, f).sum(0).abs().max() < 1e-11 * f.abs().max()


def test_energy_is_invariant_and_forces_turn(energy):
    positions, q = energy.first.positions, random_orthogonal(5, determinant=-1)
    torch.testing.assert_close(energy(positions @ q.mT + 2.0), energy(positions))
    torch.testing.assert_close(energy.forces(positions @ q.mT + 2.0), energy.forces(positions) @ q.mT)


def test_forces_are_differences_of_the_energy(energy):
    positions = energy.first.positions
    torch.testing.assert_close(energy.forces(positions), -differences(energy, positions), atol=1e-7, rtol=1e-6)


def test_hessian_is_symmetric_and_the_change_of_the_forces(energy):
    positions = energy.first.positions
    hessian = energy.hessian(positions)
    torch.testing.assert_close(hessian, hessian.mT)
    changes = differences(energy.forces, positions).view_as(hessian)
    torch.testing.assert_close(hessian, -changes, atol=1e-7, rtol=1e-6)


def test_hessian_has_no_entry_between_molecules(energy):
    blocks = energy.hessian(energy.first.positions)
    n = 3 * ATOMS[0]
    assert (blocks[:n, n:] == 0).all() and (blocks[n:, :n] == 0).all()


def differences(function, positions, step=1e-5):
    """Central differences of a function of the positions (T, 3): (T, 3, ...)."""
    columns = []
    for entry in range(positions.numel()):
        moved = torch.zeros_like(positions)
        moved.view(-1)[entry] = step
        columns.append((function(positions + moved) - function(positions - moved)).detach() / (2 * step))
    return torch.stack(columns).view(*positions.shape, *columns[0].shape)
