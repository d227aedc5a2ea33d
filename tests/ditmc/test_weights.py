"""Networks survive the disk; broken files are named."""

from __future__ import annotations

import json

import pytest
import torch

from ditkernels.models.weights import load_model, save_model
from tests.support.networks import batch_of, small_network


def test_round_trip_gives_the_same_numbers(tmp_path, embedding):
    model, batch = small_network(embedding, dtype=torch.float32, sigma=0.25), batch_of("CCO")
    save_model(model, tmp_path / "net")
    loaded = load_model(tmp_path / "net")
    x, t = torch.randn(batch.num_atoms, 3), torch.rand(1)
    assert loaded.config == model.config and not loaded.training
    assert torch.equal(loaded(x, t, batch), model(x, t, batch))
    assert sorted(path.name for path in (tmp_path / "net").iterdir()) == ["config.json", "model.safetensors"]


def test_unknown_name_says_what_there_is():
    with pytest.raises(FileNotFoundError, match="neither a shipped model"):
        load_model("no-such-model")


@pytest.mark.parametrize("damage", ["weights", "config", "mismatch"])
def test_broken_files_are_refused(tmp_path, damage):
    save_model(small_network(dtype=torch.float32), tmp_path)
    if damage == "weights":
        content = (tmp_path / "model.safetensors").read_bytes()
        (tmp_path / "model.safetensors").write_bytes(content[: len(content) // 2])
    elif damage == "config":
        (tmp_path / "config.json").write_text("{")
    else:
        values = json.loads((tmp_path / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps({**values, "blocks": 1}))
    with pytest.raises(ValueError, match="does not fit" if damage == "mismatch" else "broken file"):
        load_model(tmp_path)
