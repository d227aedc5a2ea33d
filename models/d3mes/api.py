"""New molecules from Python: `generate_molecules`."""

from __future__ import annotations

from pathlib import Path

from rdkit import Chem

from ditkernels.models.d3mes.generate import MoleculeGenerator, MoleculeOptions
from ditkernels.models.d3mes.model import D3MES
from ditkernels.models.generation.sampling import choose_device
from ditkernels.models.weights import load_model


def generate_molecules(
    number: int,
    *,
    model: str | Path | D3MES = "d3mes-qm9",
    device: str | None = None,
    impl: str = "auto",
    **options: object,
) -> list[Chem.Mol]:
    """New molecules with hydrogens and one conformer each, in the order of the samples.

    Args:
        number: samples; those that are no molecule are left out, so that fewer may come back.
        model: name of a shipped network, folder with weights, or a network (used where it is).
        device: where to run a named network; None: the GPU where there is one.
        impl: back-end of the attention.
        options: the other options of :class:`ditkernels.models.d3mes.generate.MoleculeOptions`, such as
            ``label="cyclic"``, ``guidance=2.0``, ``seed=1``.

    The name of a molecule (``_Name``) is the number of its sample, its class ("class") a property. Raises ValueError
    for a bad option, FileNotFoundError for an unknown model.
    """
    network = model if isinstance(model, D3MES) else load_model(model, choose_device(device), family="d3mes")
    found = []
    for sample in MoleculeGenerator(network, MoleculeOptions(number, **options), impl).samples():
        if not sample.failed:
            mol = sample.molecule.mol
            mol.SetProp("_Name", f"sample {sample.number + 1}")
            if sample.label:
                mol.SetProp("class", sample.label)
            found.append(mol)
    return found
