"""The preprocessing cache: a folder of flat .npy arrays, one entry per molecule and geometry.

Arrays of M entries, T atoms, E bonds (each once), P = sum n^2 pairs; entry m owns the rows ``ptr[m]:ptr[m+1]``:

    positions       (T, 3)  float32  Å
    atomic_numbers  (T,)    uint8
    atom_features   (T, ceil(D/8)) uint8, the D zero-one attributes packed into bits
    bonds           (E, 2)  int32, atom indices local to the molecule
    bond_types      (E,)    uint8, column of the bond attribute that is 1
    hops            (P,)    uint8, bonds on the shortest path
    prior           (P,)    float32, symmetric root of the harmonic prior's covariance, Å
    atom_ptr, bond_ptr      (M+1,) int64 (pair offsets follow from atom_ptr)
    keys            (M,)    uint64, hash of the connectivity
    split           (M,)    uint8, index into ``SPLITS`` where the source names one, else 255
    names, smiles   (.,)    uint8 UTF-8 text, with name_ptr, smiles_ptr (M+1,) int64

The arrays are opened as memory maps, so several training processes on one machine share one copy.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

FORMAT_VERSION = 1
MAX_HOPS = 254

# name: (trailing shape, dtype); atom_features' width depends on the layout.
COLUMNS: dict[str, tuple[tuple[int, ...], str]] = {
    "positions": ((3,), "<f4"),
    "atomic_numbers": ((), "|u1"),
    "atom_features": ((-1,), "|u1"),
    "bonds": ((2,), "<i4"),
    "bond_types": ((), "|u1"),
    "hops": ((), "|u1"),
    "prior": ((), "<f4"),
    "keys": ((), "<u8"),
    "split": ((), "|u1"),
    "names": ((), "|u1"),
    "smiles": ((), "|u1"),
}
COUNTS = ("atom", "bond", "name", "smiles")


class NpyAppender:
    """Writes an .npy file whose length is not known in advance: rows are appended, the header is completed at close."""

    def __init__(self, path: Path, trailing: tuple[int, ...], dtype: str):
        self._trailing, self._dtype, self._rows = trailing, np.dtype(dtype), 0
        self._file = path.open("wb")
        self._write_header()

    def _write_header(self) -> None:
        # NumPy pads the header so that a later, longer first axis fits into the same number of bytes.
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": (self._rows, *self._trailing)}
        np.lib.format.write_array_header_1_0(self._file, header)

    def append(self, rows: np.ndarray) -> None:
        self._file.write(np.ascontiguousarray(rows, dtype=self._dtype).tobytes())
        self._rows += len(rows)

    def close(self) -> None:
        self._file.seek(0)
        self._write_header()
        self._file.close()


class CacheWriter:
    """Appends blocks of entries (see ``preprocess.pack``) to the arrays of a cache folder."""

    def __init__(self, folder: Path, feature_bytes: int):
        self._folder = folder
        self._arrays = {
            name: NpyAppender(folder / f"{name}.npy", (feature_bytes,) if trailing == (-1,) else trailing, dtype)
            for name, (trailing, dtype) in COLUMNS.items()
        }
        self._counts: dict[str, list[np.ndarray]] = {name: [] for name in COUNTS}

    def append(self, block: dict[str, np.ndarray]) -> None:
        for name, array in self._arrays.items():
            array.append(block[name])
        for name, counts in self._counts.items():
            counts.append(block[f"{name}_counts"])

    def close(self, meta: dict) -> None:
        for array in self._arrays.values():
            array.close()
        for name, counts in self._counts.items():
            lengths = np.concatenate(counts) if counts else np.zeros(0, np.int64)
            np.save(self._folder / f"{name}_ptr.npy", np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
        (self._folder / "meta.json").write_text(json.dumps(meta, indent=1, ensure_ascii=False) + "\n")


class CachedMolecules:
    """Read side of a cache folder. Attributes are the memory-mapped arrays of the module docstring.

    Raises ValueError with one sentence if the folder is incomplete or its arrays do not fit together.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        try:
            self.meta = json.loads((self.folder / "meta.json").read_text())
            for name in (*COLUMNS, *(f"{c}_ptr" for c in COUNTS)):
                mode = None if name.endswith("ptr") or name in ("keys", "split") else "r"
                setattr(self, name, np.load(self.folder / f"{name}.npy", mmap_mode=mode, allow_pickle=False))
        except (OSError, ValueError, EOFError) as error:
            raise ValueError(
                f"preprocessing cache {self.folder} is damaged ({error}); delete it to build it again"
            ) from error
        self.atom_counts = np.diff(self.atom_ptr)
        self.pair_ptr = np.concatenate([[0], np.cumsum(self.atom_counts**2)])
        self.layout: str = self.meta["layout"]
        self.num_features: int = self.meta["num_features"]
        self._check()

    def _check(self) -> None:
        lengths = {
            "atom": len(self.positions),
            "bond": len(self.bonds),
            "name": len(self.names),
            "smiles": len(self.smiles),
        }
        fits = all(getattr(self, f"{name}_ptr")[-1] == length for name, length in lengths.items())
        if not (fits and len(self.hops) == len(self.prior) == self.pair_ptr[-1] and len(self.keys) == len(self)):
            raise ValueError(
                f"preprocessing cache {self.folder} is damaged (array lengths differ); delete it to build it again"
            )

    def __len__(self) -> int:
        return len(self.atom_ptr) - 1

    def name(self, entry: int) -> str:
        """Identifier of an entry in its source."""
        return bytes(self.names[self.name_ptr[entry] : self.name_ptr[entry + 1]]).decode()

    def smiles_of(self, entry: int) -> str:
        """Isomeric SMILES of an entry, stereo marks from its geometry."""
        return bytes(self.smiles[self.smiles_ptr[entry] : self.smiles_ptr[entry + 1]]).decode()
