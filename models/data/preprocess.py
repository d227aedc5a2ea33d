"""From a source file to its cache folder: parallel, atomic, with a report of what was left out and why."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from rdkit import Chem, rdBase

from ditkernels.models.data.cache import FORMAT_VERSION, MAX_HOPS, CachedMolecules, CacheWriter
from ditkernels.models.data.readers import Reader
from ditkernels.models.data.records import Dropped, Record, connectivity_key, connectivity_smiles
from ditkernels.models.ditmc.prior import harmonic_factor
from ditkernels.models.molecule.featurize import MAX_NEIGHBOURS, UnsupportedMolecule, molecular_graph, num_atom_features

EXAMPLES_PER_REASON = 5
_SHORTEST_DISTANCE = 0.4
"""Å; no two nuclei of a real molecule are closer (H2: 0.74), so a smaller distance means broken coordinates."""


def default_cache_root() -> Path:
    """``$DITKERNELS_CACHE`` or ``~/.cache/ditkernels``."""
    return Path(os.environ.get("DITKERNELS_CACHE") or Path.home() / ".cache" / "ditkernels")


def cache_folder(reader: Reader, layout: str, root: Path) -> Path:
    """Folder of the cache of ``reader``: named by input identity, attribute layout and format version."""
    key = hashlib.sha256(f"{reader.identity()}\0{layout}\0{FORMAT_VERSION}".encode()).hexdigest()[:16]
    stem = reader.path.name.split(".")[0]
    return root / f"{stem}-{layout}-{key}"


def preprocess(
    reader: Reader,
    layout: str = "drugs",
    root: str | Path | None = None,
    workers: int | None = None,
    progress: Callable[[Iterable], Iterable] | None = None,
) -> CachedMolecules:
    """The cache of ``reader``'s molecules, built now unless it exists.

    Args:
        reader: source of molecules.
        layout: atom attribute layout, ``"drugs"`` (94) or ``"qm9"`` (64).
        root: folder that holds the caches; None: ``default_cache_root()``.
        workers: processes; None: one per core; 1: in this process.
        progress: wraps the iterator of finished chunks (tqdm fits); None: silent.

    Several processes may call this at once: each builds into a folder of its own and the first to finish wins.
    """
    root = Path(root) if root is not None else default_cache_root()
    folder = cache_folder(reader, layout, root)
    if (folder / "meta.json").exists():
        return CachedMolecules(folder)
    root.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=root))
    temporary.chmod(0o755)  # mkdtemp makes it private, but a cache may be shared between users
    try:
        _build(reader, layout, temporary, workers or os.cpu_count() or 1, progress)
        try:
            os.replace(temporary, folder)
        except OSError:
            if not (folder / "meta.json").exists():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return CachedMolecules(folder)


def _build(reader: Reader, layout: str, folder: Path, workers: int, progress) -> None:
    writer = CacheWriter(folder, (num_atom_features(layout) + 7) // 8)
    dropped: dict[str, dict] = {}
    entries = 0
    tasks = ((type(reader), chunk, layout) for chunk in reader.chunks())
    blocks = ordered_map(process_chunk, tasks, workers)
    for block, rejected in progress(blocks) if progress else blocks:
        writer.append(block)
        entries += len(block["keys"])
        for item in rejected:
            record = dropped.setdefault(item.reason, {"count": 0, "examples": []})
            record["count"] += 1
            if len(record["examples"]) < EXAMPLES_PER_REASON:
                record["examples"].append(f"{item.name}: {item.detail}" if item.detail else item.name)
    meta = {
        "format": FORMAT_VERSION,
        "source": reader.path.name,
        "layout": layout,
        "num_features": num_atom_features(layout),
        "rdkit": rdBase.rdkitVersion,
        "kept": entries,
        "dropped": dict(sorted(dropped.items(), key=lambda item: -item[1]["count"])),
    }
    writer.close(meta)


def ordered_map(function, tasks: Iterator, workers: int) -> Iterator:
    """``map(function, tasks)`` over processes, in order, with a bounded number of tasks in flight."""
    if workers == 1:
        yield from map(function, tasks)
        return
    # spawn: forking a process that already runs torch's threads can deadlock.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        pending: deque = deque()
        try:
            for task in tasks:
                pending.append(pool.submit(function, task))
                if len(pending) >= 4 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def process_chunk(task) -> tuple[dict[str, np.ndarray], list[Dropped]]:
    """Worker: read, check and featurise one chunk of a reader; returns the packed block and what was left out."""
    reader_type, chunk, layout = task
    rows, dropped = [], []
    with rdBase.BlockLogs():
        for record in reader_type.records(chunk):
            if isinstance(record, Record):
                record = prepare(record, layout)
            if isinstance(record, Dropped):
                dropped.append(record)
            else:
                rows.append(record)
    return pack(rows, (num_atom_features(layout) + 7) // 8), dropped


def prepare(record: Record, layout: str) -> dict[str, np.ndarray] | Dropped:
    """Arrays of one entry, or why it is left out: the filter of the released preprocessing plus geometry sanity."""
    mol, positions = record.mol, record.positions
    smiles = Chem.MolToSmiles(Chem.RemoveHs(mol))
    if "." in smiles or len(Chem.GetMolFrags(mol)) > 1:
        return Dropped(record.name, "more than one fragment", smiles)
    if max((atom.GetDegree() for atom in mol.GetAtoms()), default=0) > MAX_NEIGHBOURS:
        return Dropped(record.name, f"atom with more than {MAX_NEIGHBOURS} neighbours", smiles)
    if not np.isfinite(positions).all():
        return Dropped(record.name, "coordinates not finite", smiles)
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    if len(positions) > 1 and distances[np.triu_indices(len(positions), 1)].min() < _SHORTEST_DISTANCE:
        return Dropped(record.name, f"two atoms closer than {_SHORTEST_DISTANCE} Å", smiles)
    try:
        graph = molecular_graph(mol, layout)
    except UnsupportedMolecule as error:
        return Dropped(record.name, "not expressible in the attribute layout", f"{error} ({smiles})")
    if graph.hops.max() > MAX_HOPS:
        return Dropped(record.name, f"two atoms more than {MAX_HOPS} bonds apart", smiles)
    return {
        "positions": positions,
        "atomic_numbers": graph.atomic_numbers,
        "atom_features": np.packbits(graph.atom_features, axis=1),
        "bonds": graph.bonds,
        "bond_types": graph.bond_features.argmax(axis=1),
        "hops": graph.hops.reshape(-1),
        "prior": harmonic_factor(graph.num_atoms, graph.bonds).reshape(-1),
        "keys": np.array([connectivity_key(connectivity_smiles(mol))], dtype=np.uint64),
        "split": np.array([record.split], dtype=np.uint8),
        "names": np.frombuffer(record.name.encode(), dtype=np.uint8),
        "smiles": np.frombuffer(smiles.encode(), dtype=np.uint8),
    }


def pack(rows: list[dict[str, np.ndarray]], feature_bytes: int) -> dict[str, np.ndarray]:
    """Concatenate entries; adds ``<atom|bond|name|smiles>_counts`` (M,) int64."""
    empty = {"positions": (0, 3), "atom_features": (0, feature_bytes), "bonds": (0, 2)}
    names = (
        "positions",
        "atomic_numbers",
        "atom_features",
        "bonds",
        "bond_types",
        "hops",
        "prior",
        "keys",
        "split",
        "names",
        "smiles",
    )
    block = {n: np.concatenate([r[n] for r in rows]) if rows else np.zeros(empty.get(n, (0,))) for n in names}
    for count, name in (("atom", "atomic_numbers"), ("bond", "bonds"), ("name", "names"), ("smiles", "smiles")):
        block[f"{count}_counts"] = np.array([len(r[name]) for r in rows], dtype=np.int64)
    return block


def report_table(cache: CachedMolecules) -> str:
    """Printed form of the cache's report: kept, and the dropped entries by reason with one example each."""
    lines = [f"{cache.meta['source']}: {cache.meta['kept']} kept"]
    for reason, record in cache.meta["dropped"].items():
        example = record["examples"][0] if record["examples"] else ""
        lines.append(f"  dropped {record['count']:>7}  {reason}  (e.g. {example})")
    return "\n".join(lines)


def write_report(caches: Iterable[CachedMolecules], path: Path) -> None:
    """All reports as one JSON file."""
    path.write_text(json.dumps([cache.meta for cache in caches], indent=1, ensure_ascii=False) + "\n")
