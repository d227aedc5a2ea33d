from __future__ import annotations

import pytest

from ditkernels import _native


@pytest.fixture(params=["native", "torch"])
def path(request, monkeypatch):
    """Native kernels, or plain PyTorch."""
    if request.param == "torch":
        monkeypatch.setattr(_native, "available", False)
    elif not _native.available:
        pytest.skip(str(_native.reason))
    return request.param
