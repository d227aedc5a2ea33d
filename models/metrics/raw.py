"""Metrics of samples before any chemistry: of all of them, also those that are no molecules."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ditkernels.models.metrics.categories import CLASSES
from ditkernels.models.molecule.assembly import agreement, components
from ditkernels.models.molecule.raw import RawMolecule


def measure_raw(samples: Sequence[tuple[RawMolecule, str]]) -> dict:
    """Shares of 1 over samples and the classes that were asked of them ("": none); {} for no samples.

    ``connected``: the bonds join all atoms. ``agreement``: bonds that the rows of the sample and EDM's bond lengths
    both see, over those that one of them sees, mean over the samples; ``order_agreement``: of the former, those of the
    same order. ``class_rows``: the graph of the bonds has a ring, or none, as asked, whatever else is wrong with it
    (the ruler of the released program, arXiv 2501.07077, which asks nothing more).
    """
    if not samples:
        return {}
    agreed = [agreement(raw) for raw, _ in samples]
    orders = [same for _, same in agreed if not np.isnan(same)]
    parts = [_parts(raw) for raw, _ in samples]
    asked = [
        (label, len(raw.bonds) > len(raw.elements) - count)
        for (raw, label), count in zip(samples, parts, strict=True)
        if label
    ]
    return {
        "connected": float(np.mean([count == 1 for count in parts])),
        "agreement": float(np.mean([pairs for pairs, _ in agreed])),
        "order_agreement": float(np.mean(orders)) if orders else None,
        "class_rows": float(np.mean([CLASSES[ring] == label for label, ring in asked])) if asked else None,
    }


def _parts(raw: RawMolecule) -> int:
    return len(np.unique(components(len(raw.elements), raw.bonds)))
