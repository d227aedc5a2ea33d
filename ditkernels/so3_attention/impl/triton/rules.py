"""Block sizes and warps of the kernels where no table has measured ones."""

from __future__ import annotations

from dataclasses import replace

from ditkernels.triton.configs import Config, Key, power_of_two

LEAST_DOT = 16  # of every axis of a matrix product
CHANNELS = 32  # of a program
FEW = 4  # components, of which a thread can hold 16 bytes of channels in half precision
MOST = 255  # registers that a thread of an NVIDIA GPU can have
LISTED = ("query_radial", "value_radial", "distances", "geometry", "forces")  # kernels over the list of pairs


def rule(key: Key) -> Config:
    """The configuration of a kernel.

    A program holds a tensor per component in registers, 9 to 36 of them at L = 2, so that tiles are small: 16 pairs,
    the least that a matrix product takes, of 32 channels.
    """
    config = _dense(key) if key.form == "dense" else _basis(key)
    return fitted(replace(config, heads=max(CHANNELS // power_of_two(key.width), 1)), key)


def _dense(key: Key) -> Config:
    """Kernels that move tensors of pairs: of 512 numbers of a block, a thread has as many as 16 bytes hold, if there
    are registers for that many channels of all its components.
    """
    single, amd = key.dtype == "float32", key.architecture.startswith("gfx")
    few = key.components <= FEW or key.kernel in ("tokens", "query_radial")
    warps = (2 if amd else 4) if single or not few else (1 if amd else 2)
    if key.kernel in LISTED:
        config = Config(1, 16, 1, 0, warps, 1, registers=MOST)
    elif not (single or few):  # what holds components of two tensors and sums of as many
        config = _basis(key)
    elif key.kernel == "rows" and (amd or not single):
        config = Config(16, 1, 1, 0, warps, 1, registers=MOST)
    elif key.kernel in ("forward", "rows") or (key.kernel == "values" and single):
        config = Config(8, 2, 1, 0, warps, 1, registers=MOST)
    elif key.kernel in ("tokens", "values"):
        config = Config(4, 4, 1, 0, warps, 1, registers=MOST)
    else:
        raise _unknown(key)
    wide = max(power_of_two(key.width) // CHANNELS, 1)  # a head is not cut: with more channels, fewer pairs
    if key.kernel in LISTED:
        return replace(config, senders=max(config.senders // wide, 1))
    return replace(config, receivers=max(config.receivers // wide, 1))


def _basis(key: Key) -> Config:
    """Kernels that move little and have matrix products. On AMD GPUs, 8 warps have half as many registers each as 4."""
    single, amd = key.dtype == "float32", key.architecture.startswith("gfx")
    if key.kernel == "forward":
        config = Config(8, 2, 1, 0, 4 if single and amd else 8, 1)
    elif key.kernel == "rows":
        config = Config(16 if single and amd else 8, 1 if single and amd else 2, 1, 0, 8, 1, registers=MOST)
    elif key.kernel == "values":
        config = Config(8, 2, 1, 0, 4 if amd else 8, 1, registers=168) if single else Config(4, 4, 1, 0, 8, 1)
    elif key.kernel == "tokens":
        config = Config(4, 4, 1, 0, 8 if single else 4, 1)
    elif key.kernel in ("query_radial", "value_radial"):
        most = MOST if key.architecture == "sm_80" else 168
        config = Config(1, 16, 1, 0, 8, 1, registers=0 if single else most)
    elif key.kernel == "distances":
        config = Config(1, 16, 1, 0, 8, 1, registers=MOST if key.architecture == "sm_80" and not single else 0)
    elif key.kernel == "geometry":
        config = Config(1, 16, 1, 0, 4 if single and amd else 8, 1, registers=168 if single else 128)
    elif key.kernel == "forces":  # gradients of directions, and through radial functions
        config = Config(1, 16, 1, 0, 4 if single and amd else 8, 1, registers=MOST)
    else:
        raise _unknown(key)
    return config


def _unknown(key: Key) -> ValueError:
    return ValueError(f"so3_attention has no kernel {key.kernel!r}")


def candidates(key: Key) -> list[Config]:
    """Configurations to measure. Every one is correct; what a GPU cannot hold, ``ditkernels tune`` leaves out."""
    first = rule(key)
    if key.kernel in LISTED:
        found = [replace(first, senders=pairs) for pairs in (16, 32, 64)]
    else:
        found = [replace(first, receivers=r, senders=s) for r, s in ((4, 4), (2, 8), (1, 16), (4, 8), (8, 4), (8, 8))]
    found = [replace(config, warps=warps) for config in found for warps in (1, 2, 4, 8)]
    return list(dict.fromkeys(fitted(config, key) for config in found))


def fitted(config: Config, key: Key) -> Config:
    """The configuration with blocks as large as matrix products need."""
    return replace(config, heads=max(config.heads, LEAST_DOT // power_of_two(key.width), 1))
