"""Configurations by name and by file."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from ditkernels.models.ditmc import DiTMC, DiTMCConfig
from ditkernels.models.ditmc.config import NAMED


def parameters(config):
    with torch.device("meta"):
        return sum(p.numel() for p in DiTMC(config).parameters())


def test_b_has_the_size_of_the_released_networks():
    # 9,561,670 less the 3 * 256 + 3 numbers of three output columns that nothing reads.
    assert parameters(DiTMCConfig.named("ape-b")) == 9_561_670 - 771
    assert parameters(DiTMCConfig.named("rpe-b")) == 9_561_670 - 771


def test_b_for_qm9_attributes():
    assert parameters(DiTMCConfig.from_dict({"layout": "qm9"})) == 9_553_990 - 771


def test_l_has_the_published_size():
    assert 28.2e6 < parameters(DiTMCConfig.named("ape-l")) < 28.3e6


def test_s_weights_are_small_enough_to_ship():
    assert parameters(DiTMCConfig.named("ape-s")) * 4 < 20e6


def test_pe3_b_has_the_size_of_the_released_network_but_for_what_nothing_reads():
    """The released network has 27,165,504 parameters (27,157,824 with 64 atom attributes)."""
    config, f = DiTMCConfig.named("pe3-b"), 256
    released = dataclasses.replace(config, parity_broadcast=True, equivariant_norm="variance")
    path_weights = (4 - 2) * f + 5 * (32 - 10) * f  # between degrees and parities that do not couple
    readout = 2 * (f * f + f) + f  # scale and shift of scalars, second output
    assert parameters(released) == 27_165_504 - path_weights - readout == 27_004_992
    assert parameters(dataclasses.replace(released, layout="qm9")) == 27_157_824 - path_weights - readout
    # Without the broadcast, there are no maps of irreps that are zero, nor in the last block of those nobody reads.
    assert parameters(config) == 22_360_640


@pytest.mark.parametrize("name", ["pe3-s", "pe3-b"])
@pytest.mark.parametrize("parity_broadcast", [True, False])
def test_parameters_of_pe3_follow_from_the_irreps(name, parity_broadcast):
    config = dataclasses.replace(DiTMCConfig.named(name), parity_broadcast=parity_broadcast)
    f, k, d = config.width, config.basis_size, config.atom_features

    def block(inside, attended, after, paths):
        """Irreps of the input, of the attention's output and of the state after; paths of the tensor product."""
        modulation = (inside + 3 * after + 2) * (f + 1) * f
        attention = 3 * inside * f * f + k * inside * f + k * 2 * f + paths * f + attended * f * f + f
        return 2 * f + modulation + attention + after * 8 * f * f + 5 * f

    if parity_broadcast:
        blocks = block(1, 2, 4, 2) + 5 * block(4, 4, 4, 10)
    else:
        blocks = block(1, 2, 2, 2) + block(2, 3, 3, 5) + block(3, 4, 4, 8) + 2 * block(4, 4, 4, 10) + block(4, 2, 2, 5)
    time, atoms = f // 4 + f // 2 * f + f + f * f + f, 119 * f
    pairs = 512 * 2 * k + 2 * (2 * k) ** 2
    conditioner = (d * f + f * f + 4 * f) + (4 * f + f * f + 4 * f) + 2 * (7 * f * f + 14 * f)
    readout = 2 * f + f * f + f + f
    assert parameters(config) == time + atoms + pairs + conditioner + blocks + readout


@pytest.mark.parametrize("name", ["ape-s", "ape-b", "ape-l", "rpe-s", "rpe-b", "rpe-l"])
def test_parameters_of_scalar_networks_follow_from_their_size(name):
    config = DiTMCConfig.named(name)
    f, d, m = config.width, config.atom_features, config.conditioner_layers
    blocks = config.blocks * (20 * f * f + 15 * f)
    time, atoms = f // 4 + f // 2 * f + f + f * f + f, 119 * f
    pairs = 512 * f + 2 * f * f + 2 * f + (3 * f + f * f)  # the last: of positions or displacements
    conditioner = (d * f + f * f + 4 * f) + (4 * f + f * f + 4 * f) + m * (7 * f * f + 14 * f)
    readout = 2 * f * f + 2 * f + 3 * f + 3
    assert parameters(config) == time + atoms + pairs + conditioner + blocks + readout


@pytest.mark.parametrize("name", sorted(NAMED))
def test_json_round_trip(name, tmp_path):
    config = DiTMCConfig.named(name)
    (tmp_path / "config.json").write_text(config.to_json())
    assert DiTMCConfig.from_file(tmp_path / "config.json") == config


def test_yaml_file_with_some_keys_takes_defaults_for_the_rest(tmp_path):
    (tmp_path / "c.yaml").write_text("embedding: rpe\nwidth: 64\nsigma: 1\n")
    assert DiTMCConfig.from_file(tmp_path / "c.yaml") == DiTMCConfig(embedding="rpe", width=64, sigma=1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"embedding": "xpe"}, "embedding must be one of ape, rpe, pe3"),
        ({"embedding": "pe3", "self_conditioning": True}, "self_conditioning must be false for embedding pe3"),
        ({"embedding": "pe3", "degree": 3}, "degree must be one of 1, 2, got 3"),
        ({"embedding": "pe3", "basis_size": 0}, "basis_size must be at least 1"),
        ({"embedding": "pe3", "equivariant_norm": "std"}, "equivariant_norm must be one of rms, variance"),
        ({"embedding": "rpe", "degree": 2}, "degree is for embedding pe3 only, got 2 for embedding rpe"),
        ({"parity_broadcast": True}, "parity_broadcast is for embedding pe3 only, got True for embedding ape"),
        ({"conditioning": "hop-pair"}, "conditioning must be one of all-pair, bond-pair"),
        ({"conditioning": True}, "conditioning must be of type str"),
        ({"width": 30}, "width must be a multiple of 4 and of heads"),
        ({"heads": 0}, "heads must be at least 1"),
        ({"colour": 1}, "unknown key 'colour'"),
        ({"width": "wide"}, "width must be of type int"),
        ({"self_conditioning": 1}, "self_conditioning must be of type bool"),
        ({"guidance_dropout": 1.0}, "guidance_dropout must lie in"),
        ({"sigma": -1.0}, "sigma must not be negative"),
        ({"layout": "zinc"}, "layout must be one of"),
    ],
)
def test_bad_values_are_named(values, message):
    with pytest.raises(ValueError, match=message):
        DiTMCConfig.from_dict(values)


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="ape-b, ape-l, ape-s"):
        DiTMCConfig.named("ape-xl")


def test_broken_files_are_named(tmp_path):
    (tmp_path / "a.yaml").write_text("{")
    (tmp_path / "b.yaml").write_text(json.dumps([1]))
    with pytest.raises(ValueError, match="a.yaml: not a YAML file"):
        DiTMCConfig.from_file(tmp_path / "a.yaml")
    with pytest.raises(ValueError, match="b.yaml: expected a mapping"):
        DiTMCConfig.from_file(tmp_path / "b.yaml")
