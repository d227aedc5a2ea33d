"""Molecular models built on :mod:`ditkernels`: conformers (DiTMC), new molecules (D3MES), training and evaluation.

The folder ``models`` of the source tree is imported as ``ditkernels.models``. The names below load on first use, so
that importing this package needs nothing beyond torch; using it needs the extra ``ditkernels[models]``.
"""

from __future__ import annotations

import importlib

_EXPORTS = {
    "DiTMC": "ditkernels.models.ditmc",
    "DiTMCConfig": "ditkernels.models.ditmc",
    "D3MES": "ditkernels.models.d3mes",
    "D3MESConfig": "ditkernels.models.d3mes",
    "load_model": "ditkernels.models.weights",
    "save_model": "ditkernels.models.weights",
    "generate_conformers": "ditkernels.models.generation",
    "generate_molecules": "ditkernels.models.d3mes",
}

__all__ = list(_EXPORTS)


def __getattr__(name: str):
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS})
