"""Draw the conformers of an SD file as a grid of shaded ball-and-stick pictures.

    python examples/draw_conformers.py IN.sdf OUT.png [--conformers 2] [--columns 4] [--limit 40]

Records that follow each other under one title are the conformers of one molecule. The view is along the direction in
which the molecule is thinnest (principal component analysis of the atoms); further conformers are laid onto the first.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import matplotlib
import numpy as np
from rdkit import Chem, RDLogger
from rdkit.Chem import rdMolAlign

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

# Jmol's element colors, hydrogen and carbon adapted to a white page.
COLORS = {
    1: (0.93, 0.93, 0.93),
    5: (1.00, 0.71, 0.71),
    6: (0.38, 0.38, 0.40),
    7: (0.19, 0.31, 0.97),
    8: (0.94, 0.10, 0.08),
    9: (0.45, 0.80, 0.25),
    14: (0.94, 0.78, 0.63),
    15: (1.00, 0.50, 0.00),
    16: (0.96, 0.80, 0.15),
    17: (0.12, 0.78, 0.12),
    35: (0.65, 0.16, 0.16),
    53: (0.58, 0.00, 0.58),
}
OTHER_ELEMENT = (0.85, 0.40, 0.70)
HYDROGEN_RADIUS, ATOM_RADIUS, STICK_RADIUS = 0.22, 0.36, 0.11  # Å
LIGHT = np.array([-0.45, 0.55, 0.70]) / np.linalg.norm([-0.45, 0.55, 0.70])
SUPERSAMPLING = 2
FOG = 0.45  # how much the farthest atom fades into the page


class Canvas:
    """An orthographic view along -z: color and depth per pixel, `scale` pixels per Å, the origin in the middle."""

    def __init__(self, width: int, height: int, scale: float):
        self.scale = scale
        self.color = np.ones((height, width, 3))
        self.depth = np.full((height, width), -np.inf)

    def _patch(self, low: np.ndarray, high: np.ndarray):
        """Pixels of a box (x, y in Å) and their coordinates."""
        height, width = self.depth.shape
        x0, x1 = np.clip([low[0] * self.scale + width / 2, high[0] * self.scale + width / 2 + 1], 0, width).astype(int)
        y0, y1 = np.clip([height / 2 - high[1] * self.scale, height / 2 - low[1] * self.scale + 1], 0, height).astype(
            int
        )
        y, x = np.mgrid[y0:y1, x0:x1]
        return (slice(y0, y1), slice(x0, x1)), (x + 0.5 - width / 2) / self.scale, (height / 2 - y - 0.5) / self.scale

    def _paint(self, where, visible: np.ndarray, z: np.ndarray, normal: np.ndarray, color: np.ndarray) -> None:
        nearer = visible & (z > self.depth[where])
        diffuse = np.clip(normal @ LIGHT, 0, 1)[..., None]
        half = LIGHT + [0, 0, 1]
        shine = np.clip(normal @ (half / np.linalg.norm(half)), 0, 1)[..., None] ** 40
        shaded = np.clip(color * (0.42 + 0.62 * diffuse) + 0.30 * shine, 0, 1)
        self.color[where][nearer] = shaded[nearer]
        self.depth[where][nearer] = z[nearer]

    def sphere(self, center: np.ndarray, radius: float, color) -> None:
        where, x, y = self._patch(center[:2] - radius, center[:2] + radius)
        dx, dy = (x - center[0]) / radius, (y - center[1]) / radius
        inside = dx**2 + dy**2 < 1
        dz = np.sqrt(np.where(inside, 1 - dx**2 - dy**2, 0))
        color = np.broadcast_to(color, (*dx.shape, 3))
        self._paint(where, inside, center[2] + radius * dz, np.stack([dx, dy, dz], -1), color)

    def stick(self, start: np.ndarray, end: np.ndarray, radius: float, colors) -> None:
        """A cylinder whose halves have the colors of the atoms at its ends."""
        axis = end - start
        length = np.linalg.norm(axis)
        axis = axis / length
        flat = np.linalg.norm(axis[:2])
        if flat < 1e-3:  # along the line of sight: hidden by its atoms
            return
        along, across = axis[:2] / flat, np.array([-axis[1], axis[0]]) / flat
        toward = np.array([*(-along * axis[2]), flat])  # normal to the axis, toward the viewer
        where, x, y = self._patch(np.minimum(start, end)[:2] - radius, np.maximum(start, end)[:2] + radius)
        offset = np.stack([x - start[0], y - start[1]], -1)
        aside = offset @ across / radius
        front = np.sqrt(np.clip(1 - aside**2, 0, None))
        position = (offset @ along + radius * front * axis[2]) / flat
        inside = (np.abs(aside) < 1) & (position > 0) & (position < length)
        normal = aside[..., None] * np.array([*across, 0]) + front[..., None] * toward
        z = start[2] + position * axis[2] + radius * front * flat
        color = np.where((position < length / 2)[..., None], colors[0], colors[1])
        self._paint(where, inside, z, normal, color)

    def picture(self) -> np.ndarray:
        """Colors with dark outlines and with fog, pixels averaged over the supersampling."""
        color, depth = self.color.copy(), self.depth
        drawn = np.isfinite(depth)
        if drawn.any():
            near, far = depth[drawn].max(), depth[drawn].min()
            fog = FOG * np.where(drawn, (near - depth) / max(near - far, 1e-6), 0)[..., None]
            color[_outline(depth)] *= 0.35
            color = color * (1 - fog) + fog
        height, width = (n // SUPERSAMPLING for n in depth.shape)
        return color.reshape(height, SUPERSAMPLING, width, SUPERSAMPLING, 3).mean(axis=(1, 3))


def _outline(depth: np.ndarray) -> np.ndarray:
    """Pixels behind which, one pixel on, lies nothing or something at least 0.3 Å farther away."""
    depth = np.where(np.isfinite(depth), depth, -1e6)
    steps = [(axis, step) for axis in (0, 1) for step in (1, -1)]
    return np.any([depth - np.roll(depth, step, axis) > 0.3 for axis, step in steps], axis=0)


def draw(mol: Chem.Mol, positions: np.ndarray, width: int, height: int, scale: float) -> np.ndarray:
    """Ball-and-stick picture (height, width, 3) of positions (n, 3) in Å that are already in the view's axes."""
    canvas = Canvas(width * SUPERSAMPLING, height * SUPERSAMPLING, scale * SUPERSAMPLING)
    colors = [COLORS.get(atom.GetAtomicNum(), OTHER_ELEMENT) for atom in mol.GetAtoms()]
    for atom, place, color in zip(mol.GetAtoms(), positions, colors):
        canvas.sphere(place, HYDROGEN_RADIUS if atom.GetAtomicNum() == 1 else ATOM_RADIUS, color)
    for bond in mol.GetBonds():
        ends = [bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()]
        start, end = positions[ends]
        order = {Chem.BondType.DOUBLE: 2, Chem.BondType.TRIPLE: 3}.get(bond.GetBondType(), 1)
        side = np.array([-(end - start)[1], (end - start)[0], 0.0])
        side /= max(np.linalg.norm(side), 1e-6)
        for number in range(order):
            shift = side * 0.17 * (number - (order - 1) / 2)
            canvas.stick(start + shift, end + shift, STICK_RADIUS / order**0.6, [colors[i] for i in ends])
    return canvas.picture()


