"""Block sizes and warps of the kernels where no table has measured ones."""

from __future__ import annotations

from dataclasses import replace

from ditkernels.triton.configs import Config, Key, power_of_two

PROJECTIONS = ("projected", "displacement")
LEAST_DOT = 16  # of every axis of a matrix product


def rule(key: Key) -> Config:
    """The configuration of a kernel.

    64 channels are the 128 bytes of a cache line in half precision, so the rows of pair tensors are read in whole
    lines; float32 takes twice the registers, and so half the channels. Blocks are those of 16 senders by some
    receivers, 64 pairs in half precision, the height of its matrix instructions; kernels over the list of pairs, which
    hold two gradients of every channel, take 32 pairs.
    """
    single = key.dtype == "float32"
    channels = 32 if single else 64
    if key.kernel in ("forward", "backward") and key.form in PROJECTIONS:
        channels, config = 32, Config(2 if single else 4, 16, 1, 16, 4, 2)
    elif key.kernel == "forward":
        config = Config(4, 16, 1, 0, 4, 2)
    elif key.kernel == "backward":
        channels, config = 32, Config(4, 16, 1, 0, 4, 2)
    elif key.kernel == "weights":
        config = Config(1, 32, 1, 32, 8 if single else 4, 2)
    elif key.kernel == "features":
        # Of displacements, the AMD compiler keeps all axes of 32 features at once, in more registers than there are.
        few = single or (key.form == "displacement" and key.architecture.startswith("gfx"))
        channels, config = 32, Config(1, 32, 1, 16 if few else 32, 8, 2)
    elif key.kernel == "rows":
        config = Config(1, 32, 1, 0, 4, 2)
    else:
        raise ValueError(f"pair_attention has no kernel {key.kernel!r}")
    return fitted(of_channels(config, channels, key), key)


def of_channels(config: Config, channels: int, key: Key) -> Config:
    """The configuration with as many heads as there are in so many channels; with fewer pairs where one is wider."""
    padded = power_of_two(key.width)
    wide = max(padded // channels, 1)
    heads = max(channels // padded, 1)
    if key.kernel in ("forward", "backward"):
        if wide > 1:  # without these, the compiler spills two registers of some kernels
            config = replace(config, registers=255, stages=1 if key.form in PROJECTIONS else config.stages)
        return replace(config, heads=heads, receivers=max(config.receivers // wide, 1))
    return replace(config, heads=heads, senders=max(config.senders // wide, LEAST_DOT))


def candidates(key: Key) -> list[Config]:
    """Configurations to measure. Every one is correct; what a GPU cannot hold, ``ditkernels tune`` leaves out."""
    first = rule(key)
    if key.kernel in ("forward", "backward"):
        blocks = [(2, 16), (4, 16), (8, 16), (4, 32), (2, 32), (1, 32), (1, 64)]
        found = [replace(first, receivers=r, senders=s) for r, s in blocks]
    else:
        found = [replace(first, senders=pairs) for pairs in (16, 32, 64, 128)]
    found = [replace(config, heads=heads) for config in found for heads in (1, 2, 4, 8) if heads <= key_heads(key)]
    if first.features:
        found = [replace(config, features=block) for config in found for block in (32, 64)]
    found = [replace(config, warps=warps) for config in found for warps in (2, 4, 8)]
    return list(dict.fromkeys(fitted(config, key) for config in found))


def key_heads(key: Key) -> int:
    """H, the number of heads of the call."""
    return key.channels // key.width


def fitted(config: Config, key: Key) -> Config:
    """The configuration with blocks as large as matrix products need, and no more heads than there are."""
    padded = power_of_two(key.width)
    heads = min(config.heads, power_of_two(key_heads(key)))
    if key.kernel != "rows":
        heads = max(heads, LEAST_DOT // padded, 1)
    return replace(config, heads=heads)
