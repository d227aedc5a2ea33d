"""Which configuration a kernel gets: the rule, tables from files, and what is said about broken ones."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ditkernels.triton import configs
from ditkernels.triton.configs import Config, Key, architecture, choose, power_of_two, read, write

KEY = Key("pair_attention", "dense", "forward", "bfloat16", 256, 32, 64, "sm_90")
RULE, TUNED = Config(4, 16, 1), Config(8, 32, 2, features=64, warps=8, stages=3)


def rule(key: Key) -> Config:
    return RULE


def test_the_rule_decides_where_no_table_does():
    assert choose(KEY, rule) is RULE


def test_a_table_comes_before_the_rule(tmp_path, monkeypatch):
    path = tmp_path / "tables" / "mine.json"
    write(path, {KEY: TUNED}, "Some GPU")
    monkeypatch.setenv(configs.VARIABLE, str(path))
    assert choose(KEY, rule) == TUNED
    assert choose(replace(KEY, atoms=128), rule) is RULE
    assert read(path) == {KEY: TUNED}


def test_an_override_comes_first_and_ends():
    with configs.override(lambda key: TUNED if key.form == "dense" else None):
        assert choose(KEY, rule) is TUNED
        assert choose(replace(KEY, form="table"), rule) is RULE
    assert choose(KEY, rule) is RULE


@pytest.mark.parametrize(
    ("text", "what"),
    [("", "not a table"), ("[]", "not a table"), ('{"configs": [{"key": {}}]}', "entry 0 is wrong")],
)
def test_a_broken_table_is_named(tmp_path, text, what):
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"{path}.*{what}"):
        read(path)


def test_a_missing_table_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv(configs.VARIABLE, str(tmp_path / "none.json"))
    with pytest.raises(ValueError, match="none.json: not a table"):
        choose(KEY, rule)


def test_shipped_tables_can_be_read():
    for path in configs.SHIPPED.glob("*.json"):
        assert read(path)


def test_architectures():
    assert architecture(torch.device("cpu")) == "interpreter"
    with configs.assumed("gfx942"):
        assert architecture(torch.device("cpu")) == "gfx942"


def test_powers_of_two():
    assert [power_of_two(n) for n in (0, 1, 2, 3, 44, 64, 65)] == [1, 1, 2, 4, 64, 64, 128]
