"""Every test of DiTMC runs with all embeddings and all back-ends of their operators, where it asks for them."""

from __future__ import annotations

from ditkernels.models.ditmc import DiTMCConfig
from ditkernels.models.ditmc.equivariance import available_impls

EMBEDDINGS = ("ape", "rpe", "pe3")


def impls_of(embedding):
    return available_impls(DiTMCConfig(embedding=embedding))


def pytest_generate_tests(metafunc):
    """``embedding`` and ``impl`` together: every embedding with its own back-ends. ``impl`` alone: those of aPE."""
    if {"embedding", "impl"} <= set(metafunc.fixturenames):
        cases = [(embedding, impl) for embedding in EMBEDDINGS for impl in impls_of(embedding)]
        metafunc.parametrize(("embedding", "impl"), cases)
    elif "embedding" in metafunc.fixturenames:
        metafunc.parametrize("embedding", EMBEDDINGS)
    elif "impl" in metafunc.fixturenames:
        metafunc.parametrize("impl", impls_of("ape"))
