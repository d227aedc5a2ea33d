"""Whether molecules have the class that was asked for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rdkit import Chem

CLASSES = ("acyclic", "cyclic")
FAILED = "failed"
UNKNOWN = "unknown"
"""What was asked of a lost sample that nothing is known of; whatever it was, the sample is wrong."""


def category(mol: Chem.Mol | None) -> str:
    """``cyclic`` if the molecule has a ring, else ``acyclic``; ``failed`` for None and for several parts."""
    if mol is None or len(Chem.GetMolFrags(mol)) != 1:
        return FAILED
    return CLASSES[mol.GetRingInfo().NumRings() > 0]


@dataclass(frozen=True)
class Confusion:
    """counts[asked][found]: molecules; found may be ``failed``, asked may be ``unknown``."""

    counts: dict[str, dict[str, int]]

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]]) -> Confusion:
        """From (asked, found) of every sample."""
        counts: dict[str, dict[str, int]] = {}
        for asked, found in pairs:
            row = counts.setdefault(asked, dict.fromkeys((*CLASSES, FAILED), 0))
            row[found] += 1
        return cls({asked: counts[asked] for asked in (*CLASSES, UNKNOWN) if asked in counts})

    def accuracy(self, *, valid_only: bool) -> float | None:
        """Share of right classes, of all samples (a failed one is wrong) or of the valid ones; None without samples."""
        right = sum(row.get(asked, 0) for asked, row in self.counts.items())
        total = sum(sum(row.values()) - (row[FAILED] if valid_only else 0) for row in self.counts.values())
        return right / total if total else None
