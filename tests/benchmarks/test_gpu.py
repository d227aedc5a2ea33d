"""The timing on a GPU, and a record of every kind of case there."""

import pytest
import torch

from benchmarks.cases import select
from benchmarks.measure import cuda, record

SMOKE = {case.name: case for case in select("smoke") if case.operator in ("pair_attention", "so3_attention", "block")}
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]


def test_short_runs_are_replayed_as_graphs_and_long_ones_timed_by_events():
    device = torch.device("cuda")
    source = torch.rand(2**28, device=device)
    target = torch.empty_like(source)
    long, small = cuda.CudaTimer([lambda: target.copy_(source)]), torch.rand(256, device=device)
    short = cuda.CudaTimer([lambda: small + 1, lambda: small + 2])
    assert (long.how, short.how) == ("events", "graph")


@pytest.mark.parametrize("name", SMOKE)
def test_every_kind_of_case_gives_a_record(name):
    found = record.measure(SMOKE[name], torch.device("cuda"))
    row = found["results"]["eager"]
    assert row["peak_bytes"] > 0 if "memory-only" in SMOKE[name].tags else row["ms"] > 0 and row["host_us"] > 0
