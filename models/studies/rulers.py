"""What rulers of stability are worth: the same two on real molecules, on samples with published scores, and on noise.

Noise has the sizes and elements of QM9's training molecules (EDM's split of arXiv 2203.17003, fluorine included).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ditkernels.models.metrics.evaluate import Generated, measure
from ditkernels.models.metrics.null import noise_molecules
from ditkernels.models.metrics.stability import NO_MARGINS
from ditkernels.models.metrics.table import over_seeds
from ditkernels.models.molecule.assembly import components
from ditkernels.models.molecule.bond_lengths import MARGINS, bond_orders

SIZES = {9: 83_366, 8: 13_625, 7: 2_404, 6: 475, 5: 91, 4: 25, 3: 7, 2: 5, 1: 2}
"""QM9's training molecules by heavy atoms."""
ELEMENTS = {6: 635_559, 7: 101_476, 8: 140_202, 9: 2_323}
"""Their heavy atoms by atomic number."""

_EDM = ("edm_atoms", "edm_molecules", "edm_valid", "edm_valid_unique", "edm_connected")
_COUNTS = ("counts_atoms", "counts_molecules", "counts_valid", "counts_connected")

PUBLISHED = (
    {"name": "published: QM9", "edm_atoms": 0.990, "edm_molecules": 0.952, "edm_valid": 0.977,
     "edm_valid_unique": 0.977},
    {"name": "published: G-SchNet", "edm_atoms": 0.957, "edm_molecules": 0.681, "edm_valid": 0.855,
     "edm_valid_unique": 0.803},
    {"name": "published: D3MES", "counts_atoms": 0.993, "counts_molecules": 0.922},
)  # fmt: skip
"""EDM's table for the ruler of EDM, arXiv 2501.07077 for that of counts."""

TEXT = """\
In percent. *EDM*: bonds by distance with margins, stable atoms have exactly an allowed order sum; atoms with hydrogens
where the sample has them. *counts*: bonds by distance without margins on heavy atoms, stable atoms have no more bonds
than their largest valence. *valid* of EDM: RDKit sanitises the molecule that distances make; of counts: different
strings per sample, nothing is sanitised. *one part*: samples whose bonds by that ruler hold all their atoms together.
± is the standard deviation over seeds of the noise. By counts, noise is as stable as published molecules are: the ruler
says nothing. By EDM's it is not."""


def read_samples(path: Path) -> list[Generated]:
    """Samples of an npz file: ``ptr`` (M+1,), ``pos_e4`` (T, 3) int32 in 1e-4 Å, ``z`` (T,) atomic numbers.

    Raises ValueError for any other file.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            ptr, positions, elements = data["ptr"], data["pos_e4"] * 1e-4, data["z"].astype(np.int64)
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise ValueError(f"{path} is no file of samples (ptr, pos_e4, z): {error}") from error
    return [Generated(elements[a:b], positions[a:b], None) for a, b in zip(ptr[:-1], ptr[1:])]


def noise(count: int, seed: int, sigma: float) -> list[Generated]:
    sizes, elements = (np.repeat(list(table), list(table.values())) for table in (SIZES, ELEMENTS))
    return [Generated(*atoms, None) for atoms in noise_molecules(count, sizes, elements, seed, sigma)]


def ruler_row(name: str, samples: Sequence[Generated]) -> dict:
    """Row of :func:`measure`, with the shares of samples in one part by the bonds of each ruler."""
    heavy = [(s.elements[s.elements > 1], s.positions[s.elements > 1]) for s in samples]
    return measure(name, samples) | {
        "edm_connected": float(np.mean([_in_one_part(s.elements, s.positions, MARGINS) for s in samples])),
        "counts_connected": float(np.mean([_in_one_part(*atoms, NO_MARGINS) for atoms in heavy])),
    }


def noise_row(count: int, seeds: Sequence[int], sigma: float) -> dict:
    """Mean and deviation over seeds, each with ``count`` samples."""
    name = f"noise, σ = {sigma:g} Å, {len(seeds)} seeds"
    rows = [ruler_row(name, noise(count, seed, sigma)) for seed in seeds]
    others = ("counts_valid", "edm_connected", "counts_connected")
    return over_seeds(name, rows) | {key: float(np.mean([row[key] for row in rows])) for key in others}


def rulers_table(rows: Sequence[dict]) -> str:
    """Markdown of rows and of :data:`PUBLISHED`."""
    titles = ("atom", "molecule", "valid", "valid & unique", "one part")
    header = ["", "samples", *(f"EDM {t}" for t in titles), *(f"counts {t}" for t in (*titles[:3], titles[4]))]
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    for row in (*rows, *PUBLISHED):
        cells = [row["name"], str(row.get("samples", "–"))]
        cells += [_cell(row.get(key), row.get("sd", {}).get(key)) for key in (*_EDM, *_COUNTS)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(value: float | None, deviation: float | None) -> str:
    if value is None:
        return "–"
    return f"{100 * value:.2f}" + (f" ± {100 * deviation:.2f}" if deviation is not None else "")


def _in_one_part(elements: np.ndarray, positions: np.ndarray, margins: tuple[float, ...]) -> bool:
    bonds = np.argwhere(np.triu(bond_orders(elements, positions, margins)))
    return not components(len(elements), bonds).any()
