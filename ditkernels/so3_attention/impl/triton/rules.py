"""Block sizes and warps of the kernels where no table has measured ones."""

from __future__ import annotations

from dataclasses import replace

from ditkernels.triton.configs import Config, Key, power_of_two

LEAST_DOT = 16  # of every axis of a matrix product
CHANNELS = 32  # of a program
LISTED = ("radial", "distances", "geometry", "forces")  # kernels over the list of pairs


def rule(key: Key) -> Config:
    """The configuration of a kernel.

    A program holds a tensor per component in registers, 9 to 36 of them at L = 2, so that tiles are small: 16 pairs,
    the least that a matrix product takes, of 32 channels. On AMD GPUs, 8 warps have half as many registers each as 4.
    """
    single, amd = key.dtype == "float32", key.architecture.startswith("gfx")
    if key.kernel == "forward":
        config = Config(8, 2, 1, 0, 4 if single and amd else 8, 1)
    elif key.kernel == "rows":
        config = Config(16 if single and amd else 8, 1 if single and amd else 2, 1, 0, 8, 1, registers=255)
    elif key.kernel == "values":
        config = Config(8, 2, 1, 0, 4 if amd else 8, 1, registers=168) if single else Config(4, 4, 1, 0, 8, 1)
    elif key.kernel == "tokens":
        config = Config(4, 4, 1, 0, 8 if single else 4, 1)
    elif key.kernel == "radial":
        most = 255 if key.architecture == "sm_80" else 168
        config = Config(1, 16, 1, 0, 8, 1, registers=0 if single else most)
    elif key.kernel == "distances":
        config = Config(1, 16, 1, 0, 8, 1, registers=255 if key.architecture == "sm_80" and not single else 0)
    elif key.kernel in ("geometry", "forces"):
        most = 168 if single else 128
        if key.kernel == "forces" and key.form == "basis":  # gradients of directions, and through radial functions
            most = 255
        config = Config(1, 16, 1, 0, 4 if single and amd else 8, 1, registers=most)
    else:
        raise ValueError(f"so3_attention has no kernel {key.kernel!r}")
    return fitted(replace(config, heads=max(CHANNELS // power_of_two(key.width), 1)), key)


def candidates(key: Key) -> list[Config]:
    """Configurations to measure. Every one is correct; what a GPU cannot hold, ``ditkernels tune`` leaves out."""
    first = rule(key)
    if key.kernel in LISTED:
        found = [replace(first, senders=pairs) for pairs in (16, 32, 64)]
    else:
        found = [replace(first, receivers=r, senders=s) for r, s in ((4, 4), (2, 8), (1, 16), (4, 8), (8, 4), (8, 8))]
    found = [replace(config, warps=warps) for config in found for warps in (2, 4, 8)]
    return list(dict.fromkeys(fitted(config, key) for config in found))


def fitted(config: Config, key: Key) -> Config:
    """The configuration with blocks as large as matrix products need."""
    return replace(config, heads=max(config.heads, LEAST_DOT // power_of_two(key.width), 1))
