"""Implementations of SO(3) attention. They never import each other; only the operators and the public function read
this table.

Every back-end module has the same three functions: ``unsupported(form, device, dtype) -> str | None`` (None = it can
run, else the reason and the remedy), ``forward(...)`` and ``backward(...)``. ``reference`` is plain PyTorch and needs
none of them.
"""

from __future__ import annotations

from types import ModuleType

from ditkernels.so3_attention.impl import cpu, triton

# Back-ends in the order impl="auto" tries them. A new back-end is one line here.
BACKENDS: dict[str, ModuleType] = {"cpu": cpu, "triton": triton}
