"""Evaluations that are replayed: the same numbers as those that are not. On a CPU with a stand-in for the graph."""

import pytest
import torch

from ditkernels.models.ditmc import sample
from ditkernels.models.ditmc.engine import Engines, cuda_graph, engines
from ditkernels.models.ditmc.model import DiTMC
from tests.support.networks import batch_of, small_network
from tests.support.triton import needs_triton

SMILES = ("CCO", "CC(=O)N", "[Na+]", "CCO")
VARIANTS = {
    "ape": {},
    "rpe": {"target": "velocity"},
    "pe3": {},
    "ape-feedback": {"self_conditioning": True, "index_encoding": True},
    "ape-bonds": {"conditioning": "bond-pair"},
    "pe3-bonds": {"conditioning": "bond-pair"},
}


def network(variant, **options):
    return small_network(variant.partition("-")[0], **VARIANTS[variant], **options)


@pytest.fixture
def stand_in(monkeypatch):
    """What a graph does, without a GPU: a replay reads the tensors that the captured function read, and writes to the
    same place. Gives the captured results.
    """
    captured = []

    def recorded(function):
        result = torch.full_like(function(), torch.nan)  # a capture computes nothing
        captured.append(result)
        return lambda: result.copy_(function()), result

    monkeypatch.setattr(cuda_graph, "recorded", recorded)
    monkeypatch.setattr(engines, "check_cuda_graph", lambda model, impl: None)
    return captured


@pytest.mark.parametrize("options", [{}, {"guidance": 1.5}, {"method": "heun", "grid": "log"}], ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_samples_are_the_same(stand_in, variant, options):
    model, batch = network(variant), batch_of(*SMILES)
    x0 = torch.randn(batch.num_atoms, 3, dtype=torch.float64)
    expected = sample(model, batch, x0, steps=6, **options)
    assert not stand_in
    found = sample(model, batch, x0, steps=6, cuda_graph=True, **options)
    assert (found - expected).abs().max() < 1e-10
    assert len(stand_in) == (2 if "guidance" in options else 1)


@pytest.mark.parametrize("variant", VARIANTS)
def test_batches_of_a_size_share_a_graph(stand_in, variant):
    model = network(variant)
    kept = Engines(model, cuda_graph=True)
    # Other molecules, other numbers of each, another order, and the first batch once more.
    for smiles in (SMILES, ("CC(=O)N", "CC(=O)N", "CCO", "[K+]"), ("COC", "[Li+]", "CC(=O)N", "COC"), SMILES):
        batch = batch_of(*smiles)
        x0 = torch.randn(batch.num_atoms, 3, dtype=torch.float64)
        found, expected = sample(model, batch, x0, steps=4, engines=kept), sample(model, batch, x0, steps=4)
        assert (found - expected).abs().max() < 1e-10
    assert len(kept.replayed) == 1
    large = batch_of(*SMILES * 20)
    x0 = torch.randn(large.num_atoms, 3, dtype=torch.float64)
    found, expected = sample(model, large, x0, steps=4, engines=kept), sample(model, large, x0, steps=4)
    assert (found - expected).abs().max() < 1e-10
    assert len(kept.replayed) == 2


def test_the_graph_that_waited_longest_goes(stand_in, monkeypatch):
    monkeypatch.setattr(engines, "MOST_GRAPHS", 2)
    model = network("ape")
    kept = Engines(model, cuda_graph=True)
    for count in (1, 20, 1, 60):
        kept.of(batch_of(*["CCO"] * count))
    sizes = [replayed.engine.graph.num_atoms for replayed in kept.replayed.values()]
    assert len(sizes) == 2 and sizes[0] < 60 and sizes[1] >= 540


def test_a_result_outlives_the_next_replay(stand_in):
    model, batch = network("ape"), batch_of(*SMILES)
    plain, replayed = Engines(model).of(batch), Engines(model, cuda_graph=True).of(batch)
    x = torch.randn(4, batch.num_atoms, 3, dtype=torch.float64)
    found = [replayed.denoise(x[n], 0.2 * n) for n in range(4)]
    for n in range(4):
        torch.testing.assert_close(found[n], plain.denoise(x[n], 0.2 * n), atol=1e-12, rtol=0)


def test_a_batch_of_other_sizes_is_refused():
    model = network("ape")
    small, large = (Engines(model).of(batch_of(*["CCO"] * count)).inputs for count in (1, 2))
    with pytest.raises(ValueError, match="does not fit into"):
        small.copy_(large)


def test_engines_of_another_network_are_refused():
    batch = batch_of("CCO")
    x0 = torch.randn(batch.num_atoms, 3, dtype=torch.float64)
    with pytest.raises(ValueError, match="engines are those of another network"):
        sample(network("ape"), batch, x0, engines=Engines(network("ape")))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.filterwarnings("ignore:User provided device_type of 'cuda'")
def test_without_a_gpu_nothing_is_captured():
    with pytest.raises(RuntimeError):
        cuda_graph.recorded(lambda: torch.zeros(1))


def test_what_cannot_be_captured_is_refused_in_a_sentence(monkeypatch):
    model, batch = network("ape"), batch_of("CCO")
    x0 = torch.randn(batch.num_atoms, 3, dtype=torch.float64)
    with pytest.raises(ValueError, match="cuda_graph needs the network on a GPU, and it is on cpu"):
        sample(model, batch, x0, cuda_graph=True)

    class Other(DiTMC):
        pass

    with pytest.raises(ValueError, match="needs a network that the engine knows, DiTMC, got Other"):
        sample(Other(model.config), batch, x0, cuda_graph=True)
    gpu = type("weights", (), {"device": torch.device("cuda"), "dtype": torch.float64})
    monkeypatch.setattr(model, "parameters", lambda: iter([gpu]))
    for impl in ("auto", "reference"):
        with pytest.raises(ValueError, match="needs the back-end triton, .* here it is reference"):
            cuda_graph.check_cuda_graph(model, impl)
    cuda_graph.check_cuda_graph(model, "triton")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@needs_triton
@pytest.mark.parametrize("guidance", [1.0, 1.5])
@pytest.mark.parametrize("variant", VARIANTS)
def test_graphs_on_a_gpu(variant, guidance):
    model = network(variant, dtype=torch.float32).cuda()
    options, kept = {"steps": 8, "guidance": guidance}, Engines(model, cuda_graph=True)
    for smiles in (SMILES, SMILES[::-1], SMILES):
        batch = batch_of(*smiles).to("cuda")
        x0 = torch.randn(batch.num_atoms, 3, device="cuda")
        found, expected = sample(model, batch, x0, engines=kept, **options), sample(model, batch, x0, **options)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert len(kept.replayed) == 1
