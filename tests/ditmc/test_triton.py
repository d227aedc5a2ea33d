"""A network samples the same conformers with the Triton kernels as with the reference."""

from __future__ import annotations

import pytest
import torch

from ditkernels.models.ditmc import sample
from ditkernels.models.ditmc.engine import Engine, Engines, Inputs, Layers
from tests.support.networks import batch_of, small_network
from tests.support.triton import DEVICE, needs_triton

pytestmark = needs_triton


@pytest.mark.parametrize(
    "options",
    [
        {"embedding": "ape"},
        {"embedding": "rpe"},
        {"embedding": "pe3"},
        {"embedding": "ape", "conditioning": "bond-pair"},
        {"embedding": "pe3", "conditioning": "bond-pair"},
    ],
    ids=lambda options: "-".join(options.values()),
)
def test_conformers(options):
    model, batch = small_network(**options, dtype=torch.float32), batch_of("CO", "O", "C")
    x0 = torch.randn(batch.num_atoms, 3)
    expected = sample(model, batch, x0, steps=4, impl="reference")
    found = sample(model.to(DEVICE), batch.to(DEVICE), x0.to(DEVICE), steps=4, impl="triton").cpu()
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", ["ape", "rpe", "pe3"])
def test_padded_batches(kind):
    """As CUDA graphs need them: molecules that nobody asked for, some of them empty, follow those of the batch."""
    model, batch = small_network(kind, dtype=torch.float32).to(DEVICE), batch_of("CO", "O", "C").to(DEVICE)
    x = torch.randn(batch.num_atoms, 3, device=DEVICE)
    expected = Engines(model, "reference").of(batch).denoise(x, 0.3)
    inputs = Inputs.of(model, batch, pad=True)
    assert inputs.graph.num_molecules > 3 and not inputs.graph.cu_seqlens.diff()[-1]
    rest = torch.zeros(inputs.graph.num_atoms - len(x), 3, device=DEVICE)
    found = Engine(Layers(model), inputs, "triton").denoise(torch.cat((x, rest)), 0.3)
    torch.testing.assert_close(found[: len(x)], expected, atol=1e-4, rtol=0)
    assert found.isfinite().all()


@pytest.mark.parametrize("kind", ["ape", "rpe", "pe3"])
def test_gradients_of_all_weights(kind):
    model, batch = small_network(kind, dtype=torch.float32), batch_of("CO", "O")
    x, t = torch.randn(batch.num_atoms, 3), torch.tensor([0.2, 0.7])

    def gradients(network, impl, device):
        output = network(x.to(device), t.to(device), batch.to(device), impl=impl)
        grads = torch.autograd.grad(output.square().sum(), list(network.parameters()), allow_unused=True)
        return [None if g is None else g.cpu() for g in grads]

    expected = gradients(model, "reference", "cpu")
    found = gradients(model.to(DEVICE), "triton", DEVICE)
    # A gradient may be nothing but rounding: the readout's bias moves the centre of a molecule, which is taken away.
    least = 1e-3 * max(b.abs().max() for b in expected if b is not None)
    for (name, _), a, b in zip(model.named_parameters(), found, expected, strict=True):
        assert (a is None) == (b is None), name
        if a is not None:
            assert (a - b).abs().max() <= 1e-3 * b.abs().max().clamp(min=least), name