def best_view(positions: np.ndarray) -> np.ndarray:
    """Rotation (3, 3) that lays the longest axis along x and the thinnest along the line of sight."""
    _, _, axes = np.linalg.svd(positions - positions.mean(axis=0), full_matrices=False)
    if np.linalg.det(axes) < 0:  # a reflection would show the other enantiomer
        axes[2] *= -1
    return axes.T


def molecules(path: Path, conformers: int) -> Iterator[tuple[str, list[Chem.Mol]]]:
    """(title, the first conformers) of every molecule in the file."""
    records = (
        mol for mol in Chem.SDMolSupplier(str(path), removeHs=False) if mol is not None and mol.GetNumConformers()
    )
    for title, group in groupby(records, key=lambda mol: mol.GetProp("_Name")):
        yield title, list(group)[:conformers]


def panel(mols: list[Chem.Mol], size: int, slots: int) -> np.ndarray:
    """Conformers of one molecule side by side in `slots` squares, all at one scale."""
    first = Chem.Mol(mols[0])
    Chem.Kekulize(first, clearAromaticFlags=True)
    heavy = [(a.GetIdx(), a.GetIdx()) for a in first.GetAtoms() if a.GetAtomicNum() > 1]
    positions = [first.GetConformer().GetPositions()]
    for other in mols[1:]:
        rdMolAlign.AlignMol(other, first, atomMap=heavy)
        positions.append(other.GetConformer().GetPositions())
    view = best_view(positions[0])
    seen = [(p - positions[0].mean(axis=0)) @ view for p in positions]
    seen = [p - (p.max(axis=0) + p.min(axis=0)) / 2 for p in seen]
    reach = max(np.abs(p[:, :2]).max() for p in seen) + ATOM_RADIUS
    images = [draw(first, p, size, size, size / (2 * reach)) for p in seen]
    return np.concatenate([*images, *[np.ones((size, size, 3))] * (slots - len(images))], axis=1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("input", type=Path, metavar="IN.sdf")
    parser.add_argument("output", type=Path, metavar="OUT.png")
    parser.add_argument("--conformers", type=int, default=2, help="conformers shown per molecule")
    parser.add_argument("--columns", type=int, default=4, help="molecules in a row")
    parser.add_argument("--limit", type=int, default=40, help="molecules shown at most")
    parser.add_argument("--size", type=int, default=260, help="pixels per conformer")
    options = parser.parse_args()
    RDLogger.DisableLog("rdApp.*")
    if not options.input.is_file():
        print(f"{options.input} does not exist", file=sys.stderr)
        return 2
    shown = list(molecules(options.input, options.conformers))[: options.limit]
    if not shown:
        print(f"{options.input} holds no molecule with coordinates", file=sys.stderr)
        return 1
    slots = max(len(mols) for _, mols in shown)
    columns = min(options.columns, len(shown))
    rows = -(-len(shown) // columns)
    inches = options.size / 100
    figure, axes = plt.subplots(
        rows, columns, figsize=(columns * slots * inches, rows * (inches + 0.3)), squeeze=False, layout="constrained"
    )
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (title, mols) in zip(axes.flat, shown):
        axis.imshow(panel(mols, options.size * 5 // 4, slots), interpolation="lanczos")
        axis.set_title(title, fontsize=12, color="0.15")
    figure.savefig(options.output, dpi=100)
    print(f"{options.output}: {len(shown)} molecules")
    return 0


if __name__ == "__main__":
    sys.exit(main())
