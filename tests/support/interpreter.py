"""Triton's interpreter, made faster, for the tests spend nearly all of their time in it; and stricter."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from triton.runtime import interpreter

Builder = interpreter.InterpreterBuilder

_seen: set = set()
_extents: list[tuple[int, int]] = []
_patch, _run = interpreter._patch_lang, interpreter.GridExecutor.__call__
_load, _store = Builder.create_masked_load, Builder.create_masked_store


def quicken() -> None:
    """Two of its habits are left out.

    It replaces all functions of triton.language at every call of a device function, again and again: here once for
    every device function of a launch. And it checks every sum and product of 32-bit integers for overflow, which cannot
    happen at the sizes of these tests (tests/triton/test_blocks.py has one for large ones).
    """
    interpreter._patch_lang, interpreter.GridExecutor.__call__ = _patch_once, _run_afresh
    object.__setattr__(interpreter.interpreter_builder.options, "sanitize_overflow", False)


def guard() -> None:
    """A kernel that reads or writes outside of the tensors that it was given fails, whatever is there."""
    Builder.create_masked_load, Builder.create_masked_store = _guarded_load, _guarded_store


def _patch_once(function):
    if function in _seen:
        return SimpleNamespace(restore=lambda: None)
    _seen.add(function)
    return _patch(function)


def _run_afresh(self, *arguments, **options):
    _seen.clear()
    _extents[:] = [_extent(x) for x in (*arguments, *options.values()) if isinstance(x, torch.Tensor)]
    try:
        return _run(self, *arguments, **options)
    finally:
        _seen.clear()


def _extent(x: torch.Tensor) -> tuple[int, int]:
    """Addresses of the first byte, and of the byte behind the last."""
    last = sum((size - 1) * stride for size, stride in zip(x.shape, x.stride())) if x.numel() else -1
    return x.data_ptr(), x.data_ptr() + (last + 1) * x.element_size()


def _guarded_load(self, pointers, mask, *rest):
    _check(pointers, mask)
    return _load(self, pointers, mask, *rest)


def _guarded_store(self, pointers, value, mask, *rest):
    _check(pointers, mask)
    return _store(self, pointers, value, mask, *rest)


def _check(pointers, mask) -> None:
    addresses = pointers.data[mask.data]
    if addresses.size == 0:
        return
    size = max(pointers.get_element_ty().primitive_bitwidth // 8, 1)
    first, last = int(addresses.min()), int(addresses.max()) + size
    if not any(start <= first and last <= end for start, end in _extents):
        raise IndexError(f"bytes {first} to {last} are outside of the tensors of this launch")
