"""The machine and the versions behind a set of numbers."""

from __future__ import annotations

import platform
import re
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

import ditkernels

PACKAGES = ("triton", "e3nn", "cuequivariance-torch", "openequivariance", "numpy")


def cpu_name() -> str:
    """Model name of the processor, as the operating system reports it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        found = re.search(r"^model name\s*:\s*(.+)$", info.read_text(), re.MULTILINE)
        if found:
            return found.group(1).strip()
    return platform.processor() or platform.machine()


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()


def environment(device: torch.device) -> dict:
    """Device, threads, versions and date, as they stand in every result file."""
    now = datetime.now(timezone.utc)
    facts = {
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "vector_level": torch.backends.cpu.get_cpu_capability(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "ditkernels": ditkernels.__version__,
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "date": now.date().isoformat(),
        "time": now.strftime("%H:%M"),
    }
    if device.type == "cuda":
        facts |= {"cuda": torch.version.cuda, "capability": list(torch.cuda.get_device_capability(device))}
    return facts


def result_name(device: torch.device) -> str:
    """File name of this device's results."""
    words = re.sub(r"[^a-z0-9]+", "-", device_name(device).lower()).strip("-")
    return f"cuda-{words}.json" if device.type == "cuda" else f"cpu-{words}-{torch.get_num_threads()}-threads.json"


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
