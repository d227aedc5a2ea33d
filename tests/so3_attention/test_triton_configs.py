"""Block sizes of SO(3) attention: the rule gives what matrix products need, candidates are correct, tables are used."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch

from ditkernels.so3_attention.descriptors import FORMS
from ditkernels.triton import configs
from ditkernels.triton.configs import Config, Key, power_of_two
from tests.so3_attention.cases import make_batch
from tests.support.triton import needs_triton, on_device

pytestmark = needs_triton

DTYPES = ("float32", "bfloat16", "float16")


def rules():
    from ditkernels.so3_attention.impl.triton import rules

    return rules


def key(form: str, kernel: str, dtype: str = "float32", channels: int = 32, width: int = 8) -> Key:
    return Key("so3_attention", form, kernel, dtype, channels, width, 64, "sm_90")


def kernels(form: str) -> list[str]:
    """Those that the launcher looks up, for all gradients, and for all but those of positions."""
    from ditkernels.triton.launch import recorded
    from ditkernels.tuning.problems import Problem, call

    given = call(Problem("so3_attention", form, torch.float32, "L = 1", channels=32, heads=2), "meta")
    seen: list[str] = []
    for without in ("", "positions"):
        needs = (field.differentiable and field.name != without for field in FORMS[form])
        with recorded("sm_90"), configs.override(lambda key: seen.append(key.kernel)):
            replace(given, needs=(*needs, False)).backward(*given.forward())
    return list(dict.fromkeys(seen))


@pytest.mark.parametrize("heads", [1, 3, 8])
@pytest.mark.parametrize("width", [1, 4, 12, 32, 64])
def test_blocks_are_as_large_as_matrix_products_need(width, heads):
    """16 along every axis; that is, of the channels, and of the pairs of the form that has products."""
    for form, dtype in itertools.product(FORMS, DTYPES):
        for kernel in kernels(form):
            of = key(form, kernel, dtype, heads * width, width)
            for config in (rules().rule(of), *rules().candidates(of)):
                sizes = (config.receivers, config.senders, config.heads, config.warps)
                assert all(x == power_of_two(x) for x in sizes) and config.warps in (1, 2, 4, 8) and config.stages >= 1
                assert config.heads * power_of_two(width) >= 16
                assert config.receivers * config.senders >= (1 if form == "dense" else 16)


def test_an_unknown_kernel_is_named():
    with pytest.raises(ValueError, match="so3_attention has no kernel 'sideways'"):
        rules().rule(key("dense", "sideways"))


def test_candidates_differ_and_begin_where_the_rule_is():
    for form in FORMS:
        for kernel in kernels(form):
            of = key(form, kernel)
            found = rules().candidates(of)
            assert len(set(found)) == len(found) > 3
            assert rules().rule(of).warps in {config.warps for config in found}


@pytest.mark.parametrize("take", [0.5, -1], ids=str)
@pytest.mark.parametrize("radial", ["dense", "bernstein-scaled"])
def test_candidates_are_correct(radial, take):
    """One of each kernel's candidates from the middle, and the last."""
    batch = make_batch("first-block", radial, [9], heads=1, width=16, dtype=torch.float32)
    cotangent = batch.cotangent()
    expected, wanted = batch.to(torch.float64).gradients("reference", cotangent.double())

    def choice(key: Key) -> Config:
        found = rules().candidates(key)
        return found[-1] if take < 0 else found[int(take * len(found))]

    with configs.override(choice):
        out, found = on_device(batch).gradients("triton", on_device(cotangent))
    for name, x, exact in [("out", out, expected), *((n, found[n], wanted[n]) for n in wanted)]:
        assert (x.cpu() - exact).abs().max() <= 2e-5 * exact.abs().max(), name


def test_a_table_of_a_file_is_used(tmp_path, monkeypatch):
    """The launcher looks for the key of the call."""
    from ditkernels.triton.launch import recorded
    from ditkernels.tuning.problems import Problem, call

    problem = Problem("so3_attention", "basis", torch.bfloat16, "L = 1", molecules=4, atoms=50)
    own = replace(key("basis", "forward", "bfloat16", 256, 32), architecture="gfx942", components=4)
    config = Config(2, 64, 4, warps=8, stages=1)
    configs.write(tmp_path / "own.json", {own: config}, "none")
    monkeypatch.setenv(configs.VARIABLE, str(tmp_path / "own.json"))
    with recorded("gfx942") as launches:
        call(problem, "meta").forward()
    assert launches[-1].config == config and launches[-1].arguments["SENDERS"] == 64
    with recorded("sm_90") as launches:
        call(problem, "meta").forward()
    assert launches[-1].config != config
