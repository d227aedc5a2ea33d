"""How well valence alone puts hydrogens back: real molecules without theirs, compared with what they had.

Twice: with the bonds that the molecule has (Kekulé orders), and with bonds by distance, as a generator without bonds
would have to; by both rules of :mod:`ditkernels.models.molecule.valence`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import product

import numpy as np
from rdkit import Chem

from ditkernels.models.data.records import Record
from ditkernels.models.metrics.evaluate import connectivity
from ditkernels.models.molecule.assembly import BONDS, assemble, bonds_of
from ditkernels.models.molecule.raw import RawMolecule
from ditkernels.models.molecule.valence import RULES, missing_hydrogens
from ditkernels.models.studies.results import percent_table

WAYS = tuple(product(BONDS, RULES))
"""(bonds, rule) in the order of the columns."""

_PATTERNS = {
    "amide": "[NX3][CX3]=[OX1]",
    "imidic acid": "[OX2H][CX3]=[NX2]",
    "ketone or aldehyde with α-H": "[CX4;!H0][CX3](=[OX1])[#6,#1]",
    "enol": "[OX2H][CX3]=[CX3]",
    "azole": "[$([nr5]),$([cr5]:[nr5])]",
    "amidine or guanidine": "[NX3][CX3]=[NX2]",
    "carboxylic acid or carboxylate": "[CX3](=[OX1])[$([OX2H]),$([OX1-])]",
    "lactam or pyridone ring": "[$([nH]c=O),$(c(=O)[nH])]",
    "alcohol or phenol": "[OX2H][#6X4,c]",
    "amine": "[NX3;!$(N-[C,S,P]=[O,N,S])]",
    "imine or oxime": "[CX3]=[NX2]",
    "nitrile": "[CX2]#[NX1]",
    "alkyne": "[CX2]#[CX2]",
    "alkene": "[CX3]=[CX3]",
    "aromatic": "a",
    "ring of 3 or 4": "[r3,r4]",
    "nitro": "[NX3+](=O)[O-]",
    "charged": "[!+0]",
    "sulfur": "[#16]",
    "phosphorus": "[#15]",
    "halogen": "[F,Cl,Br,I]",
}
_GROUPS = {name: Chem.MolFromSmarts(text) for name, text in _PATTERNS.items()}
ALL, NEUTRAL, CHARGED = "all", "molecules without charges", "molecules with charges"
RADICAL = "radical"

TEXT = """\
In percent. *rows*: bonds as the molecule has them; *distance*: by EDM's table, of heavy atoms alone. *smallest*,
*maximum*: the valence up to which hydrogens are added. Atoms: heavy atoms of the group with the right number of
hydrogens; an atom with more bonds than the rule allows is wrong. Molecules: those that have the group, with all their
heavy atoms right. The last table is of the molecules made of it."""


def stripped(mol: Chem.Mol, positions: np.ndarray) -> tuple[RawMolecule, np.ndarray]:
    """Heavy atoms with Kekulé bonds, and the number of hydrogens (n,) that each had. mol: with explicit hydrogens."""
    heavy = [atom for atom in mol.GetAtoms() if atom.GetAtomicNum() > 1]
    place = {atom.GetIdx(): number for number, atom in enumerate(heavy)}
    kekule = Chem.Mol(mol)
    Chem.Kekulize(kekule, clearAromaticFlags=True)
    bonds = [
        (*sorted((place[a], place[b])), int(bond.GetBondTypeAsDouble()))
        for bond in kekule.GetBonds()
        if (a := bond.GetBeginAtomIdx()) in place and (b := bond.GetEndAtomIdx()) in place
    ]
    raw = RawMolecule(
        np.array([atom.GetAtomicNum() for atom in heavy], dtype=np.int64),
        np.asarray(positions, dtype=np.float64)[list(place)],
        np.array(sorted(bonds), dtype=np.int64).reshape(-1, 3),
    )
    hydrogens = [sum(neighbour.GetAtomicNum() == 1 for neighbour in atom.GetNeighbors()) for atom in heavy]
    return raw, np.array(hydrogens, dtype=np.int64)


def groups_of(mol: Chem.Mol) -> dict[str, list[int]]:
    """Heavy atoms (numbered as in :func:`stripped`) by group of which the molecule has any.

    Radicals are mostly molecules whose source has lost a double bond.
    """
    heavy = [atom.GetIdx() for atom in mol.GetAtoms() if atom.GetAtomicNum() > 1]
    place = {atom: number for number, atom in enumerate(heavy)}
    found = {ALL: list(range(len(heavy)))}
    found[CHARGED if any(atom.GetFormalCharge() for atom in mol.GetAtoms()) else NEUTRAL] = found[ALL]
    if radicals := [place[atom] for atom in heavy if mol.GetAtomWithIdx(atom).GetNumRadicalElectrons()]:
        found[RADICAL] = radicals
    for name, pattern in _GROUPS.items():
        matches = mol.GetSubstructMatches(pattern, maxMatches=10_000)
        if atoms := sorted({place[atom] for match in matches for atom in match if atom in place}):
            found[name] = atoms
    return found


def added_hydrogens(raw: RawMolecule, bonds: str, rule: str) -> np.ndarray:
    """(n,) hydrogens of each heavy atom, -1 where no valence allows its bonds."""
    sums = np.zeros(len(raw.elements), dtype=np.int64)
    for a, b, order in bonds_of(raw, bonds).tolist():
        sums[[a, b]] += order
    return missing_hydrogens(raw.elements, sums, rule)


def measure_hydrogens(records: Iterable[Record]) -> dict:
    """``molecules``; ``groups``: for each group its atoms, molecules, and the shares that are right (in the order of
    :data:`WAYS`); ``assembled``: for each way, how many molecules came back as they were (``same``), as another
    (``other``), or failed, by reason.
    """
    molecules = 0
    sizes, right = Counter(), Counter()
    assembled = {way: Counter() for way in WAYS}
    for record in records:
        raw, true = stripped(record.mol, record.positions)
        if not len(true):
            continue
        molecules += 1
        groups, smiles, outcomes = groups_of(record.mol), connectivity(record.mol), {}
        for name, atoms in groups.items():
            sizes[name, "atoms"] += len(atoms)
            sizes[name, "molecules"] += 1
        for way in WAYS:
            found = added_hydrogens(raw, *way)
            for name, atoms in groups.items():
                right[name, way, "atoms"] += int((found == true)[atoms].sum())
                right[name, way, "molecules"] += bool((found == true).all())
            # Rules that add the same hydrogens to the same bonds make the same molecule.
            key = way[0], tuple(found.tolist())
            if key not in outcomes:
                outcomes[key] = _outcome(raw, *way, smiles)
            assembled[way][outcomes[key]] += 1
    names = [name for name in (ALL, NEUTRAL, CHARGED, *_GROUPS, RADICAL) if sizes[name, "molecules"]]
    return {
        "molecules": molecules,
        "ways": [" ".join(way) for way in WAYS],
        "groups": [
            {"name": name}
            | {kind: sizes[name, kind] for kind in ("atoms", "molecules")}
            | {
                f"{kind} right": [right[name, way, kind] / sizes[name, kind] for way in WAYS]
                for kind in ("atoms", "molecules")
            }
            for name in names
        ],
        "assembled": {" ".join(way): dict(counts.most_common()) for way, counts in assembled.items()},
    }


def _outcome(raw: RawMolecule, bonds: str, rule: str, smiles: str) -> str:
    made = assemble(raw, hydrogens=rule, bonds=bonds)
    return made.failure or ("same" if made.smiles == smiles else "other")


def hydrogens_table(facts: dict) -> str:
    """Markdown of :func:`measure_hydrogens`."""
    ways = [way.replace("geometry", "distance").replace(" ", ", ") for way in facts["ways"]]
    tables = [
        percent_table(
            ["", kind, *ways], [[group["name"], group[kind], *group[f"{kind} right"]] for group in facts["groups"]]
        )
        for kind in ("atoms", "molecules")
    ]
    total = facts["molecules"]
    outcomes = list(dict.fromkeys(reason for counts in facts["assembled"].values() for reason in counts))
    shares = [
        [way, *(counts.get(reason, 0) / total for reason in outcomes)]
        for way, counts in zip(ways, facts["assembled"].values())
    ]
    titles = {"same": "the same molecule", "other": "another molecule"}
    tables.append(percent_table(["", *(titles.get(outcome, outcome) for outcome in outcomes)], shares))
    return "\n".join(tables)
