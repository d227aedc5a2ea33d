"""Outcomes as SD records and as rows of the failures table.

SD fields of every conformer:

    smiles              input SMILES as given (canonical SMILES for inputs without one)
    conformer           number of the sample, from 1; numbers of missing and pruned ones are skipped
    stereo              "ok": all specified centers and double bonds are right; "none specified"
    mirrored            "yes" if the sample was reflected to get there, else "no"
    unspecified_stereo  centers and double bonds that the input leaves open, if any (atoms numbered as in the record)
    unchecked_stereo    specified elements of kinds that are not checked (allenes, square-planar, ...), if any
    kept_fragment       SMILES of the part that was kept of a molecule with several, if so
    mmff94_energy       kcal/mol, and mmff94_converged yes / no, if minimized
    model, seed         what made it
"""

from __future__ import annotations

import csv
import io

from rdkit import Chem

from ditkernels.models.generation.conformers import with_conformers
from ditkernels.models.generation.pipeline import Outcome

FAILURE_COLUMNS = ("line", "title", "smiles", "reason")


def sd_records(outcome: Outcome, model_name: str, seed: int) -> str:
    """SD text of all conformers of an outcome (V3000 above 999 atoms); empty if it has none."""
    if outcome.failed:
        return ""
    task = outcome.task
    mol = with_conformers(task.mol, outcome.conformers)
    mol.SetProp("_Name", outcome.record.title)
    # With coordinates the handedness is absolute; readers that go by the flag must not take it for a racemate.
    mol.SetIntProp("_MolFileChiralFlag", int(len(task.stereo.centers) > 0))
    texts = []
    for conformer in outcome.conformers:
        fields = {
            "smiles": task.smiles,
            "conformer": str(conformer.sample + 1),
            "stereo": "ok" if task.stereo.any_specified else "none specified",
            "mirrored": _yes_no(conformer.mirrored),
            "unspecified_stereo": " ".join(task.stereo.unspecified),
            "unchecked_stereo": " ".join(task.stereo.unchecked),
            "kept_fragment": task.kept_fragment or "",
            "mmff94_energy": "" if conformer.energy is None else f"{conformer.energy:.4f}",
            "mmff94_converged": "" if conformer.converged is None else _yes_no(conformer.converged),
            "model": model_name,
            "seed": str(seed),
        }
        for name, value in fields.items():
            if value:
                mol.SetProp(name, value)
        texts.append(Chem.SDWriter.GetText(mol, confId=conformer.sample))
    return "".join(texts)


def failure_row(outcome: Outcome) -> str:
    """CSV row (with line end) of an outcome with a reason; empty for a complete one."""
    if outcome.reason is None:
        return ""
    record = outcome.record
    smiles = outcome.task.smiles if outcome.task else record.smiles
    return csv_row((record.location, record.title, smiles, outcome.reason))


def csv_row(values: tuple[str, ...]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()


def _yes_no(value: bool) -> str:
    return "yes" if value else "no"
