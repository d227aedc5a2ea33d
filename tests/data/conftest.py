"""Fixtures: the extracts of QM9 and CASCADE, and their preprocessed caches."""

from __future__ import annotations

from pathlib import Path

import pytest

from ditkernels.models.data.preprocess import preprocess
from ditkernels.models.data.readers import open_reader

FILES = Path(__file__).parent / "files"


@pytest.fixture
def qm9() -> Path:
    return FILES / "qm9_extract.npz"


@pytest.fixture
def cascade() -> Path:
    return FILES / "cascade_extract.sdf"


@pytest.fixture(scope="session")
def caches(tmp_path_factory):
    """Preprocessed (QM9, CASCADE) extracts."""
    root = tmp_path_factory.mktemp("cache")
    return tuple(
        preprocess(open_reader(FILES / n), root=root, workers=1) for n in ("qm9_extract.npz", "cascade_extract.sdf")
    )
