"""The first guess of the noise, and the bonds that the equivariant attention looks along."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from ditkernels.models.d3mes.diffusion import TRAINING
from ditkernels.models.d3mes.guess import FirstGuess
from ditkernels.models.d3mes.image import bond_codes, element_codes
from ditkernels.models.d3mes.masks import centred, generated
from tests.support.d3mes import images_of, molecules, noisy_batch, small_config, small_network

CONFIG = small_config("so3-e")


def noised(step, seed=0):
    """Clean molecules, their numbers of atoms, noise, noisy images and alpha-bar at a step, in float64."""
    found = molecules()
    count = torch.tensor([len(m.elements) for m in found])
    clean, t = images_of(found, CONFIG).double(), torch.full((len(found),), step)
    mask = generated(count, CONFIG)
    generator = torch.Generator().manual_seed(seed)
    noise = centred(torch.randn(clean.shape, generator=generator, dtype=torch.float64), mask, CONFIG)
    image = torch.where(mask, TRAINING.noised(clean, t, noise), clean)
    return found, count, noise, image, torch.from_numpy(TRAINING.alpha_bar)[t]


def test_little_noise_on_codes_is_known():
    """Codes of elements are 0.25 sqrt(2) apart, those of bonds 0.75 and more."""
    _, count, noise, image, bar = noised(step=5)
    guess = FirstGuess(CONFIG)(image, bar, count)
    codes = generated(count, CONFIG).expand_as(image).clone()
    codes[:, 0] = False
    assert_close(guess.noise[codes], noise[codes], rtol=0, atol=1e-6)


def test_bonds_are_known_where_the_noise_is_small():
    found, count, _, image, bar = noised(step=5)
    expected = torch.zeros(len(found), CONFIG.max_atoms, CONFIG.max_atoms, 3, dtype=torch.float64)
    for number, molecule in enumerate(found):
        for first, second, order in molecule.bonds.tolist():
            expected[number, first, second, order - 1] = expected[number, second, first, order - 1] = 1
    guess = FirstGuess(CONFIG)(image, bar, count)
    assert_close(guess.bonds, expected, rtol=0, atol=1e-6)
    rows = (images_of(found, CONFIG)[:, -1] / CONFIG.bond_scale).double()
    assert_close(guess.rows[..., :3], rows, rtol=0, atol=1e-6)
    none = (rows == torch.tensor([1.0, -1.0, -1.0])).all(-1).double()
    assert_close(guess.rows[..., 3], none, rtol=0, atol=1e-6)


def posterior(row, codes, bar):
    """Probabilities of the codes, from their densities written out."""
    density = np.exp(-((row - np.sqrt(bar) * codes) ** 2).sum(-1) / (2 * (1 - bar)))
    return density / density.sum()


def fits(valence, order):
    """Probability that an atom has room for bonds of that total order."""
    return 1 / (1 + np.exp(-(valence + 0.5 - order) / 0.1))


def test_the_guess_is_the_posterior():
    """Four atoms under noise that leaves codes in doubt."""
    count, rng, bar = torch.tensor([4]), np.random.default_rng(0), 0.9
    image = rng.normal(scale=1.5, size=(CONFIG.channels, CONFIG.rows, 3))
    guess = FirstGuess(CONFIG)(torch.from_numpy(image)[None], torch.tensor([bar], dtype=torch.float64), count)
    assert_close(guess.noise[0, 0], torch.from_numpy(np.sqrt(1 - bar) * image[0]))
    codes, bonds, none = bond_codes(CONFIG)
    exists = bonds[:, 1] < 4
    codes, bonds = np.concatenate((codes[exists], none[None])), bonds[exists]
    kinds, valences = element_codes(CONFIG)[1:], np.array([4, 3, 2, 1])
    alone = [posterior(row, codes, bar) for row in image[-1]]
    atoms = [posterior(image[1:-1, atom].reshape(-1), kinds, bar) for atom in range(4)]
    taken = np.zeros((len(alone), 4))
    for number, share in enumerate(alone):
        for (first, second, order), part in zip(bonds, share):
            taken[number, [first, second]] += order * part
    expected = np.zeros((CONFIG.max_atoms, CONFIG.max_atoms, 3))
    for number, share in enumerate(alone):
        others = taken.sum(axis=0) - taken[number]
        room = [np.prod([atoms[a] @ fits(valences, others[a] + order) for a in ends]) for *ends, order in bonds]
        share = share * [*room, 1]
        share /= share.sum()
        for (first, second, order), part in zip(bonds, share):
            expected[first, second, order - 1] += part
            expected[second, first, order - 1] += part
        noise = (image[-1, number] - np.sqrt(bar) * share @ codes) / np.sqrt(1 - bar)
        assert_close(guess.noise[0, -1, number], torch.from_numpy(noise))
        assert guess.rows[0, number, 3].item() == pytest.approx(share[-1])
    assert_close(guess.bonds[0], torch.from_numpy(expected))
    for atom, share in enumerate(atoms):
        share = share * fits(valences, taken[:, atom].sum())
        noise = (image[1:-1, atom].reshape(-1) - np.sqrt(bar) * share / share.sum() @ kinds) / np.sqrt(1 - bar)
        assert_close(guess.noise[0, 1:-1, atom].flatten(), torch.from_numpy(noise))


def test_half_precision_keeps_the_codes():
    _, count, _, image, bar = noised(step=100)
    network = small_network("so3-e", dtype=torch.bfloat16)
    half = network.guess(image.bfloat16(), bar, count)
    assert half.bonds.dtype == torch.float32
    assert_close(half.bonds.double(), FirstGuess(CONFIG)(image, bar, count).bonds, rtol=0, atol=0.1)


@pytest.mark.parametrize("arm", ["so3-p", "so3-e"])
def test_the_attention_looks_along_bonds(arm):
    """The weight of the biases acts, and gets a gradient."""
    model = small_network(arm)
    image, t, label, count = noisy_batch(model.config)
    weight = model.encoder.stack.blocks[0].bonds.weight
    noise, _ = model(image, torch.full_like(t, 100), label, count)
    (gradient,) = torch.autograd.grad(noise.square().sum(), weight)
    assert gradient.abs().min() > 0


def test_the_released_layout_has_none():
    with pytest.raises(ValueError, match="needs layout v2"):
        FirstGuess(small_config("code"))
    with pytest.raises(ValueError, match="prediction correction needs layout v2"):
        small_config("code", prediction="correction")


def test_what_was_counted_is_the_prior():
    """Far into the noise the guess is the share of each code in each row, one more of each, but for valences."""
    found, count, _, image, bar = noised(step=999)
    guess = FirstGuess(CONFIG)
    guess.valences.fill_(torch.inf)
    guess.count_(images_of(found, CONFIG), count)
    assert guess.element_counts.sum() == count.sum()
    assert guess.bond_counts.sum() == len(found) * CONFIG.rows
    first = [molecule.elements[0] for molecule in found]
    assert guess.element_counts[0].tolist() == [first.count(number) for number in CONFIG.atomic_numbers]
    assert guess.bond_counts[0, 0, -1] == len(found)  # no atom comes before the first
    bonded = [[0, 1, int(m.bonds[0, 2])] for m in found if len(m.elements) > 1]
    _, bonds, _ = bond_codes(CONFIG)
    assert guess.bond_counts[0, 1, :-1].sum() == len(bonded)
    for code in bonds[guess.bond_counts[0, 1, :-1].nonzero()[:, 0].numpy()].tolist():
        assert code in bonded
    rows = guess(image, bar, count).rows
    share = (guess.bond_counts[0, 1, -1] + 1) / (guess.bond_counts[0, 1] + 1).sum()
    assert rows[-1, 1, 3].item() == pytest.approx(float(share), rel=0.3)


def test_an_element_must_bear_the_bonds():
    """The first atom of cubane has three bonds: under some noise on elements it may be C or N, hardly O."""
    found = molecules(["C12C3C4C1C5C2C3C45"])
    count, bar = torch.tensor([8]), torch.tensor([0.95], dtype=torch.float64)
    image = bar.sqrt() * images_of(found, CONFIG).double()
    kinds = torch.from_numpy(element_codes(CONFIG)[1:])
    oxygen = bar.sqrt() * kinds[CONFIG.elements.index("O")]
    image[0, 1:-1, 0] = oxygen.unflatten(0, (-1, 3))

    def expected_code():
        noise = FirstGuess(CONFIG)(image, bar, count).noise[0, 1:-1, 0]
        return ((image[0, 1:-1, 0] - (1 - bar).sqrt() * noise) / bar.sqrt()).flatten() / CONFIG.element_scale

    share = expected_code()[1 : 1 + len(CONFIG.elements)]
    assert share[CONFIG.elements.index("O")] < 0.05 and share[:2].sum() > 0.9
    image[0, -1] = bar.sqrt() * images_of(molecules(["C"]), CONFIG)[0, -1].double()  # no bonds at all
    assert expected_code()[1 + CONFIG.elements.index("O")] > 0.4


def test_a_bond_must_not_overcharge_its_atoms():
    """Propyne with the triple bond in doubt: double or triple. At carbon both fit; at nitrogen, which a methyl group
    takes one bond of, only the double one does.
    """
    bar = torch.tensor([0.999], dtype=torch.float64)
    orders = {}
    for smiles in ("CC#C", "CN=C"):
        found = molecules([smiles])
        image = bar.sqrt() * images_of(found, CONFIG).double()
        (row,) = [row for row, bond in enumerate(image[0, -1]) if bond[2] > 0]  # the only one of order 2 or 3
        codes, bonds, _ = bond_codes(CONFIG)
        either = codes[[next(n for n, bond in enumerate(bonds.tolist()) if bond == [1, 2, order]) for order in (2, 3)]]
        image[0, -1, row] = bar.sqrt() * torch.from_numpy(either).mean(dim=0)
        guess = FirstGuess(CONFIG)(image, bar, torch.tensor([3])).bonds[0, 1, 2]
        orders[smiles] = (guess[1] / guess.sum(), guess[2] / guess.sum())
    assert_close(*orders["CC#C"], rtol=0, atol=0.01)
    assert orders["CN=C"][0] > 0.99


def test_elements_without_a_valence_are_not_judged():
    config = small_config("so3-e", elements=("C", "Se"))
    image, t, _, count = noisy_batch(config, smiles=("CC", "CCC"))
    noise = FirstGuess(config)(image, torch.from_numpy(TRAINING.alpha_bar)[t], count).noise
    assert torch.isfinite(noise).all()
