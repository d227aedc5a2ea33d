"""Block sizes and warps of a kernel: a table, never a search at run time.

A configuration is looked up by a :class:`Key`; what no table names is decided by the rule of its operator. Tables are
JSON files: those shipped in ``ditkernels/triton/tuned``, and the one that the environment variable
DITKERNELS_TRITON_CONFIGS names, which comes first. ``ditkernels tune`` writes them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import torch

SHIPPED = Path(__file__).with_name("tuned")
VARIABLE = "DITKERNELS_TRITON_CONFIGS"
INTERPRETER = "interpreter"


@dataclass(frozen=True)
class Config:
    """How a kernel cuts its work.

    receivers, senders: atoms of one block of pairs
    heads: heads of one block of channels
    features: block of the inner axis of a projection (E, F or K); 0 where there is none
    warps, stages: of a program, and of the software pipeline of its loops
    registers: at most, of a thread on an NVIDIA GPU, 0 leaves the number to the compiler, which also
        spills one or two registers where that lets one more program run on a multiprocessor; with a number it spills
        only what does not fit
    """

    receivers: int
    senders: int
    heads: int
    features: int = 0
    warps: int = 4
    stages: int = 2
    registers: int = 0


@dataclass(frozen=True)
class Key:
    """What a configuration depends on.

    operator: "pair_attention" or "so3_attention"; form: of its descriptor; kernel: which of its kernels
    dtype: of the tokens, such as "bfloat16"
    channels, width: C and D
    atoms: mean number of atoms of a molecule, rounded up to a power of two
    architecture: "sm_90", "gfx942" or "interpreter"
    components: of a token, M of its irreps; 1 for pair_attention
    """

    operator: str
    form: str
    kernel: str
    dtype: str
    channels: int
    width: int
    atoms: int
    architecture: str
    components: int = 1


_override: ContextVar[Callable[[Key], Config | None]] = ContextVar("override", default=lambda key: None)
_assumed: ContextVar[str | None] = ContextVar("assumed", default=None)


def choose(key: Key, rule: Callable[[Key], Config]) -> Config:
    """The configuration of the tables, or else of the rule."""
    return _override.get()(key) or _tables(os.environ.get(VARIABLE)).get(key) or rule(key)


@contextmanager
def override(choice: Callable[[Key], Config | None]) -> Iterator[None]:
    """Inside, what choice returns for a key comes before all tables, unless it is None. For tuning and tests."""
    token = _override.set(choice)
    try:
        yield
    finally:
        _override.reset(token)


@contextmanager
def assumed(name: str) -> Iterator[None]:
    """Inside, the architecture is `name` on every device: for kernels that are compiled and not run."""
    token = _assumed.set(name)
    try:
        yield
    finally:
        _assumed.reset(token)


def read(path: Path) -> dict[Key, Config]:
    """A table. Raises ValueError that names the file and the entry which is wrong."""
    try:
        entries = json.loads(path.read_text())["configs"]
    except (OSError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a table of Triton configurations ({error})") from error
    table = {}
    for number, entry in enumerate(entries):
        try:
            table[Key(**entry["key"])] = Config(**entry["config"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path}: entry {number} is wrong ({error})") from error
    return table


def write(path: Path, table: Mapping[Key, Config], device: str) -> None:
    """Write a table, whole or not at all. device: the name of the GPU it was measured on."""
    entries = [{"key": asdict(key), "config": asdict(config)} for key, config in table.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps({"device": device, "configs": entries}, indent=1) + "\n")
    os.replace(partial, path)


@cache
def _tables(own: str | None) -> dict[Key, Config]:
    table: dict[Key, Config] = {}
    for path in sorted(SHIPPED.glob("*.json")):
        table |= read(path)
    return table | read(Path(own)) if own else table


def architecture(device: torch.device) -> str:
    """The architecture name of a :class:`Key`."""
    if (name := _assumed.get()) is not None:
        return name
    if device.type != "cuda":
        return INTERPRETER
    properties = torch.cuda.get_device_properties(device)
    if torch.version.hip:
        return properties.gcnArchName.split(":")[0]
    return f"sm_{properties.major}{properties.minor}"


def power_of_two(number: int) -> int:
    """The smallest power of two that is not below number."""
    return 1 << max(number - 1, 0).bit_length()
