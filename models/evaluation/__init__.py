"""Evaluation of generated conformers: coverage, RMSD, local geometry, stereochemistry, and the ETKDG baseline."""

from ditkernels.models.evaluation.coverage import Coverage, coverage
from ditkernels.models.evaluation.geometry import geometry_errors
from ditkernels.models.evaluation.references import ReferenceSet, choose, deduplicate, read_references
from ditkernels.models.evaluation.rmsd import rmsd_matrix
from ditkernels.models.evaluation.score import MoleculeScore, score_molecule, summarize

__all__ = [
    "Coverage",
    "MoleculeScore",
    "ReferenceSet",
    "choose",
    "coverage",
    "deduplicate",
    "geometry_errors",
    "read_references",
    "rmsd_matrix",
    "score_molecule",
    "summarize",
]
