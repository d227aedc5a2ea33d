"""The PE(3) network: its irreps, its start, its training, and how the graph enters its radial functions."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from ditkernels.models.ditmc import DiTMC, DiTMCConfig, flow_matching_loss
from ditkernels.models.ditmc.equivariance import available_impls
from ditkernels.models.ditmc.equivariant import state_irreps
from ditkernels.models.ditmc.geometry import center
from tests.support.networks import batch_of, small_network
from tests.support.rotations import random_orthogonal

CONFIG = DiTMCConfig("pe3", width=16, heads=4, blocks=4, conditioner_layers=1, basis_size=8)


@pytest.fixture(params=available_impls(CONFIG))
def pe3_impl(request):
    return request.param


def inputs(batch, seed=1):
    generator = torch.Generator().manual_seed(seed)
    positions = torch.randn(batch.num_atoms, 3, generator=generator, dtype=torch.float64)
    return center(positions, batch), torch.rand(batch.num_molecules, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(
    ("degree", "expected"),
    [
        (1, ["0+", "0+ 1-", "0+ 1+ 1-", "0+ 1+ 0- 1-", "0+ 1+ 0- 1-", "0+ 1-"]),
        (2, ["0+", "0+ 2+ 1-", "0+ 1+ 2+ 1- 2-", "0+ 1+ 2+ 0- 1- 2-", "0+ 1+ 2+ 0- 1- 2-", "0+ 1-"]),
    ],
)
def test_a_state_has_the_irreps_that_its_blocks_have_reached(degree, expected):
    assert [str(irreps) for irreps in state_irreps(degree, 5, False)] == expected
    everything = expected[-2]
    assert [str(irreps) for irreps in state_irreps(degree, 3, True)] == ["0+"] + [everything] * 3


def test_one_block_makes_vectors():
    model = small_network("pe3", blocks=1)
    batch = batch_of("CCO")
    assert model(*inputs(batch), batch).abs().max() > 1e-3


def test_no_irrep_of_a_state_is_zero():
    model, batch = small_network("pe3", degree=2), batch_of("CC(N)C(=O)O")
    states = []
    for block in model.blocks:
        block.register_forward_hook(lambda block, _, state: states.append((block.irreps, state)))
    model(*inputs(batch), batch)
    for irreps, state in states:
        for components in irreps.slices:
            assert state[:, components].abs().amax(dim=1).min() > 1e-9


def test_radial_factors_are_one_plus_the_gated_tokens():
    model, batch = small_network("pe3", degree=2), batch_of("CCO", "CC")
    positions, _ = inputs(batch)
    conditioning = model.encode(batch)
    tokens = model.hop_embedding.mlp(model.hop_embedding.hops(batch.hop_values)).view(-1, 3, 8)
    assert not list(model.hop_embedding.mlp.named_parameters())[0][0].endswith("bias")
    for gate in (1.0, 0.0):
        pairs = list(conditioning.pairs.descriptors(positions, gate))
        assert len(pairs) == 4
        for pair in pairs:
            assert_close(pair.scaling, 1 + gate * tokens)
            assert pair.positions is positions and pair.index is batch.hop_index


def test_dropped_condition_makes_all_hop_counts_alike(pe3_impl):
    model, batch = small_network("pe3"), batch_of("CCO")
    with torch.no_grad():
        model.readout.modulation.weight.zero_()  # the readout sees the graph even when the condition is dropped
    positions, t = inputs(batch)
    other = small_network("pe3")
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        other.hop_embedding.hops.weight.normal_()
    for gate in (1.0, 0.0):
        outputs = [network(positions, t, batch, condition_gate=gate, impl=pe3_impl) for network in (model, other)]
        difference = (outputs[0] - outputs[1]).abs().max()
        assert difference == 0 if gate == 0 else difference > 1e-3


@pytest.mark.parametrize("conditioning", ["all-pair", "bond-pair"])
@pytest.mark.parametrize("norm", ["rms", "variance"])
def test_gradients_of_a_new_network_are_finite(conditioning, norm, pe3_impl):
    """All gates are closed, so every vector is exactly 0 where its norm is taken."""
    model = DiTMC(DiTMCConfig("pe3", conditioning, 16, 4, 4, basis_size=8, equivariant_norm=norm))
    batch = batch_of("CCO", "C", "[Na+]")
    positions, t = (x.float() for x in inputs(batch))
    output = model(positions, t, batch, impl=pe3_impl)
    assert (output == 0).all()
    (output - positions).square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    gates = [block.modulation.linear.weight.grad.unflatten(0, (-1, 16)) for block in model.blocks]
    assert all(gate.abs().amax(dim=(1, 2)).max() > 0 for gate in gates)


def test_new_network_has_unit_radial_factors_and_closed_gates():
    for conditioning in ("all-pair", "bond-pair"):
        torch.manual_seed(0)
        model, batch = DiTMC(DiTMCConfig("pe3", conditioning, 16, 4, 2, basis_size=8)), batch_of("CCO")
        pair, _ = model.encode(batch).pairs.descriptors(torch.zeros(9, 3), 1.0)
        assert (pair.scaling == 1).all()
        assert all((p == 0).all() for name, p in model.named_parameters() if "modulation" in name)


def test_resetting_draws_every_weight_anew():
    model = small_network("pe3", dtype=torch.float32)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    model.reset_parameters()
    for name, p in model.named_parameters():
        if "modulation" in name or name == "hop_embedding.mlp.2.weight":
            assert (p == 0).all()
        elif p.dim() > 1:  # not biases and the scales of layer norms, which start constant
            assert not torch.isclose(p, before[name]).any(dim=-1).all(), name


@pytest.mark.parametrize("options", [{}, {"degree": 2}, {"parity_broadcast": True, "equivariant_norm": "variance"}])
def test_training_lowers_the_loss(options, pe3_impl):
    torch.manual_seed(0)
    config = DiTMCConfig("pe3", width=16, heads=4, blocks=3, conditioner_layers=1, basis_size=16, **options)
    model, batch = DiTMC(config), batch_of("CCO", "[Na+]", "C#N")
    generator = torch.Generator().manual_seed(2)
    x1, x0, z = (center(torch.randn(batch.num_atoms, 3, generator=generator), batch) for _ in range(3))
    t = torch.rand(batch.num_molecules, generator=generator)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = flow_matching_loss(model, batch, x1, x0, t, z, impl=pe3_impl)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]


def test_index_encoding_is_a_scalar_and_keeps_the_symmetry(pe3_impl):
    model, batch = small_network("pe3", index_encoding=True), batch_of("CCO")
    (positions, t), q = inputs(batch), random_orthogonal(3, -1)
    output = model(positions, t, batch, impl=pe3_impl)
    assert_close(model(positions @ q.T, t, batch, impl=pe3_impl), output @ q.T, atol=1e-9, rtol=0)
