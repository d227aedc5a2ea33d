"""A resumable run that writes files.

Every record's molecules are appended to the SD file and its failure, if any, to the failures table, unbuffered. The
file `<output>.progress.json` names the lengths of both; it is replaced every half second and when a run ends early.
What lies beyond these lengths is cut off by a resumed run, which then repeats the window (records worked on
together) that was in work without writing what is there, and so ends with the same bytes as an unbroken run. A finished
run removes the progress file. A power failure may cost more than the last half second: data is handed to the operating
system only.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import BinaryIO, Generic, TypeVar

PROGRESS_VERSION = 2

SAVE_SECONDS = 0.5
"""Least time between two versions of the progress file, which would otherwise cost more than small records."""


T = TypeVar("T")


@dataclass(frozen=True)
class Entry(Generic[T]):
    """What one record adds to the files.

    index:      number of the record; entries come in this order without gaps.
    window:     number of the first record of its window, where a resumed run starts.
    sd:         text of its SD records, "" if it failed.
    failure:    its line of the failures table, "" if it is complete.
    structures: how many structures `sd` holds. missing: whether some are missing.
    outcome:    what the caller wants reported.
    """

    index: int
    window: int
    sd: str
    failure: str
    structures: int
    missing: bool
    outcome: T


@dataclass(frozen=True)
class Tally:
    """Counts so far: records = written + failed; partial ones are written with fewer structures than asked for."""

    records: int = 0
    written: int = 0
    failed: int = 0
    partial: int = 0
    structures: int = 0

    def plus(self, entry: Entry) -> Tally:
        failed = entry.structures == 0
        return Tally(
            self.records + 1,
            self.written + (not failed),
            self.failed + failed,
            self.partial + (entry.missing and not failed),
            self.structures + entry.structures,
        )

    @property
    def complete(self) -> bool:
        """Every record has all its structures."""
        return self.failed == 0 and self.partial == 0


@dataclass(frozen=True)
class _Progress:
    version: int
    fingerprint: str
    window: int
    sd_bytes: int
    failures_bytes: int
    tally: Tally


def progress_path(output: Path) -> Path:
    return output.with_name(output.name + ".progress.json")


def fingerprint(settings: dict[str, object], files: Iterable[Path]) -> str:
    """Hash of what a resumed run must share with the interrupted one: settings and contents of the input files."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in files:
        with open(path, "rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
        digest.update(b"\0end of file")
    return digest.hexdigest()


class FileJob(Generic[T]):
    """Writes entries into files.

    Args:
        output: SD file. failures: CSV file of failed and partial records, or None.
        failures_header: its first line.
        identity: `fingerprint` of the run.
        resume: continue the interrupted run whose progress file lies beside `output`; without one start anew.

    Raises:
        ValueError: `resume` with a progress file of another run, or with files shorter than it says.
        OSError: a file cannot be written; the message says how to go on.
    """

    def __init__(
        self, output: Path, failures: Path | None, failures_header: str, identity: str, *, resume: bool = False
    ) -> None:
        self.output, self.failures, self.failures_header = output, failures, failures_header
        self.progress = _Progress(PROGRESS_VERSION, identity, 0, 0, 0, Tally())
        if resume and progress_path(output).exists():
            self.progress = _read_progress(progress_path(output), identity)
            _truncate(output, self.progress.sd_bytes)
            if failures is not None:
                _truncate(failures, self.progress.failures_bytes)

    @property
    def tally(self) -> Tally:
        return self.progress.tally

    def write(self, entries: Callable[[int], Iterator[Entry[T]]], report: Callable[[T], None]) -> Tally:
        """Writes what is still lacking of `entries(n)`, the entries from record n on, n being the start of a window;
        calls `report` with the outcome of every record written.
        """
        already = self.tally.records
        mode = "ab" if already else "wb"
        # Before the files are opened: an interruption from here on leaves a run to resume.
        self._save()
        saved = time.monotonic()
        with _Appender(self.output, mode) as sd_file, _Appender(self.failures, mode) as failures_file:
            if not already:
                self.progress = replace(self.progress, failures_bytes=failures_file.write(self.failures_header))
            try:
                for entry in entries(self.progress.window):
                    if entry.index < already:
                        continue
                    self._write(entry, sd_file, failures_file)
                    report(entry.outcome)
                    if time.monotonic() - saved > SAVE_SECONDS:
                        self._save()
                        saved = time.monotonic()
            finally:
                self._save()
        progress_path(self.output).unlink()
        return self.tally

    def _write(self, entry: Entry, sd_file: _Appender, failures_file: _Appender) -> None:
        sd_bytes = sd_file.write(entry.sd)
        failures_bytes = failures_file.write(entry.failure)
        # One assignment, so that an interruption finds all counts before or all counts after this record.
        self.progress = replace(
            self.progress,
            window=entry.window,
            sd_bytes=self.progress.sd_bytes + sd_bytes,
            failures_bytes=self.progress.failures_bytes + failures_bytes,
            tally=self.tally.plus(entry),
        )

    def _save(self) -> None:
        path = progress_path(self.output)
        partial = path.with_name(path.name + ".partial")
        try:
            partial.write_text(json.dumps(asdict(self.progress), indent=1) + "\n", encoding="utf-8")
            os.replace(partial, path)
        except OSError as error:
            raise _resumable(error, path) from error


def _read_progress(path: Path, identity: str) -> _Progress:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        progress = _Progress(**{**values, "tally": Tally(**values["tally"])})
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"progress file {path} is broken; start again with --overwrite") from error
    if progress.version != PROGRESS_VERSION or progress.fingerprint != identity:
        raise ValueError(
            f"progress file {path} belongs to another input, model or other options; repeat those of the interrupted "
            "run, or start again with --overwrite"
        )
    return progress


def _truncate(path: Path, length: int) -> None:
    found = path.stat().st_size if path.exists() else 0
    if found < length:
        raise ValueError(
            f"{path} has {found} bytes, but the progress file speaks of {length}; start again with --overwrite"
        )
    os.truncate(path, length)


class _Appender:
    """Unbuffered output, so that a record is in the file when `write` returns; without a path it swallows
    everything.
    """

    def __init__(self, path: Path | None, mode: str) -> None:
        self.path, self.mode = path, mode
        self.stream: BinaryIO | None = None

    def __enter__(self) -> _Appender:
        if self.path is not None:
            self.stream = open(self.path, self.mode, buffering=0)
        return self

    def __exit__(self, *_: object) -> None:
        if self.stream is not None:
            self.stream.close()

    def write(self, text: str) -> int:
        """Number of bytes written: all of them, or OSError."""
        if self.stream is None:
            return 0
        rest = memoryview(text.encode("utf-8"))
        length = len(rest)
        try:
            while rest:
                rest = rest[self.stream.write(rest) :]
        except OSError as error:
            raise _resumable(error, self.path) from error
        return length


def _resumable(error: OSError, path: Path) -> OSError:
    return OSError(
        error.errno,
        f"{error.strerror}; the records written so far are complete, --resume continues after them",
        str(path),
    )
