"""Clean images of some molecules of a source, without reading all of it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ditkernels.models.d3mes.config import D3MESConfig
from ditkernels.models.d3mes.heavy import heavy_record
from ditkernels.models.d3mes.image import encode
from ditkernels.models.data.readers import Reader
from ditkernels.models.data.records import Record

PARTS = 16
"""Places of the source that molecules are taken from."""


def clean_images(reader: Reader, config: D3MESConfig, number: int) -> tuple[Tensor, Tensor]:
    """Images (B, C, I, 3) and numbers of atoms (B,) of at most ``number`` molecules that the image can hold, from
    places spread evenly over the source.

    Raises ValueError if there is none.
    """
    chunks = list(reader.chunks())
    chosen = chunks[:: max(len(chunks) // PARTS, 1)]
    found: list[dict[str, np.ndarray]] = []
    for place, chunk in enumerate(chosen, start=1):
        wanted = number * place // len(chosen)
        for record in reader.records(chunk):
            if len(found) >= wanted:
                break
            heavy = heavy_record(record.mol, record.positions) if isinstance(record, Record) else ""
            if isinstance(heavy, dict) and _fits(heavy, config):
                found.append(heavy)
    if not found:
        raise ValueError(f"no molecule of {reader.path} fits into the images of this model")
    columns = ("positions", "atomic_numbers", "bonds")
    arrays = [np.concatenate([heavy[column] for heavy in found]) for column in columns]
    atoms, bonds = (np.array([len(heavy[column]) for heavy in found]) for column in columns[1:])
    return encode(*arrays, atoms, bonds, config), torch.from_numpy(atoms)


def _fits(heavy: dict[str, np.ndarray], config: D3MESConfig) -> bool:
    known = set(heavy["atomic_numbers"].tolist()) <= set(config.atomic_numbers)
    return known and len(heavy["atomic_numbers"]) <= config.max_atoms and len(heavy["bonds"]) <= config.rows
