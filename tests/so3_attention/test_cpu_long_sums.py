"""The gradient of the path weights is one sum over all pairs: it keeps its digits in molecules of many tiles."""

from __future__ import annotations

import pytest
import torch

from ditkernels import _native
from tests.so3_attention.cases import make_batch

pytestmark = pytest.mark.skipif(not _native.available, reason=str(_native.reason))

ATOMS = 181  # the largest molecule of GEOM-DRUGS


@pytest.mark.parametrize(
    ("irreps", "radial"), [("natural-2", "dense"), ("natural-2", "bernstein"), ("parity-1", "bernstein-scaled")]
)
def test_path_weights_of_a_large_molecule(irreps, radial):
    """The error against float64 is at most twice that of the vectorised PyTorch code in float32."""
    batch = make_batch(irreps, radial, [ATOMS], heads=2, width=16, dtype=torch.float32)
    batch = batch.with_leaves({"positions": 3 * batch.positions})  # a few Å between neighbours
    cotangent = batch.cotangent()
    found, plain = (
        batch.gradients(impl, cotangent, exclude_self=True)[1]["path_weight"] for impl in ("cpu", "reference")
    )
    wide, wide_cotangent = batch.to(torch.float64), cotangent.double()
    exact = wide.gradients("reference", wide_cotangent, exclude_self=True)[1]["path_weight"]
    assert (found - exact).norm() <= 2 * (plain - exact).norm()
