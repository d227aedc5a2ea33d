"""Layers that the backward pass makes again: the same gradients from less memory."""

import pytest
import torch

from ditkernels.models.ditmc import flow_matching_loss
from ditkernels.models.ditmc.model import RECOMPUTE
from ditkernels.models.ditmc.training import Training
from ditkernels.models.training.config import config_from_dict
from tests.support.networks import batch_of, small_network

SMILES = ("CCO", "CC(=O)N", "[Na+]", "CCO")
AGAIN = RECOMPUTE[1:]


def loss_of(model, batch, impl="auto"):
    generator = torch.Generator().manual_seed(1)
    dtype = next(model.parameters()).dtype
    x1, x0, z = torch.randn(3, batch.num_atoms, 3, generator=generator, dtype=dtype)
    t = torch.rand(batch.num_molecules, generator=generator, dtype=dtype)
    return flow_matching_loss(model, batch, x1, x0, t, z, impl=impl)


def gradients(model, batch, impl="auto"):
    model.zero_grad()
    loss_of(model, batch, impl).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def kept_bytes(model, batch):
    """Bytes that the forward pass of a loss leaves for the backward pass, weights apart."""
    weights, kept = {p.data_ptr() for p in model.parameters()}, {}

    def keep(x):
        if x.data_ptr() not in weights:
            kept[x.untyped_storage().data_ptr()] = x.untyped_storage()  # holds it, so that its place stays its own
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        loss = loss_of(model, batch)
    assert loss.requires_grad
    return sum(storage.nbytes() for storage in kept.values())


@pytest.mark.parametrize("kind", AGAIN)
def test_gradients_are_the_same_bit_for_bit(embedding, impl, kind):
    model, batch = small_network(embedding).train(), batch_of(*SMILES)
    expected = gradients(model, batch, impl)
    model.set_recompute(kind)
    found = gradients(model, batch, impl)
    assert found.keys() == expected.keys() and any(gradient.abs().max() > 0 for gradient in found.values())
    for name, gradient in expected.items():
        assert torch.equal(found[name], gradient), name


def test_less_is_kept(embedding):
    model, batch = small_network(embedding).train(), batch_of(*SMILES)
    kept = {}
    for kind in RECOMPUTE:
        model.set_recompute(kind)
        kept[kind] = kept_bytes(model, batch)
    # What comes out of the first layer of every MLP: 4 F for each component of the state.
    components = [block.irreps.dim if embedding == "pe3" else 1 for block in model.blocks]
    hidden = 4 * model.config.width * batch.num_atoms * 8 * sum(components)
    assert kept["none"] - kept["hidden"] > hidden
    assert kept["hidden"] - kept["blocks"] > hidden / 2


@pytest.mark.parametrize("kind", AGAIN)
def test_autocast_comes_back_with_the_layers(kind):
    model, batch = small_network("ape", dtype=torch.float32).train(), batch_of(*SMILES)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = gradients(model, batch)
        model.set_recompute(kind)
        found = gradients(model, batch)
    assert all(torch.equal(found[name], gradient) for name, gradient in expected.items())


@pytest.mark.parametrize("kind", AGAIN)
def test_nothing_changes_without_gradients(kind):
    model, batch = small_network("pe3"), batch_of(*SMILES)
    with torch.no_grad():
        expected = loss_of(model, batch)
        model.set_recompute(kind)
        assert torch.equal(loss_of(model, batch), expected)


def test_other_words_are_refused():
    with pytest.raises(ValueError, match="recompute must be one of none, hidden, blocks, got 'all'"):
        small_network().set_recompute("all")
    values = {"model": "ape-s", "data": {"sources": [{"path": "x.npz"}]}, "schedule": {"steps": 1}}
    config = config_from_dict(values | {"recompute": "hidden"})
    assert isinstance(config, Training) and config.recompute == "hidden"
    with pytest.raises(ValueError, match="recompute must be one of none, hidden, blocks, got 'all'"):
        config_from_dict(values | {"recompute": "all"})
