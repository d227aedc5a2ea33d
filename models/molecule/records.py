"""Input as a stream of records: SMILES files, CSV tables, SD files, standard input, SMILES of the command line.

Every line is accounted for. What is no molecule becomes a record with a `problem`, with two exceptions that are not
counted: comment lines of a SMILES file (first character `#`, which no SMILES starts with) and one header line
(SMILES file: first word "smiles" in any case; CSV: always the first row). In a SMILES file the title is all that
follows the first white space. Records without a title are called `<file name>_<line>`.

Files may be gzip-compressed (`.smi.gz`, `.csv.gz`, `.sdf.gz`). Bytes that are no UTF-8 become replacement
characters, so a damaged line fails on its own. Only one record is held in memory at a time; molecules are parsed
later, by `molecule_of`.
"""

from __future__ import annotations

import csv
import gzip
import io
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from rdkit import Chem, rdBase

from ditkernels.models.molecule.featurize import UnsupportedMolecule, parse_smiles, with_explicit_hydrogens

STDIN = "-"
SMILES_SUFFIXES = (".smi", ".smiles", ".txt", ".ism")
CSV_SUFFIXES = (".csv",)
SD_SUFFIXES = (".sdf", ".sd", ".mol")
MAX_LINE = 1_000_000
"""Characters of one line of text that are read; a longer line is one failed record, not a memory problem."""


@dataclass(frozen=True)
class Record:
    """One entry of the input.

    index: position among all records of the run, from 0 (it seeds the sampler).
    location: line number, `file:line` with several inputs, or `argument k`.
    content: SMILES or mol block (by `is_mol_block`), or a molecule.
    problem: why the entry cannot be a molecule, else None.
    """

    index: int
    location: str
    title: str
    content: str | Chem.Mol
    is_mol_block: bool = False
    problem: str | None = None

    @property
    def smiles(self) -> str:
        """The SMILES as it was given; empty for other inputs."""
        return self.content if isinstance(self.content, str) and not self.is_mol_block else ""


def molecule_of(record: Record) -> Chem.Mol:
    """Molecule of a record with explicit hydrogens. Raises UnsupportedMolecule with the reason."""
    if record.problem:
        raise UnsupportedMolecule(record.problem)
    if isinstance(record.content, Chem.Mol):
        return with_explicit_hydrogens(record.content)
    if not record.is_mol_block:
        return parse_smiles(record.content)
    with rdBase.BlockLogs():
        mol = Chem.MolFromMolBlock(record.content, sanitize=True, removeHs=False)
        if mol is None:
            raise UnsupportedMolecule(f"the SD record cannot be read: {_mol_block_problem(record.content)}")
        return with_explicit_hydrogens(mol)


def _mol_block_problem(block: str) -> str:
    mol = Chem.MolFromMolBlock(block, sanitize=False, removeHs=False)
    if mol is None:
        return "not a valid mol block"
    problems = Chem.DetectChemistryProblems(mol)
    return problems[0].Message().strip().rstrip(".") if problems else "RDKit cannot sanitize it"


def read_records(
    inputs: Iterable[str], *, smiles_column: str | None = None, title_column: str | None = None
) -> Iterator[Record]:
    """Records of all `inputs` (paths, "-" for SMILES lines from standard input, or SMILES), one after the other.

    Raises ValueError for an input that is none of these, a file of unknown type, or a CSV file without the SMILES
    column; OSError where a file cannot be read.
    """
    inputs = list(inputs)
    index = 0
    for position, name in enumerate(inputs, start=1):
        prefix = "argument " if _is_smiles(name) else f"{Path(name).name}:" if len(inputs) > 1 else ""
        for line, title, content, is_mol_block, problem in _entries(name, position, smiles_column, title_column):
            yield Record(index, f"{prefix}{line}", title, content, is_mol_block, problem)
            index += 1


def _is_smiles(name: str) -> bool:
    return name != STDIN and not Path(name).exists()


def check_input(name: str) -> None:
    """Raises ValueError unless `name` is "-", a readable file of a known type, or a SMILES."""
    if name == STDIN:
        return
    if _is_smiles(name):
        try:
            parse_smiles(name)
        except UnsupportedMolecule as problem:
            raise ValueError(f"input {name!r} is neither an existing file nor a SMILES") from problem
    elif Path(name).is_dir():
        raise ValueError(f"input {name!r} is a directory, expected a file")
    else:
        _file_kind(name)


_Entry = tuple[int, str, str, bool, "str | None"]


