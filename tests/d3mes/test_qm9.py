"""Molecules of QM9, where the environment variable DITKERNELS_DATA names a folder that has them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from ditkernels.models.d3mes.config import NAMED
from ditkernels.models.d3mes.heavy import heavy_record
from ditkernels.models.d3mes.image import decode, encode
from ditkernels.models.data.readers import open_reader
from ditkernels.models.data.records import Record

FILE = Path(os.environ.get("DITKERNELS_DATA", "")) / "qm9_nof_b3lyp.npz"
NUMBER = 1000

pytestmark = pytest.mark.skipif(not FILE.is_file(), reason="DITKERNELS_DATA names no folder with qm9_nof_b3lyp.npz")


@pytest.fixture(scope="module")
def records():
    """The first molecules without charges of every tenth part of the file."""
    reader = open_reader(FILE)
    chunks = list(reader.chunks())
    found = []
    for chunk in chunks[:: max(len(chunks) // 10, 1)]:
        read = (heavy_record(r.mol, r.positions) for r in reader.records(chunk) if isinstance(r, Record))
        found += [record for record in read if not isinstance(record, str)][: NUMBER // 10]
    return found[:NUMBER]


@pytest.mark.parametrize("name", ["d3mes-code", "d3mes-so3-e"])
def test_decoding_gives_training_molecules_back(records, name):
    config = NAMED[name]
    assert len(records) == NUMBER
    counts, bonds = (np.array([len(r[key]) for r in records]) for key in ("atomic_numbers", "bonds"))
    arrays = (np.concatenate([r[key] for r in records]) for key in ("positions", "atomic_numbers", "bonds"))
    images = encode(*arrays, counts, bonds, config)
    found = decode(images, torch.from_numpy(counts) if config.masked else None, config)
    for raw, record in zip(found, records, strict=True):
        centre = record["positions"].mean(axis=0) if config.masked else 0
        assert_allclose(raw.positions, record["positions"] - centre, atol=1e-5)
        assert_array_equal(raw.elements, record["atomic_numbers"])
        assert_array_equal(raw.bonds, record["bonds"])
        assert (raw.ambiguous, raw.dropped_bonds) == (0, 0)
