"""What rotations, reflections and translations do to the arms."""

from __future__ import annotations

import pytest
import torch

from ditkernels.models.d3mes import sample
from ditkernels.models.d3mes.masks import generated
from ditkernels.models.d3mes.sampler import MoleculeNoise
from ditkernels.so3_attention import available_impls
from tests.support.d3mes import noisy_batch, small_network
from tests.support.rotations import random_orthogonal

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}


def moved(image, orthogonal, count, config, shift=0.0):
    """The image with all atoms turned and shifted; padding rows stay."""
    positions = torch.where(generated(count, config)[:, :1], image[:, :1] @ orthogonal.T.to(image.dtype) + shift, 0)
    return torch.cat((positions, image[:, 1:]), dim=1)


def errors(model, dtype, determinant, impl="auto"):
    """Largest errors of positions, and of all that must not change, relative to the largest of such outputs."""
    image, t, label, count = noisy_batch(model.config, dtype=dtype)
    q = random_orthogonal(7, determinant)
    noise, variance = model(image, t, label, count, impl=impl)
    turned, same = model(moved(image, q, count, model.config), t, label, count, impl=impl)
    assert noise[:, 0].abs().max() > 0.1 and noise[:, 1:].abs().max() > 0.1 and variance.std() > 0.1
    expected = noise[:, 0] @ q.T.to(dtype)
    pairs = ((turned[:, 0], expected), (turned[:, 1:], noise[:, 1:]), (same, variance))
    return max(float((a - b).detach().abs().max() / b.detach().abs().max()) for a, b in pairs)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("determinant", [1, -1], ids=["rotation", "reflection"])
@pytest.mark.parametrize("impl", available_impls("cpu", torch.float64))
def test_noise_of_arm_e_turns_with_the_molecule(dtype, determinant, impl):
    assert errors(small_network("so3-e", dtype=dtype), dtype, determinant, impl=impl) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("arm", ["dtm", "so3-p", "so3-e"])
def test_noise_does_not_depend_on_where_the_molecule_is(arm, dtype):
    model = small_network(arm, dtype=dtype)
    image, t, label, count = noisy_batch(model.config, dtype=dtype)
    shifted = moved(image, torch.eye(3), count, model.config, shift=1.0)
    for found, expected in zip(model(shifted, t, label, count), model(image, t, label, count)):
        assert (found - expected).abs().max() < TOLERANCE[dtype] * expected.abs().max()


def test_layers_and_heads_of_arm_e_keep_the_symmetry():
    for options in ({"so3_layers": 1}, {"so3_layers": 3}, {"so3_heads": 1}, {"patch_rows": 1}, {"max_atoms": 15}):
        for determinant in (1, -1):
            assert errors(small_network("so3-e", **options), torch.float64, determinant) < 1e-12


@pytest.mark.parametrize("arm", ["code", "dtm-code", "dtm", "so3-p"])
def test_no_other_arm_is_equivariant(arm):
    assert errors(small_network(arm), torch.float64, 1) > 0.01


@pytest.mark.parametrize("guidance", [1.0, 2.0])
@pytest.mark.parametrize("determinant", [1, -1], ids=["rotation", "reflection"])
def test_samples_of_arm_e_turn_with_their_noise(guidance, determinant):
    model, q = small_network("so3-e"), random_orthogonal(3, determinant)
    count, label = torch.tensor([1, 4, 9]), torch.tensor([0, 1, 2])
    shape = (model.config.channels, model.config.rows, 3)

    def run(orthogonal):
        drawn = MoleculeNoise(0, range(3), shape)
        turned = lambda step: moved(drawn(step).double(), orthogonal, count, model.config)  # noqa: E731
        return sample(model, count, label, turned, steps=5, guidance=guidance)

    plain, turned = run(torch.eye(3)), run(q)
    assert torch.isfinite(plain).all() and plain[:, 0].abs().max() > 0.1
    assert (moved(plain, q, count, model.config) - turned).abs().max() < 1e-10 * plain.abs().max()
