"""The sampling engine computes what the plain modules do."""

from __future__ import annotations

import pytest
import torch

from ditkernels.models.ditmc import sample
from ditkernels.models.ditmc.engine import Engines
from ditkernels.models.weights import load_model, pretrained_models
from tests.support.networks import batch_of, small_network

# Repeated molecules, not always neighbours, one atom, and one molecule with another order of atoms.
SMILES = ("CCO", "CCO", "CC(=O)N", "[Na+]", "CCO", "OCC", "CC(=O)N")
VARIANTS = {
    "ape": {},
    "rpe": {},
    "pe3": {},
    "pe3-released": {"parity_broadcast": True, "equivariant_norm": "variance"},
    "pe3-l2": {"degree": 2, "blocks": 2},
    "ape-bonds": {"conditioning": "bond-pair"},
    "rpe-bonds": {"conditioning": "bond-pair"},
    "pe3-bonds": {"conditioning": "bond-pair"},
    "ape-feedback": {"self_conditioning": True, "index_encoding": True},
    "rpe-velocity": {"target": "velocity"},
}


def network(variant: str, **options):
    return small_network(variant.partition("-")[0], **VARIANTS[variant], **options)


@pytest.mark.parametrize("gate", [1.0, 0.0])
@pytest.mark.parametrize("variant", VARIANTS)
def test_one_evaluation(variant, gate):
    model, batch = network(variant), batch_of(*SMILES)
    x, previous = torch.randn(2, batch.num_atoms, 3, dtype=torch.float64)
    options = {"x1_previous": previous if model.config.self_conditioning else None}
    with torch.inference_mode():
        times = torch.full((len(SMILES),), 0.3, dtype=torch.float64)
        expected = model.denoise(x, times, model.encode(batch), condition_gate=gate, impl="reference", **options)
    found = Engines(model).of(batch).denoise(x, 0.3, gate=gate, **options)
    torch.testing.assert_close(found, expected, atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize("guidance", [1.0, 1.5])
@pytest.mark.parametrize("variant", VARIANTS)
def test_fifty_steps(variant, guidance):
    model, batch = network(variant), batch_of(*SMILES[:4])
    x0 = torch.randn(batch.num_atoms, 3, dtype=torch.float64)
    plain = sample(model, batch, x0, guidance=guidance, impl="reference")
    # Networks with random weights amplify rounding from step to step; trained ones do not.
    assert (sample(model, batch, x0, guidance=guidance) - plain).abs().max() < 1e-7


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)], ids=str)
@pytest.mark.parametrize("name", pretrained_models("ditmc"))
def test_fifty_steps_of_a_trained_network(name, dtype, tolerance):
    model, batch = load_model(name).to(dtype), batch_of("CC(=O)Oc1ccccc1C(=O)O", "CC(=O)Oc1ccccc1C(=O)O", "CCO")
    x0 = torch.randn(batch.num_atoms, 3, dtype=dtype)
    plain = sample(model, batch.to(dtype=dtype), x0, impl="reference")
    assert (sample(model, batch.to(dtype=dtype), x0) - plain).abs().max() < tolerance


@pytest.mark.parametrize("variant", ["ape", "rpe", "pe3"])
def test_float32(variant):
    """No less exact than the plain path, which random weights let deviate from float64 by 1e-4 after ten steps."""
    model, batch = network(variant, dtype=torch.float32), batch_of(*SMILES)
    x0 = torch.randn(batch.num_atoms, 3)
    found, plain = sample(model, batch, x0, steps=10), sample(model, batch, x0, steps=10, impl="reference")
    batch, x0 = batch.to(dtype=torch.float64), x0.double()
    exact = sample(model.double(), batch, x0, steps=10, impl="reference")
    assert (found - exact).norm() < 2 * (plain - exact).norm()


@pytest.mark.parametrize("variant", ["ape", "pe3"])
def test_steps_reuse_their_memory(variant):
    model, batch = network(variant), batch_of(*SMILES)
    engine = Engines(model).of(batch)
    x = torch.randn(batch.num_atoms, 3, dtype=torch.float64)
    first = engine.denoise(x, 0.2)
    places = {key: buffer.data_ptr() for key, buffer in engine.buffers.items()}
    engine.denoise(2 * x, 0.7)
    assert torch.equal(engine.denoise(x, 0.2), first)
    assert {key: buffer.data_ptr() for key, buffer in engine.buffers.items()} == places


def test_conditions_are_computed_once_per_molecule():
    engine = Engines(network("ape")).of(batch_of(*["CC(=O)N"] * 16, "CCO"))
    assert engine.table.shape[0] == 9 + 9
    assert engine.inputs.rows.tolist() == [*range(9)] * 16 + [*range(9, 18)]
