"""Our network, sampler, loss and prior give what the original program gave."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch.testing import assert_close

from ditkernels.cli.verify import command
from ditkernels.models.ditmc.original import load_original
from ditkernels.models.ditmc.verify import Oracle, compare
from tests.support.numpy_original import make_oracle

ORACLES = sorted((Path(__file__).parent / "oracle").glob("*.npz"))


@pytest.mark.parametrize(
    ("path", "backend"),
    [pytest.param(path, impl, id=f"{path.stem}-{impl}") for path in ORACLES for impl in Oracle(path).impls()],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_recorded_outputs_are_reproduced(path, backend, dtype):
    rows = compare(Oracle(path), [backend], [dtype])
    assert {row.quantity.split()[0] for row in rows} == {"prior", "drift", "sample", "loss"}
    assert all(row.passed for row in rows), rows


def test_there_are_recorded_outputs_of_all_embeddings():
    assert [path.stem for path in ORACLES] == ["ditmc_ape", "ditmc_rpe", "ditmc_so3"]


@pytest.mark.parametrize(
    "size",
    [
        dict(width=32, heads=4, blocks=2, layers=2, atom_features=64, atoms=11, steps=5),
        dict(width=24, heads=3, blocks=4, layers=3, atom_features=94, atoms=5, steps=3),
        dict(width=8, heads=1, blocks=1, layers=1, atom_features=94, atoms=2, steps=4),
    ],
    ids=["32x2", "24x4", "8x1"],
)
def test_other_sizes_agree_with_the_formulas_to_float64_precision(tmp_path, embedding, size, impl):
    make_oracle(tmp_path / "o.npz", embedding=embedding, seed=size["width"], **size)
    rows = compare(Oracle(tmp_path / "o.npz"), [impl], [torch.float64, torch.float32])
    assert [row.tolerance for row in rows if row.dtype == "float64"] == [1e-10] * 3
    assert all(row.passed for row in rows), rows


def test_command_succeeds_on_the_recorded_outputs():
    result = CliRunner().invoke(command, [f"--oracle={path}" for path in ORACLES])
    assert result.exit_code == 0, result.output
    assert result.output.count("drift") >= 6 and "ABOVE" not in result.output


@pytest.mark.parametrize("changed", ["out_drift", "out_loss", "out_sample_euler10", "param/readout/Dense_1/kernel"])
def test_command_fails_when_a_quantity_is_off(tmp_path, changed):
    arrays = dict(np.load(ORACLES[0]))
    arrays[changed] = arrays[changed] * np.float32(1.001)
    np.savez(tmp_path / "off.npz", **arrays)
    result = CliRunner().invoke(command, [f"--oracle={tmp_path / 'off.npz'}"])
    assert result.exit_code == 1
    assert "ABOVE TOLERANCE" in result.output


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("param/readout/Dense_1/bias"), "lacks readout/Dense_1/bias"),
        (lambda a: a.pop("out_loss"), "out_loss is missing"),
        (lambda a: a.update({"param/extra/kernel": np.zeros(3)}), "nothing uses, first extra/kernel"),
        (lambda a: a.update({"param/readout/Dense_1/bias": np.zeros(2)}), "readout.output.bias: expected shape"),
        (lambda a: [a.pop(k) for k in list(a) if k.startswith("param/")], "no arrays called param/"),
    ],
)
def test_a_broken_file_is_refused_by_name(tmp_path, change, message):
    arrays = dict(np.load(ORACLES[0]))
    change(arrays)
    np.savez(tmp_path / "broken.npz", **arrays)
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        compare(Oracle(tmp_path / "broken.npz"), ["reference"], [torch.float32])


ATTENTION = "param/layers_1_encoder/SelfAttention_0"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop(f"{ATTENTION}/filter/1-/kernel"), "lacks layers_1_encoder/SelfAttention_0/filter/1-/kernel"),
        (lambda a: a.update({f"{ATTENTION}/query/2+/kernel": np.zeros((16, 16))}), "nothing uses, first .*query/2+"),
        (
            lambda a: a.update({f"{ATTENTION}/tensor/kernel": np.zeros((1, 2, 2, 2, 2, 1, 16))}),
            "blocks.1.attention.path_weight: .*tensor/kernel of shapes .* do not fit",
        ),
        (
            lambda a: a.update({f"{ATTENTION}/filter/1-/kernel": np.zeros((8, 12), dtype=np.float32)}),
            "blocks.1.attention.weight_g: .*filter/0+/kernel, .*filter/1-/kernel of shapes .* do not fit",
        ),
        (
            lambda a: a.update({"param/node_embedding/MLP_0/Dense_0/kernel": np.zeros((3, 16))}),
            "neither purely aPE nor purely rPE nor purely PE(3)",
        ),
    ],
)
def test_a_broken_equivariant_tree_is_refused_by_name(tmp_path, change, message):
    arrays = dict(np.load(ORACLES[2]))
    change(arrays)
    np.savez(tmp_path / "broken.npz", **arrays)
    pattern = message.replace("+", r"\+").replace("(3)", r"\(3\)")
    with pytest.raises(ValueError, match=pattern):
        compare(Oracle(tmp_path / "broken.npz"), ["reference"], [torch.float32])


def test_of_the_tensor_product_exactly_the_ten_paths_are_read():
    """The checkpoint holds a number for each of 32 combinations of degrees and parities, read or not."""
    oracle, name = Oracle(ORACLES[2]), f"{ATTENTION.removeprefix('param/')}/tensor/kernel"
    kernel = oracle.tree[name]
    paths = np.zeros(kernel.shape, dtype=bool)
    for parity in (0, 1):
        for degree in (0, 1):
            paths[0, 0, parity, degree, parity, degree] = True
        for value, output in ((0, 1), (1, 0), (1, 1)):
            paths[0, 1, parity, value, 1 - parity, output] = True
    assert paths[..., 0].sum() == 10

    def path_weight(kernel):
        return load_original(oracle.tree | {name: kernel}, 2).state_dict()["blocks.1.attention.path_weight"]

    before = path_weight(kernel)
    assert torch.equal(path_weight(np.where(paths, kernel, np.float32(7))), before)
    assert_close(path_weight(kernel + np.float32(1) * paths), before + 1)


def test_a_file_that_is_no_archive_is_refused(tmp_path):
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(ValueError, match="not a readable .npz archive"):
        Oracle(tmp_path / "text.npz")
