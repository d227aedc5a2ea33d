"""Triton's interpreter, made faster: the tests spend nearly all of their time in it."""

from __future__ import annotations

from types import SimpleNamespace

from triton.runtime import interpreter

_seen: set = set()
_patch, _run = interpreter._patch_lang, interpreter.GridExecutor.__call__


def quicken() -> None:
    """Two of its habits are left out.

    It replaces all functions of triton.language at every call of a device function, again and again: here once for
    every device function of a launch. And it checks every sum and product of 32-bit integers for overflow, which cannot
    happen at the sizes of these tests (tests/triton/test_blocks.py has one for large ones).
    """
    interpreter._patch_lang, interpreter.GridExecutor.__call__ = _patch_once, _run_afresh
    object.__setattr__(interpreter.interpreter_builder.options, "sanitize_overflow", False)


def _patch_once(function):
    if function in _seen:
        return SimpleNamespace(restore=lambda: None)
    _seen.add(function)
    return _patch(function)


def _run_afresh(self, *arguments, **options):
    _seen.clear()
    try:
        return _run(self, *arguments, **options)
    finally:
        _seen.clear()
