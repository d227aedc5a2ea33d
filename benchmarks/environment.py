"""The machine and the versions behind a set of numbers."""

from __future__ import annotations

import platform
import re
from datetime import datetime, timezone
from pathlib import Path

import torch

import ditkernels


def cpu_name() -> str:
    """Model name of the processor, as the operating system reports it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        found = re.search(r"^model name\s*:\s*(.+)$", info.read_text(), re.MULTILINE)
        if found:
            return found.group(1).strip()
    return platform.processor() or platform.machine()


def environment() -> dict:
    """Device, threads, versions and date, as they stand in every result file."""
    return {
        "device": cpu_name(),
        "threads": torch.get_num_threads(),
        "vector_level": torch.backends.cpu.get_cpu_capability(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "ditkernels": ditkernels.__version__,
        "date": datetime.now(timezone.utc).date().isoformat(),
    }


def result_name() -> str:
    """File name of this device's results."""
    words = re.sub(r"[^a-z0-9]+", "-", cpu_name().lower()).strip("-")
    return f"cpu-{words}-{torch.get_num_threads()}-threads.json"
