"""Run one function over many molecules in worker processes; a molecule that fails never stops the others."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from typing import Any

from rdkit import Chem, rdBase
from tqdm import tqdm


@dataclass(frozen=True)
class Failure:
    """Why there is no result for a molecule, in one sentence."""

    reason: str


def map_molecules(
    function: Callable[[Any], Any], items: Sequence[Any], workers: int = 1, label: str = "", progress: bool = False
) -> list[Any]:
    """`[function(item) for item in items]`, with a `Failure` where the function raised or its process died.

    Args:
        function: must be importable by name (a module-level function or a `functools.partial` of one) for workers > 1.
        items: pickled to the workers, molecules with all their properties.
        workers: number of processes; 1 runs in this process.
        label: what the progress bar on stderr is called.
        progress: show the progress bar.
    """
    guarded = partial(_guarded, function)
    results: list[Any] = [None] * len(items)
    with tqdm(total=len(items), desc=label, disable=not progress, leave=False) as bar:
        if workers <= 1:
            for number, item in enumerate(items):
                results[number] = guarded(item)
                bar.update()
            return results
        for number in _run_pool(guarded, items, range(len(items)), workers, results, bar):
            # The pool broke with these unfinished: each gets a process of its own, so that only the culprit is lost.
            if _run_pool(guarded, items, [number], 1, results, bar):
                results[number] = Failure("the worker process died")
                bar.update()
    return results


def _run_pool(
    guarded: Callable, items: Sequence, numbers: Sequence[int], workers: int, results: list, bar: tqdm
) -> list[int]:
    """Fill `results` for `numbers`; returns those left without a result because a process died."""
    left = set(numbers)
    # Spawned, not forked: a child forked from a process whose OpenMP threads are running can hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare_worker) as pool:
        futures = {pool.submit(guarded, items[number]): number for number in numbers}
        for future in as_completed(futures):
            try:
                results[futures[future]] = future.result()
            except BrokenProcessPool:
                continue
            left.discard(futures[future])
            bar.update()
    return sorted(left)


def _prepare_worker() -> None:
    rdBase.DisableLog("rdApp.*")
    Chem.SetDefaultPickleProperties(Chem.PropertyPickleOptions.AllProps)


def _guarded(function: Callable[[Any], Any], item: Any) -> Any:
    try:
        return function(item)
    except Exception as error:  # the boundary at which any failure becomes a line of the report
        text = str(error).strip().splitlines()
        return Failure(f"{type(error).__name__}: {text[0] if text else 'no message'}")
