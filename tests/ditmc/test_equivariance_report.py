"""`ditkernels verify --equivariance`: which symmetries a network has, which it should have, and what is said of it."""

from __future__ import annotations

import dataclasses
import sys

import pytest
import torch
from click.testing import CliRunner

from ditkernels.cli import main as entry
from ditkernels.cli.verify import command
from ditkernels.models.ditmc import DiTMC, DiTMCConfig, equivariance
from ditkernels.models.ditmc.equivariance import EquivarianceError, equivariance_errors, guaranteed_symmetries
from ditkernels.models.ditmc.geometry import center, molecule_mean
from ditkernels.models.evaluation.example_molecules import example_molecules
from ditkernels.models.molecule.featurize import molecular_graph
from ditkernels.models.weights import save_model
from tests.support.networks import small_network

ALL = {"permutation", "translation", "rotation", "reflection"}


@pytest.fixture(scope="module")
def molecules():
    """Water, acetylene, glycine and L-alanine, in two batches."""
    mols = example_molecules()[:5]
    inputs = [(molecular_graph(mol), mol.GetConformer().GetPositions()) for mol in mols]
    return [inputs[:3], inputs[4:]]


class Formula(DiTMC):
    """A network whose output is a given function of positions (T, 3) and graph."""

    def __init__(self, function):
        super().__init__(DiTMCConfig(width=4, heads=1, blocks=1))
        self.function = function

    def forward(self, positions, t, graph, **options):
        return self.function(positions, graph)

    def denoise(self, positions, t, conditioning, **options):
        return self.function(positions, conditioning.graph)


def screw(positions, graph):
    """Centered positions, turned to the right around a vector that points to the molecule's outer atoms."""
    x = center(positions, graph)
    axis = molecule_mean(x.square().sum(dim=-1, keepdim=True) * x, graph)
    return x + torch.cross(x, axis[graph.molecule], dim=-1)


def aggregate(rows):
    """Symmetries whose every row is small, whose every row is large; no row may be in between."""
    small = {row.symmetry for row in rows if row.relative < 1e-12}
    large = {row.symmetry for row in rows if row.relative > 1e-3}
    assert not small & large and small | large == ALL
    return large


@pytest.mark.parametrize(
    ("function", "broken"),
    [
        (lambda x, graph: center(x, graph), set()),
        (lambda x, graph: x, {"translation"}),
        (lambda x, graph: center(x, graph) * x.new_tensor([1.0, 1.0, 2.0]), {"rotation", "reflection"}),
        (lambda x, graph: center(x, graph) + x.new_tensor([1.0, 0.0, 0.0]), {"rotation", "reflection"}),
        (screw, {"reflection"}),
        (lambda x, graph: center(x * torch.arange(len(x)).unsqueeze(1), graph), {"permutation", "translation"}),
        (lambda x, graph: center(x, graph) * graph.atom_features.argmax(-1, keepdim=True), set()),
    ],
    ids=["none", "absolute", "stretched", "pulled", "handed", "counted", "by-attribute"],
)
def test_every_broken_symmetry_is_found_and_no_other(molecules, function, broken):
    model = Formula(function).double()
    outputs = equivariance_errors(model, molecules, impls=["auto"], dtypes=[torch.float64], times=(0.5,), steps=1)
    assert aggregate([row for row in outputs if row.quantity.startswith("output")]) == broken


def test_samples_are_compared_too(molecules):
    """One Euler step from t = 0 ends at the network's estimate."""
    model = Formula(screw).double()
    rows = list(equivariance_errors(model, molecules, impls=["auto"], dtypes=[torch.float64], times=(), steps=1))
    assert {row.quantity for row in rows} == {"sample (1 step)"}
    assert aggregate(rows) == {"reflection"}


