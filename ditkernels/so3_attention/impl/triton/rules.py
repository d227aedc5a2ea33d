"""Block sizes and warps of the kernels where no table has measured ones."""

from __future__ import annotations

from dataclasses import replace

from ditkernels.triton.configs import Config, Key, power_of_two

LEAST_DOT = 16  # of every axis of a matrix product


def rule(key: Key) -> Config:
    """The configuration of a kernel.

    A program holds a tensor per component in registers, 9 to 36 of them at L = 2, so that tiles are small: 16 pairs,
    the least that a matrix product takes, of one head.
    """
    single = key.dtype == "float32"
    if key.kernel in ("forward", "values"):
        config = Config(8, 2, 1, 0, 8, 1) if single else Config(4, 4, 1, 0, 8, 1)
    elif key.kernel == "rows":
        config = Config(8, 2, 1, 0, 8, 1)
    elif key.kernel == "tokens":
        config = Config(4, 4, 1, 0, 8 if single else 4, 1)
    elif key.kernel in ("radial", "geometry"):
        config = Config(1, 16, 1, 0, 8, 1)
    else:
        raise ValueError(f"so3_attention has no kernel {key.kernel!r}")
    return fitted(config, key)


def candidates(key: Key) -> list[Config]:
    """Configurations to measure. Every one is correct; some may not fit on a GPU."""
    first = rule(key)
    if key.kernel in ("radial", "geometry"):
        found = [replace(first, senders=pairs) for pairs in (16, 32, 64)]
    else:
        found = [replace(first, receivers=r, senders=s) for r, s in ((4, 4), (2, 8), (1, 16), (4, 8), (8, 4), (8, 8))]
    found = [replace(config, warps=warps) for config in found for warps in (2, 4, 8)]
    return list(dict.fromkeys(fitted(config, key) for config in found))


def fitted(config: Config, key: Key) -> Config:
    """The configuration with blocks as large as matrix products need."""
    return replace(config, heads=max(config.heads, LEAST_DOT // power_of_two(key.width), 1))