def _entries(name: str, position: int, smiles_column: str | None, title_column: str | None) -> Iterator[_Entry]:
    """(line, title, content, is_mol_block, problem) of one input; `position` counts the inputs from 1."""
    check_input(name)
    if name == STDIN:
        yield from _smiles_lines(io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8", errors="replace"), "stdin")
    elif _is_smiles(name):
        yield position, f"smiles_{position}", name, False, None
    else:
        kind, stem = _file_kind(name)
        with _open_text(name) as lines:
            if kind == "smiles":
                yield from _smiles_lines(lines, stem)
            elif kind == "csv":
                yield from _csv_rows(lines, stem, name, smiles_column, title_column)
            else:
                yield from _sd_records(lines, stem)


def _file_kind(name: str) -> tuple[str, str]:
    """("smiles" | "csv" | "sd", file name without suffixes)."""
    path = Path(name)
    bare = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    for kind, suffixes in (("smiles", SMILES_SUFFIXES), ("csv", CSV_SUFFIXES), ("sd", SD_SUFFIXES)):
        if bare.suffix.lower() in suffixes:
            return kind, bare.stem
    known = ", ".join(SMILES_SUFFIXES + CSV_SUFFIXES + SD_SUFFIXES)
    raise ValueError(f"input file {name!r} has an unknown type, expected one of {known} (optionally followed by .gz)")


def _open_text(name: str) -> IO[str]:
    if name.lower().endswith(".gz"):
        return gzip.open(name, "rt", encoding="utf-8", errors="replace", newline="")
    return open(name, encoding="utf-8", errors="replace", newline="")


def _lines(text: IO[str]) -> Iterator[tuple[int, str, bool]]:
    """(number from 1, line without its end, whether it was cut at MAX_LINE characters)."""
    number = 0
    while line := text.readline(MAX_LINE):
        number += 1
        cut = len(line) == MAX_LINE and not line.endswith("\n")
        rest = line
        while cut and rest and not rest.endswith("\n"):
            rest = text.readline(MAX_LINE)
        yield number, line.rstrip("\r\n"), cut


def _smiles_lines(text: IO[str], stem: str) -> Iterator[_Entry]:
    first = True
    for number, line, cut in _lines(text):
        line = line.removeprefix("\ufeff") if number == 1 else line
        fields = line.split(maxsplit=1)
        default = f"{stem}_{number}"
        if not fields:
            yield number, default, "", False, "empty line"
            continue
        if fields[0].startswith("#"):
            continue
        header, first = first and fields[0].lower() == "smiles", False
        if header:
            continue
        if cut:
            yield number, default, "", False, f"the line is longer than {MAX_LINE} characters"
            continue
        yield number, fields[1].strip() if len(fields) > 1 else default, fields[0], False, None


def _csv_rows(
    text: IO[str], stem: str, name: str, smiles_column: str | None, title_column: str | None
) -> Iterator[_Entry]:
    reader = csv.reader(text)
    header = next(reader, [])
    if header:
        header[0] = header[0].removeprefix("\ufeff")
    smiles_at = _column(header, smiles_column or "smiles", name, "--smiles-column")
    title_at = None if title_column is None else _column(header, title_column, name, "--title-column")
    while True:
        number = reader.line_num + 1
        default = f"{stem}_{number}"
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield number, default, "", False, f"the CSV row cannot be read: {error}"
            continue
        if not any(field.strip() for field in row):
            yield number, default, "", False, "empty line"
            continue
        title = row[title_at].strip() if title_at is not None and title_at < len(row) else ""
        smiles = row[smiles_at].strip() if smiles_at < len(row) else ""
        yield number, title or default, smiles, False, None if smiles else "no SMILES in this row"


def _column(header: list[str], wanted: str, name: str, option: str) -> int:
    names = [column.strip().lower() for column in header]
    if wanted.strip().lower() not in names:
        raise ValueError(
            f"{name!r} has no column {wanted!r} (columns: {', '.join(header) or 'none'}); choose one with {option}"
        )
    return names.index(wanted.strip().lower())


def _sd_records(text: IO[str], stem: str) -> Iterator[_Entry]:
    block: list[str] = []
    start = 1
    for number, line, _ in _lines(text):
        if line.startswith("$$$$"):
            yield _sd_entry(block, start, stem)
            block, start = [], number + 1
        else:
            block.append(line)
    if any(line.strip() for line in block):
        yield _sd_entry(block, start, stem)


def _sd_entry(block: list[str], start: int, stem: str) -> _Entry:
    title = block[0].strip() if block else ""
    problem = None if any(line.strip() for line in block) else "empty SD record"
    return start, title or f"{stem}_{start}", "\n".join(block) + "\n", True, problem