def test_numbers_are_distances_of_atoms(molecules, monkeypatch):
    """f(x) = x plus 3 Å along x; turned by 90 degrees around z they point along y."""
    turn = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    monkeypatch.setattr(equivariance, "random_rotations", lambda count, generator, dtype: turn.expand(count, 3, 3))
    model = Formula(lambda x, graph: center(x, graph) + x.new_tensor([3.0, 0.0, 0.0])).double()
    rows = list(equivariance_errors(model, molecules, impls=["auto"], dtypes=[torch.float64], times=(0.5,), steps=1))
    [turned] = [row for row in rows if row.symmetry == "rotation" and row.quantity == "output t=0.50"]
    assert turned.error == pytest.approx(3 * 2**0.5) and turned.relative == pytest.approx(turned.error / turned.scale)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"embedding": "ape"}, ("permutation", "translation")),
        ({"embedding": "rpe", "index_encoding": True}, ("translation",)),
        ({"embedding": "rpe", "conditioning": "bond-pair"}, ("permutation", "translation")),
        ({"embedding": "pe3"}, ("permutation", "translation", "rotation", "reflection")),
        ({"embedding": "pe3", "degree": 2}, ("permutation", "translation", "rotation", "reflection")),
        ({"embedding": "pe3", "parity_broadcast": True}, ("permutation", "translation", "rotation")),
        ({"embedding": "pe3", "index_encoding": True}, ("translation", "rotation", "reflection")),
    ],
)
def test_promised_symmetries_hold_and_the_others_do_not(molecules, options, expected):
    model = small_network(**options)
    assert guaranteed_symmetries(model.config) == expected
    rows = list(equivariance_errors(model, molecules, impls=["auto"], dtypes=[torch.float64], steps=3))
    assert len(rows) == 4 * 4 and all(row.guaranteed == (row.symmetry in expected) for row in rows)
    assert aggregate(rows) == ALL - set(expected)
    assert all(row.passed for row in rows)


def test_float32_rows_are_within_their_tolerance(molecules, embedding, impl):
    model = small_network(embedding, dtype=torch.float32)
    rows = list(equivariance_errors(model, molecules, impls=[impl], dtypes=[torch.float32], steps=3))
    held = [row for row in rows if row.guaranteed]
    assert {row.dtype for row in rows} == {"float32"} and {row.impl for row in rows} == {impl}
    assert held and all(0 < row.relative <= row.tolerance < 0.1 and not row.lost for row in held)
    assert next(model.parameters()).dtype == torch.float32


def test_tolerance_follows_the_sensitivity_of_the_network(molecules):
    """Outputs that change 1e6 times as much as inputs may be off 1e6 times as much, up to where nothing can be said."""
    tolerances = {}
    for factor in (0.0, 1e2, 1e6):
        model = Formula(lambda x, graph, factor=factor: center(torch.sin(factor * x) if factor else 0 * x, graph))
        rows = equivariance_errors(model, molecules, impls=["auto"], dtypes=[torch.float32], times=(0.5,), steps=1)
        row = next(iter(rows))
        tolerances[factor] = row.tolerance
        assert row.lost == (factor == 1e6)
    assert tolerances[0.0] == equivariance.LEAST_TOLERANCE[torch.float32]
    assert 1e-4 < tolerances[1e2] < equivariance.LOST < tolerances[1e6]


def test_a_broken_symmetry_is_no_rounding(molecules):
    """An output that moves with the molecule by a thousandth of its way: found in both precisions."""

    def off(x, graph):
        return center(x, graph) + 1e-3 * x

    for dtype in (torch.float32, torch.float64):
        rows = equivariance_errors(Formula(off), molecules, impls=["auto"], dtypes=[dtype], times=(0.5,), steps=1)
        assert {row.symmetry for row in rows if not row.passed} == {"translation"}


def test_verdicts():
    row = EquivarianceError("rotation", "output t=0.50", "cpu", "float32", 2e-4, 2.0, True, 1e-4)
    assert row.relative == 1e-4 and row.passed
    assert not dataclasses.replace(row, error=3e-4).passed
    assert dataclasses.replace(row, error=3e-4, guaranteed=False).passed
    assert not dataclasses.replace(row, error=float("nan")).passed
    assert dataclasses.replace(row, error=0.0, scale=0.0).passed
    assert not dataclasses.replace(row, error=1.0, scale=0.0).passed
    assert not row.lost and dataclasses.replace(row, tolerance=0.2).lost
    assert not dataclasses.replace(row, tolerance=float("nan")).passed


def test_an_output_that_is_no_number_fails(molecules):
    spoiled = Formula(lambda x, graph: center(x, graph).index_fill(0, torch.tensor([2]), float("nan"))).double()
    rows = list(equivariance_errors(spoiled, molecules, impls=["auto"], dtypes=[torch.float64], times=(0.5,), steps=1))
    assert not any(row.passed for row in rows if row.guaranteed)


@pytest.fixture
def saved(tmp_path):
    """Folder of a small network with the given options."""

    def save(**options):
        save_model(small_network(dtype=torch.float32, **options), tmp_path / "model")
        return str(tmp_path / "model")

    return save


