"""Conformers from Python: `generate_conformers`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rdkit import Chem

from ditkernels.models.ditmc import DiTMC
from ditkernels.models.generation.conformers import with_conformers
from ditkernels.models.generation.options import GenerationOptions
from ditkernels.models.generation.pipeline import ConformerPipeline, Outcome
from ditkernels.models.generation.sampling import Sampler, choose_device, network_sampler
from ditkernels.models.molecule.records import Record
from ditkernels.models.weights import load_model


class GenerationError(ValueError):
    """Some molecules have no conformer.

    molecules: what was made, in input order, None for the failed ones; failures: position in the input -> reason.
    """

    def __init__(self, molecules: list[Chem.Mol | None], failures: dict[int, str]) -> None:
        self.molecules, self.failures = molecules, failures
        position, reason = next(iter(failures.items()))
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        super().__init__(f"no conformers for molecule {position}: {reason}{more}")


def generate_conformers(
    smiles: str | Chem.Mol | Sequence[str | Chem.Mol],
    n: int,
    *,
    model: str | Path | DiTMC = "ape-s",
    seed: int = 0,
    steps: int = 50,
    grid: str = "uniform",
    prior: str | None = None,
    method: str = "euler",
    max_atoms_per_batch: int = 2048,
    max_pairs_per_batch: int = 131072,
    max_atoms: int = 250,
    attempts: int = 8,
    prune_rms: float | None = None,
    minimize: str = "none",
    largest_fragment: bool = False,
    device: str | None = None,
    impl: str = "auto",
    cuda_graph: bool = False,
    sampler: Sampler | None = None,
) -> list[Chem.Mol]:
    """Samples `n` conformers for each of `smiles`: a SMILES, an RDKit molecule, or a sequence of these.

    Returns one molecule per input, in order, with explicit hydrogens and its conformers (coordinates in Angstrom,
    conformer id = sample number from 0). Specified stereochemistry is right in every conformer: those that cannot be
    mended by a mirror image or by sampling again (at most `attempts` times) are left out, so a molecule may have
    fewer than `n`; its property `missing_conformers` then names the reason. The result for a molecule depends on
    `seed`, on its position in the input and on the options.

    The options are those of `GenerationOptions`; `model` is a name, a folder or a network; `prior` None takes the
    network's own; `device` None takes the GPU where there is one; `impl` is the back-end of the attention;
    `cuda_graph` replays CUDA graphs on a GPU (not yet run on one). A `sampler` replaces the network ("drugs" layout).

    Raises:
        GenerationError: a molecule could not be read, is not supported, or got no conformer at all; carries the others.
        ValueError: an option out of range.
    """
    network = None
    if sampler is None:
        network = load_model(model) if not isinstance(model, DiTMC) else model
        prior = prior or network.config.prior
    options = GenerationOptions(
        conformers=n,
        seed=seed,
        steps=steps,
        grid=grid,
        method=method,
        prior=prior or "harmonic",
        attempts=attempts,
        max_atoms_per_batch=max_atoms_per_batch,
        max_pairs_per_batch=max_pairs_per_batch,
        max_atoms=max_atoms,
        prune_rms=prune_rms,
        minimize=minimize,
        largest_fragment=largest_fragment,
    )
    if network is not None:
        if not isinstance(model, DiTMC) or device is not None:
            network = network.to(choose_device(device))
        sampler = network_sampler(network, options, impl, cuda_graph)
    inputs = [smiles] if isinstance(smiles, (str, Chem.Mol)) else list(smiles)
    records = (Record(index, str(index + 1), _title(item, index), item) for index, item in enumerate(inputs))
    layout = network.config.layout if network is not None else "drugs"
    outcomes = list(ConformerPipeline(sampler, options, layout).run(records))
    results = [None if outcome.failed else _finished(outcome) for outcome in outcomes]
    failures = {outcome.record.index: outcome.reason for outcome in outcomes if outcome.failed}
    if failures:
        raise GenerationError(results, failures)
    return results


def _title(item: str | Chem.Mol, index: int) -> str:
    if isinstance(item, Chem.Mol) and item.HasProp("_Name"):
        return item.GetProp("_Name")
    return f"molecule_{index + 1}"


def _finished(outcome: Outcome) -> Chem.Mol:
    mol = with_conformers(outcome.task.mol, outcome.conformers)
    mol.SetProp("_Name", outcome.record.title)
    if outcome.reason:
        mol.SetProp("missing_conformers", outcome.reason)
    return mol
