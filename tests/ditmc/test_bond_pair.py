"""Bond-pair conditioning: tokens of the bonds for bonded pairs, one learned vector for all others (eq. 9)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from ditkernels import DensePair
from ditkernels.models.ditmc import Conditioning, DiTMC, DiTMCConfig, flow_matching_loss, sample
from ditkernels.models.ditmc.geometry import center
from ditkernels.models.ditmc.pairs import DirectionPair
from ditkernels.models.generation import generate_conformers
from ditkernels.models.molecule.graph import collate
from ditkernels.models.weights import load_model, save_model
from tests.support.networks import batch_of, graphs, small_network

SMILES = ("CC(=O)Oc1ccccc1C(=O)O", "[Na+]", "CCO", "C#N", "[NH4+]")


def bond_network(embedding, **options):
    return small_network(embedding, conditioning="bond-pair", **options)


def inputs(batch, seed=1):
    generator = torch.Generator().manual_seed(seed)
    positions = torch.randn(batch.num_atoms, 3, generator=generator, dtype=torch.float64)
    return positions, torch.rand(batch.num_molecules, generator=generator, dtype=torch.float64)


class DenseNetwork(DiTMC):
    """The same network with a token per pair, filled in by a loop over the bonds, and no row shared by two pairs."""

    def encode(self, graph):
        nodes, edges = self.conditioner(graph)
        starts = graph.cu_seqlens.tolist()
        tokens, pairs = [], []
        for start, end in zip(starts[:-1], starts[1:], strict=True):
            for i in range(start, end):
                for j in range(start, end):
                    token = self.bond_embedding.unbonded
                    for e, (sender, receiver) in enumerate(zip(graph.bond_senders, graph.bond_receivers, strict=True)):
                        if (sender, receiver) == (j, i):
                            token = edges[e]
                    tokens.append(token)
                    pairs.append((i, j))
        return Conditioning(graph, nodes, DensePairs(self, torch.stack(tokens), torch.tensor(pairs)))


@dataclass
class DensePairs:
    """Tokens (P, F) of all pairs, and their receivers and senders (P, 2)."""

    network: DenseNetwork
    tokens: torch.Tensor
    pairs: torch.Tensor

    def descriptors(self, positions, gate):
        network = self.network
        if network.config.equivariant:
            factors = 1 + gate * network.bond_embedding.mlp(self.tokens).unflatten(-1, (network.config.degree + 1, -1))
            yield from [DirectionPair(positions, torch.arange(len(self.pairs)), factors)] * len(network.blocks)
            return
        pair = gate * self.tokens
        if network.displacement is not None:
            receivers, senders = self.pairs.unbind(1)
            pair = pair + network.displacement(positions[senders] - positions[receivers])
        for block in network.blocks:
            yield DensePair(*block.pair_maps(pair))


@pytest.mark.parametrize("gate", [1.0, 0.0])
def test_output_and_gradients_are_those_of_the_dense_formula(embedding, impl, gate):
    model, batch = bond_network(embedding), batch_of("CCO", "[Na+]", "C#N")
    dense = DenseNetwork(model.config).double()
    dense.load_state_dict(model.state_dict())
    positions, t = inputs(batch)
    results = []
    for network, name in ((model, impl), (dense, "reference")):
        x = positions.clone().requires_grad_()
        output = network(x, t, batch, condition_gate=gate, impl=name)
        output.sin().sum().backward()
        results.append((output.detach(), x.grad, {name: p.grad for name, p in network.named_parameters()}))
    assert_close(results[0], results[1], atol=1e-11, rtol=1e-9)


def test_gradient_reaches_the_bond_tokens_and_the_vector_of_other_pairs(embedding, impl):
    model, batch = bond_network(embedding), batch_of(*SMILES)
    positions, t = inputs(batch)
    model(positions, t, batch, impl=impl).square().sum().backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 1e-9]
    # Centering removes the first; the second is of scalars, of which the readout of vectors sees nothing.
    assert missing == ["blocks.3.mlp.down.bias" if embedding == "pe3" else "readout.output.bias"]


def test_last_bond_update_acts_on_the_output_through_the_pairs_alone(embedding):
    """A message that is nowhere summed into an atom still matters: only the pair tokens can carry it."""
    model, batch = bond_network(embedding), batch_of("CCO")
    positions, t = inputs(batch)
    conditioning = model.encode(batch)
    with torch.no_grad():
        model.conditioner.layers[-1].edge_mlp[2].bias += 0.5
    mixed = replace(conditioning, pairs=model.encode(batch).pairs)
    assert (model.denoise(positions, t, mixed) - model.denoise(positions, t, conditioning)).abs().max() > 1e-4


def test_direction_of_a_bond_matters(embedding):
    """The token of the bond j -> i belongs to the pair with receiver i; the two ways have different tokens."""
    model, batch = bond_network(embedding), batch_of("CO")
    nodes, edges = model.conditioner(batch)
    rows, index = model.pair_conditioning.tokens(batch, edges), model.pair_conditioning.index(batch)
    receiver, sender = 1, 0
    token = rows[index[receiver * batch.num_atoms + sender].long()]
    if embedding == "pe3":
        edges = model.bond_embedding.mlp(edges)
    there = (batch.bond_senders == sender) & (batch.bond_receivers == receiver)
    back = (batch.bond_senders == receiver) & (batch.bond_receivers == sender)
    assert_close(token, edges[there][0])
    assert (token - edges[back][0]).abs().max() > 1e-3


def test_molecules_of_a_batch_do_not_see_each_other(embedding, impl):
    model, batch = bond_network(embedding), batch_of(*SMILES)
    positions, t = inputs(batch)
    together = model(positions, t, batch, impl=impl)
    for b, smiles in enumerate(SMILES):
        atoms = slice(int(batch.cu_seqlens[b]), int(batch.cu_seqlens[b + 1]))
        alone = model(positions[atoms], t[b : b + 1], batch_of(smiles), impl=impl)
        assert_close(together[atoms], alone, atol=1e-11, rtol=1e-11)


def test_atom_order_does_not_matter(embedding, impl):
    model = bond_network(embedding)
    (graph,) = graphs("CC(=O)NC")
    positions, t = inputs(collate([graph]))
    order = np.random.default_rng(3).permutation(graph.num_atoms)
    other = model(positions[order], t, collate([graph.permuted(order)]), impl=impl)
    assert_close(other, model(positions, t, collate([graph]), impl=impl)[order], atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize("smiles", ["[Na+]", "[H][H]"])
def test_smallest_molecules(embedding, impl, smiles):
    model, batch = bond_network(embedding), batch_of(smiles)
    positions, t = inputs(batch)
    output = model(positions, t, batch, impl=impl)
    output.square().sum().backward()
    assert torch.isfinite(output).all()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    if batch.num_atoms == 1:
        assert_close(output, torch.zeros_like(output))


def test_every_bond_has_a_token_and_all_other_pairs_share_one():
    model, batch = bond_network("ape"), batch_of("CCC", "CO")
    rows = model.pair_conditioning.tokens(batch, model.conditioner(batch)[1])
    index = model.pair_conditioning.index(batch)
    hops = batch.hop_values[batch.hop_index.long()]
    assert rows.shape[0] == 1 + batch.bond_senders.shape[0]
    assert (index[hops != 1] == 0).all() and (index[hops == 1] > 0).all()
    assert_close(rows[0], model.bond_embedding.unbonded)


def test_gate_multiplies_bonded_and_other_tokens(embedding, impl):
    model, batch = bond_network(embedding), batch_of("CCO")
    positions, t = inputs(batch)
    with torch.no_grad():
        silent = bond_network(embedding)
        silent.bond_embedding.unbonded.zero_()
        silent.conditioner.layers[-1].edge_mlp[2].weight.zero_()
        silent.conditioner.layers[-1].edge_mlp[2].bias.zero_()
        # The atom tokens would differ too; gate 0 drops them in the blocks, this in the readout.
        for network in (model, silent):
            network.readout.modulation.weight.zero_()
    dropped = model(positions, t, batch, condition_gate=0.0, impl=impl)
    assert_close(dropped, silent(positions, t, batch, condition_gate=0.0, impl=impl), atol=1e-11, rtol=1e-11)
    assert (dropped - model(positions, t, batch, impl=impl)).abs().max() > 1e-4


class LargestTensor(TorchDispatchMode):
    """Number of elements of the largest tensor that any operation returns."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for value in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(value, torch.Tensor):
                self.elements = max(self.elements, value.numel())
        return result


