"""Which implementation runs a call. impl="auto" is a pure function of device, dtype and form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import ModuleType

import torch

Backends = Mapping[str, ModuleType]


def known(impl: str, backends: Backends) -> None:
    """ValueError for a name that no implementation has."""
    if impl not in ("auto", "reference", *backends):
        names = ", ".join(backends) or "none here"
        raise ValueError(f"impl must be 'auto', 'reference' or a back-end ({names}), got {impl!r}")


def automatic(backends: Backends, form: str, device: torch.device | str, dtype: torch.dtype) -> str:
    """The first back-end that can run the form, else the reference.

    Triton only for tensors on a GPU: its interpreter, which runs kernels on the CPU, is for tests that ask for it.
    """
    device = torch.device(device)
    names = [name for name in backends if name != "triton" or device.type == "cuda"]
    return next((name for name in names if backends[name].unsupported(form, device, dtype) is None), "reference")


def available(
    backends: Backends, forms: Iterable[str], device: torch.device | str, dtype: torch.dtype = torch.float32
) -> list[str]:
    """The reference, and the back-ends that run every form on this device."""
    device, forms = torch.device(device), list(forms)
    working = (n for n, b in backends.items() if all(b.unsupported(form, device, dtype) is None for form in forms))
    return ["reference", *working]


def chosen(impl: str, operator: str, backends: Backends, form: str, device: torch.device, dtype: torch.dtype) -> str:
    """The implementation to use. RuntimeError with the reason where an explicit choice cannot run: no fallback."""
    if impl == "auto":
        return automatic(backends, form, device, dtype)
    if impl != "reference":
        reason = backends[impl].unsupported(form, device, dtype)
        if reason is not None:
            raise RuntimeError(f"impl={impl!r} cannot run {operator} ({form}, {device.type}, {dtype}): {reason}")
    return impl
