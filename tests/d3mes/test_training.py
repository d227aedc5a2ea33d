"""Training of D3MES with the trainer of all families: examples, histogram, loss, files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from ditkernels.models.d3mes.training import Recipe
from ditkernels.models.training.config import config_from_dict
from ditkernels.models.training.distributed import World
from ditkernels.models.training.trainer import Trainer
from ditkernels.models.weights import load_model

FILES = Path(__file__).parents[1] / "data" / "files"
CPU = World(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def make(cache):
    def recipe(attention="none", data=None, **values):
        model = {"family": "d3mes", "attention": attention, "classes": 2, "width": 16, "heads": 2, "blocks": 1}
        if attention.startswith("so3"):
            model |= {"so3_channels": 8, "basis_size": 4}
        source = {"path": "qm9_extract.npz", "root": str(FILES), "cache": cache, "workers": 1, "seed": 1}
        plain = {
            "model": model | values.pop("model", {}),
            "data": {**source, "train": 14, "validation": 6, **(data or {})},
            "schedule": {"steps": 6},
            "batch": {"molecules": 8},
            "validation": {"every": 3, "molecules": 8},
            "checkpoint": {"every": 3},
            "log": {"every": 1},
            "device": "cpu",
        }
        return Recipe(config_from_dict(plain | values))

    return recipe


def generator():
    return torch.Generator().manual_seed(0)


def test_examples_depend_on_the_generator_alone(make):
    recipe = make(data={"order": "random"})
    entries = recipe.dataset.entries("train")
    first, second = (recipe.examples(entries, generator()) for _ in range(2))
    for name, value in vars(first).items():
        assert torch.equal(value, getattr(second, name))
    assert first.num_molecules == len(entries)
    assert torch.equal(first.count, torch.from_numpy(recipe.dataset.atom_counts[entries]))


def test_labels_are_dropped_as_often_as_configured(make):
    recipe = make(model={"label_dropout": 0.3})
    entries = np.repeat(recipe.dataset.entries("train"), 100)
    label = recipe.examples(entries, generator()).label
    dropped = label == 2
    assert abs(dropped.double().mean() - 0.3) < 0.04
    assert torch.equal(label[~dropped], torch.from_numpy(recipe.dataset.labels[entries])[~dropped])


@pytest.mark.parametrize("rotate", [True, False])
def test_molecules_are_turned_only_if_asked(make, rotate):
    recipe = make(data={"rotate": rotate})
    entries = recipe.dataset.entries("train")
    image = recipe.examples(entries, generator()).image
    plain = recipe.dataset.images(entries, None, None)[0]
    assert_close(image[:, 0].norm(dim=-1), plain[:, 0].norm(dim=-1), atol=1e-5, rtol=1e-5)
    assert torch.equal(image, plain) != rotate


def test_validation_is_always_the_same_and_spreads_over_all_steps(make):
    first, second = (make().validation() for _ in range(2))
    assert set(first) == {"acyclic", "cyclic"} & set(first) and first
    for name, batches in first.items():
        for one, other in zip(batches, second[name], strict=True):
            assert all(torch.equal(a, b) for a, b in zip(vars(one).values(), vars(other).values()))
            assert (one.label < 2).all()
            size = one.num_molecules
            assert sorted((one.t * size // 1000).tolist()) == list(range(size))


def test_a_new_network_has_the_histogram_of_the_training_molecules(make):
    recipe = make()
    sizes, entries = recipe.network().sizes, recipe.dataset.entries("train")
    assert sizes.sum() == len(entries)
    for label in (0, 1):
        counts = recipe.dataset.atom_counts[entries][recipe.dataset.labels[entries] == label]
        assert sizes[label].tolist() == np.bincount(counts, minlength=10).tolist()


@pytest.mark.parametrize("attention", ["none", "so3-front", "so3-end", "code"])
def test_a_run_writes_a_network_that_samples(make, tmp_path, attention):
    model = {"layout": "code", "prediction": "noise", "rows": 27, "t0_term": "pixel"} if attention == "code" else {}
    recipe = make(attention, model=model)
    trainer = Trainer(recipe, tmp_path, CPU, echo=lambda sentence: None)
    trainer.run()
    network = load_model(tmp_path / "checkpoints" / "step_00000006", family="d3mes")
    assert network.config == recipe.config.model
    if network.config.masked:
        assert torch.equal(network.sizes, recipe.network().sizes)
    assert all(torch.isfinite(p).all() for p in network.parameters())


def test_training_lowers_the_loss(make, tmp_path):
    recipe = make(
        "so3-end",
        schedule={"steps": 60},
        optimizer={"learning_rate": 3e-3, "ema_decay": 0.9},
        validation={"every": 1000, "molecules": 8},
        checkpoint={"every": 1000},
        batch={"molecules": 16},
    )
    trainer = Trainer(recipe, tmp_path, CPU, echo=lambda sentence: None)
    batches = [batch for of_class in recipe.validation().values() for batch in of_class]

    def loss(network):
        with torch.no_grad():
            return float(sum(recipe.loss(network, batch) for batch in batches) / len(batches))

    before = loss(trainer.network)
    trainer.run()
    assert loss(trainer.network) < 0.8 * before


def test_the_report_counts_every_record(make):
    lines = make().report()
    assert lines[0].startswith("qm9_extract: ")
    assert any("acyclic" in line and "train" in line for line in lines)


def test_bad_values_are_named(make):
    with pytest.raises(ValueError, match="data.order"):
        make(data={"order": "sorted"})
    with pytest.raises(ValueError, match="data.balance"):
        make(model={"classes": 1}, data={"balance": True})
    with pytest.raises(ValueError, match="leaves none"):
        make(data={"train": 1000})
