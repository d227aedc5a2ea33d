"""Molecules of one part of a source."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ditkernels.models.d3mes.split import split_rows
from ditkernels.models.data.readers import Reader
from ditkernels.models.data.records import Record

ALL = "all"


def records_of(reader: Reader, part: str, progress: Callable[[Iterable], Iterable] = iter) -> list[Record]:
    """The readable records of ``train``, ``validation`` or ``test`` of the split that D3MES is trained with, or of all.

    progress: wraps the chunks of the source.

    Raises ValueError for a source that is too small for that split.
    """
    records = [record for chunk in progress(reader.chunks()) for record in reader.records(chunk)]
    rows = range(len(records)) if part == ALL else split_rows(len(records))[part]
    return [records[row] for row in rows if isinstance(records[row], Record)]