def run(*arguments):
    return CliRunner().invoke(command, [*arguments, "--steps=2", "--impl=auto"])


def test_command_prints_every_comparison(saved):
    result = run("--equivariance", saved())
    assert result.exit_code == 0, result.output
    assert "10 molecules of 3 to 74 atoms" in result.output
    assert "by construction of the ape embedding: permutation, translation\n" in result.output
    assert "not by construction: rotation, reflection\n" in result.output
    lines = [line.split() for line in result.output.splitlines() if line.split()[0] in ALL]
    assert len(lines) == 2 * 4 * 4
    assert all((line[-1] == "ok") == (line[0] in ("permutation", "translation")) for line in lines)


def test_command_on_the_shipped_network():
    result = run("--equivariance=ape-s", "--dtype=float32")
    assert result.exit_code == 0, result.output
    assert "ABOVE" not in result.output and "sample (2 steps)" in result.output


def test_command_fails_where_a_promised_symmetry_is_broken(saved, monkeypatch):
    folder = saved()
    monkeypatch.setattr("ditkernels.models.ditmc.model.center", lambda positions, graph: positions)
    result = run("--equivariance", folder, "--dtype=float64")
    assert result.exit_code == 1
    broken = [line.split()[0] for line in result.output.splitlines() if "ABOVE TOLERANCE" in line]
    assert set(broken) == {"translation"}
    assert f"{len(broken)} comparisons above their tolerance" in result.output


def test_command_takes_molecules_of_a_file(saved, tmp_path):
    (tmp_path / "m.smi").write_text("CCO ethanol\n[Na+] sodium\n")
    result = run("--equivariance", saved(), "--molecules", str(tmp_path / "m.smi"))
    assert result.exit_code == 0, result.output
    assert "2 molecules of 1 to 9 atoms" in result.output


def test_command_takes_oracle_and_network_together(saved, tmp_path, monkeypatch):
    monkeypatch.setattr("ditkernels.cli.verify._verify_oracle", lambda path, impls, dtypes: 1)
    (tmp_path / "o.npz").write_bytes(b"")
    result = run("--equivariance", saved(), "--oracle", str(tmp_path / "o.npz"), "--dtype=float64")
    assert result.exit_code == 1 and "sample (2 steps)" in result.output
    assert "1 comparisons above their tolerance" in result.output


@pytest.mark.parametrize("arguments", [[], ["--molecules={file}"], ["--equivariance=ape-s", "--steps=0"]])
def test_wrong_usage(arguments, tmp_path):
    (tmp_path / "m.smi").write_text("C\n")
    result = CliRunner().invoke(command, [a.format(file=tmp_path / "m.smi") for a in arguments])
    assert result.exit_code == 2 and "Error:" in result.output


@pytest.mark.parametrize(
    ("model", "content", "message"),
    [
        ("no-such-model", "C", "model 'no-such-model': neither a shipped model"),
        (None, "C1CC", "m.smi:1: SMILES 'C1CC' cannot be read: not valid SMILES syntax"),
        (
            None,
            "CCl chloromethane",
            "molecule chloromethane does not fit the model's layout: atom 2 (Cl) has an element",
        ),
        (None, "[Na+].[Cl-] salt", "molecule salt does not fit the model's layout"),
    ],
)
def test_bad_input_is_one_sentence(saved, tmp_path, monkeypatch, capsys, model, content, message):
    (tmp_path / "m.smi").write_text(content + "\n")
    arguments = ["verify", "--equivariance", model or saved(layout="qm9"), "--molecules", str(tmp_path / "m.smi")]
    monkeypatch.setattr(sys, "argv", ["ditkernels", *arguments])
    with pytest.raises(SystemExit) as stop:
        entry.main()
    printed = capsys.readouterr().err
    assert stop.value.code == 1 and message in printed and printed.count("\n") == 1


def test_unknown_back_end_is_refused(saved):
    result = CliRunner().invoke(command, ["--equivariance", saved(), "--impl=gpu"])
    assert isinstance(result.exception, ValueError) and "impl must be" in str(result.exception)


def test_tolerances_are_those_of_the_help():
    help_text = " ".join(CliRunner().invoke(command, ["--help"]).output.split())
    assert f"{equivariance.ROUNDING_FACTOR} times what rounding the inputs changes" in help_text
    assert equivariance.LOST == 0.1 and "a tenth of |f(x)|" in help_text
