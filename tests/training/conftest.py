"""A run of a tiny network on the extracts of QM9 and CASCADE, as a configuration file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from ditkernels.models.ditmc.training import Recipe
from ditkernels.models.training.config import config_from_dict
from ditkernels.models.training.distributed import World
from ditkernels.models.training.trainer import Trainer

FILES = Path(__file__).parents[1] / "data" / "files"
CPU = World(0, 1, torch.device("cpu"))


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def values(cache) -> dict:
    """Plain values of the configuration; tests change what they need."""
    source = {"validation": 0.2, "test": 0.1}
    return {
        "model": {"width": 16, "heads": 2, "blocks": 1, "conditioner_layers": 1},
        "data": {
            "root": str(FILES),
            "cache": cache,
            "workers": 1,
            "sources": [
                {"path": "qm9_extract.npz", **source},
                {"path": "cascade_extract.sdf", "weight": 1.5, **source},
            ],
        },
        "schedule": {"steps": 9, "warmup": 0.2},
        "optimizer": {"learning_rate": 0.003},
        "batch": {"molecules": 4},
        "validation": {"every": 3},
        "checkpoint": {"every": 3},
        "log": {"every": 2},
        "device": "cpu",
    }


@pytest.fixture
def config_file(values, tmp_path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture
def make_trainer(values):
    def make(output, resume=False, echo=lambda sentence: None, **changes) -> Trainer:
        return Trainer(Recipe(config_from_dict({**values, **changes})), output, CPU, resume, echo)

    return make