@pytest.mark.parametrize("conditioning", ["bond-pair", "all-pair"])
def test_no_tensor_is_larger_than_the_pair_index(embedding, conditioning):
    batch = batch_of("C" * 59 + "N")
    assert batch.num_atoms == 181
    model = small_network(embedding, dtype=torch.float32, conditioning=conditioning)
    positions, t = (x.float() for x in inputs(batch))
    with LargestTensor() as largest:
        model(positions, t, batch, impl="cpu").square().sum().backward()
    if embedding != "pe3":
        assert largest.elements <= 181 * 181
    else:  # hidden layers of the MLPs, 181 atoms of 8 components and 4 * 16 channels, are larger than 181 * 181
        assert largest.elements == 181 * 8 * 64


def test_largest_drug_like_size(embedding, impl):
    batch = batch_of("C" * 59 + "N", "CCO")
    model = bond_network(embedding)
    positions, t = inputs(batch)
    assert_close(
        model(positions, t, batch, impl=impl), model(positions, t, batch, impl="reference"), atol=1e-10, rtol=0
    )


def test_parameters_of_the_other_conditioning_are_absent(embedding):
    names = {
        conditioning: set(small_network(embedding, conditioning=conditioning).state_dict())
        for conditioning in ("all-pair", "bond-pair")
    }
    scaling = {f"bond_embedding.mlp.{i}.weight" for i in (0, 2)} if embedding == "pe3" else set()
    assert names["bond-pair"] - names["all-pair"] == {"bond_embedding.unbonded"} | scaling
    assert {name.split(".")[0] for name in names["all-pair"] - names["bond-pair"]} == {"hop_embedding"}


