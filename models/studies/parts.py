"""Molecules of one part of a source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from ditkernels.models.d3mes.split import TRAIN, VALIDATION, split_rows
from ditkernels.models.data.readers import Reader
from ditkernels.models.data.records import Record

ALL = "all"


def records_of(
    reader: Reader,
    part: str,
    progress: Callable[[Iterable], Iterable] = iter,
    split: tuple[int, int] | None = None,
) -> tuple[list[Record], dict[str, int]]:
    """The records of ``train``, ``validation`` or ``test`` of the split that D3MES is trained with, or of all; and how
    many of them the reader leaves out, by reason.

    progress: wraps the chunks of the source.
    split: its numbers of training and validation molecules, by default those of QM9.

    Raises ValueError for a source that is too small for that split.
    """
    records = [record for chunk in progress(reader.chunks()) for record in reader.records(chunk)]
    rows = range(len(records)) if part == ALL else split_rows(len(records), *(split or (TRAIN, VALIDATION)))[part]
    left_out = Counter(records[row].reason for row in rows if not isinstance(records[row], Record))
    return [records[row] for row in rows if isinstance(records[row], Record)], dict(left_out)
