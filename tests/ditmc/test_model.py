"""What the network does and does not depend on."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from ditkernels.models.ditmc import DiTMC, DiTMCConfig
from ditkernels.models.molecule.graph import collate
from tests.support.networks import batch_of, graphs, small_network

SMILES = ("CC(=O)Oc1ccccc1C(=O)O", "C", "CCO", "[NH4+]")


def inputs(batch, seed=1):
    generator = torch.Generator().manual_seed(seed)
    positions = torch.randn(batch.num_atoms, 3, generator=generator, dtype=torch.float64)
    return positions, torch.rand(batch.num_molecules, generator=generator, dtype=torch.float64)


def test_output_is_centered(embedding, impl):
    batch = batch_of(*SMILES)
    x1 = small_network(embedding)(*inputs(batch), batch, impl=impl)
    for start, end in zip(batch.cu_seqlens[:-1], batch.cu_seqlens[1:], strict=True):
        assert_close(x1[start:end].mean(0), torch.zeros(3, dtype=torch.float64), atol=1e-12, rtol=0)


def test_molecules_of_a_batch_do_not_see_each_other(embedding, impl):
    model, batch = small_network(embedding), batch_of(*SMILES)
    positions, t = inputs(batch)
    together = model(positions, t, batch, impl=impl)
    for b, smiles in enumerate(SMILES):
        atoms = slice(int(batch.cu_seqlens[b]), int(batch.cu_seqlens[b + 1]))
        alone = model(positions[atoms], t[b : b + 1], batch_of(smiles), impl=impl)
        assert_close(together[atoms], alone, atol=1e-11, rtol=1e-11)


def test_translation_changes_nothing(embedding, impl):
    model, batch = small_network(embedding), batch_of(*SMILES)
    positions, t = inputs(batch)
    moved = model(positions + torch.tensor([3.0, -1.0, 7.0], dtype=torch.float64), t, batch, impl=impl)
    assert_close(moved, model(positions, t, batch, impl=impl), atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize("index_encoding", [False, True])
def test_atom_order_matters_only_with_index_encoding(embedding, impl, index_encoding):
    model = small_network(embedding, index_encoding=index_encoding)
    (graph,) = graphs("CC(=O)NC")
    batch = collate([graph])
    positions, t = inputs(batch)
    order = torch.randperm(batch.num_atoms, generator=torch.Generator().manual_seed(3))
    other = model(positions[order], t, collate([graph.permuted(order.numpy())]), impl=impl)
    difference = (other - model(positions, t, batch, impl=impl)[order]).abs().max()
    assert difference > 1e-3 if index_encoding else difference < 1e-11


def test_every_input_matters(embedding, impl):
    model, batch = small_network(embedding), batch_of("CCO")
    positions, t = inputs(batch)
    base = model(positions, t, batch, impl=impl)
    assert (model(positions * 1.1, t, batch, impl=impl) - base).abs().max() > 1e-4
    assert (model(positions, t + 0.1, batch, impl=impl) - base).abs().max() > 1e-4
    assert (model(positions, t, batch_of("COC"), impl=impl) - base).abs().max() > 1e-4


def test_encoding_once_is_the_same_as_encoding_each_time(embedding, impl):
    model, batch = small_network(embedding), batch_of(*SMILES)
    positions, t = inputs(batch)
    conditioning = model.encode(batch)
    assert_close(model.denoise(positions, t, conditioning, impl=impl), model(positions, t, batch, impl=impl))


def test_every_parameter_that_acts_has_a_gradient(embedding, impl):
    feedback = embedding != "pe3"
    model, batch = small_network(embedding, self_conditioning=feedback), batch_of(*SMILES)
    positions, t = inputs(batch)
    model(positions, t, batch, x1_previous=positions if feedback else None, impl=impl).square().sum().backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 1e-9]
    # Centering removes the first; the second is of scalars, of which the readout of vectors sees nothing.
    assert missing == ["blocks.3.mlp.down.bias" if embedding == "pe3" else "readout.output.bias"]


def test_gradients_agree_with_the_reference(embedding, impl):
    batch = batch_of(*SMILES)
    positions, t = inputs(batch)
    gradients = []
    for name in ("reference", impl):
        model = small_network(embedding)
        model(positions, t, batch, impl=name).sin().sum().backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert_close(gradients[0], gradients[1], atol=1e-10, rtol=1e-8)


def test_dropped_condition_removes_the_graph_from_the_blocks(embedding, impl):
    model = small_network(embedding)
    with torch.no_grad():
        # The readout sees the graph even when the condition is dropped, as in the original; here it must not.
        model.readout.modulation.weight.zero_()
    positions, t = inputs(batch_of("CCO"))
    one = model(positions, t, batch_of("CCO"), condition_gate=0.0, impl=impl)
    conditioned = model(positions, t, batch_of("CCO"), impl=impl)
    assert (one - conditioned).abs().max() > 1e-4


def test_fed_back_estimate_is_used_or_refused():
    batch = batch_of("CCO")
    positions, t = inputs(batch)
    model = small_network(self_conditioning=True)
    assert (model(positions, t, batch, x1_previous=positions) - model(positions, t, batch)).abs().max() > 1e-4
    with pytest.raises(ValueError, match="without self_conditioning"):
        small_network()(positions, t, batch, x1_previous=positions)


def test_a_new_network_starts_as_a_constant(embedding):
    """adaLN-Zero: gates and readout modulation are zero, so attention and MLP do not act yet."""
    torch.manual_seed(0)
    model = DiTMC(DiTMCConfig(embedding=embedding, width=16, heads=4, blocks=2)).double()
    batch = batch_of("CCO")
    positions, _ = inputs(batch)
    times = [torch.tensor([t], dtype=torch.float64) for t in (0.1, 0.9)]
    assert_close(model(positions, times[0], batch), model(positions, times[1], batch))


def test_largest_drug_like_size(embedding, impl):
    batch = batch_of("C" * 59 + "N")
    assert batch.num_atoms == 181
    model = small_network(embedding)
    positions, t = inputs(batch)
    assert_close(
        model(positions, t, batch, impl=impl), model(positions, t, batch, impl="reference"), atol=1e-10, rtol=0
    )


def test_bfloat16_autocast_stays_close(embedding, impl):
    model, batch = small_network(embedding, dtype=torch.float32), batch_of(*SMILES)
    positions, t = (x.float() for x in inputs(batch))
    exact = model(positions, t, batch, impl=impl)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(positions, t, batch, impl=impl)
    assert torch.isfinite(rough).all()
    assert (rough - exact).abs().max() < 0.05 * exact.abs().max()