def test_initial_vector_has_the_scale_of_an_embedding():
    model = DiTMC(DiTMCConfig(conditioning="bond-pair", width=1024, heads=1, blocks=1, conditioner_layers=0))
    assert_close(model.bond_embedding.unbonded.std(), torch.tensor(1024**-0.5), rtol=0.1, atol=0)


def test_without_conditioner_layers_the_embedded_bonds_are_the_tokens(embedding):
    torch.manual_seed(0)
    config = DiTMCConfig(embedding, "bond-pair", width=16, heads=4, blocks=1, conditioner_layers=0)
    model, batch = DiTMC(config).double(), batch_of("C#N")
    _, edges = model.conditioner(batch)
    assert_close(edges, model.conditioner.edge_embedding(batch.bond_features.double()))
    if embedding != "pe3":
        assert_close(model.pair_conditioning.tokens(batch, edges)[1:], edges)


def test_loss_and_sampling(embedding, impl):
    model, batch = bond_network(embedding, guidance_dropout=0.1), batch_of("CCO", "[Na+]")
    positions, t = inputs(batch)
    noise, x0 = torch.randn_like(positions), torch.randn_like(positions)
    loss = flow_matching_loss(model, batch, positions, x0, t, noise, impl=impl)
    loss.backward()
    assert torch.isfinite(loss) and model.bond_embedding.unbonded.grad.abs().sum() > 0
    once = sample(model, batch, x0, steps=3, guidance=1.5, impl=impl)
    assert torch.isfinite(once).all()
    assert_close(once, sample(model, batch, x0, steps=3, guidance=1.5, impl="reference"), atol=1e-10, rtol=0)


def test_training_lowers_the_loss_and_moves_the_pair_tokens(embedding):
    model, batch = bond_network(embedding, dtype=torch.float32).train(), batch_of("CCO", "[Na+]", "C#N")
    generator = torch.Generator().manual_seed(2)
    x1, x0, z = (center(torch.randn(batch.num_atoms, 3, generator=generator), batch) for _ in range(3))
    t = torch.rand(batch.num_molecules, generator=generator)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    before, losses = model.bond_embedding.unbonded.detach().clone(), []
    for _ in range(30):
        optimizer.zero_grad()
        loss = flow_matching_loss(model, batch, x1, x0, t, z)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    assert (model.bond_embedding.unbonded - before).abs().mean() > 3e-3


def test_generation_with_a_saved_network(tmp_path, embedding):
    network = bond_network(embedding, dtype=torch.float32)
    save_model(network, tmp_path)
    loaded = load_model(tmp_path)
    assert loaded.config.conditioning == "bond-pair"
    mols = [generate_conformers(["CCO"], 2, model=model, steps=3)[0] for model in (network, tmp_path)]
    places = [[conformer.GetPositions() for conformer in mol.GetConformers()] for mol in mols]
    assert len(places[0]) == 2 and np.array_equal(*places)


def test_configuration_from_before_the_option_is_all_pair():
    assert DiTMCConfig.from_dict({"embedding": "rpe", "width": 64}).conditioning == "all-pair"


def test_bfloat16_autocast_stays_close(embedding, impl):
    model, batch = bond_network(embedding, dtype=torch.float32), batch_of(*SMILES)
    positions, t = (x.float() for x in inputs(batch))
    exact = model(positions, t, batch, impl=impl)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(positions, t, batch, impl=impl)
    assert torch.isfinite(rough).all()
    assert (rough - exact).abs().max() < 0.05 * exact.abs().max()
