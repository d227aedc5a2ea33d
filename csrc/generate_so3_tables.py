"""Derives the constants of SO(3) and writes them for Python and for C++ and CUDA.

    python csrc/generate_so3_tables.py            writes ditkernels/so3/tables.py and csrc/so3_tables.h
    python csrc/generate_so3_tables.py --check    exits with 1 if those files differ from what would be written

Real spherical harmonics Y_l0..Y_l,2l of degree l <= 2 in the order m = l, -l, l-1, -(l-1), ..., 0, which is x, y, z for
l = 1, with sum_m Y_lm^2 = 1 on the unit sphere (Racah's normalization). Real Clebsch-Gordan coefficients of filter
degree J, value degree l1 and output degree lo, with sum_{M,n} CG_Mnm CG_Mnm' = delta_mm' and the sign that the phase
i^(J + l1 - lo) gives: the product of two harmonics of one vector is a positive multiple of the third one, and
1 x 1 -> 1 is +(filter x value) / sqrt(2). All of this is the convention of e3x in its Cartesian order.

Every constant is a signed square root of a rational number: it is computed in float64, recognized, and rounded once.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from fractions import Fraction
from math import comb, factorial
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
PYTHON_FILE = ROOT / "ditkernels" / "so3" / "tables.py"
HEADER_FILE = ROOT / "csrc" / "so3_tables.h"
MAX_DEGREE = 2
DEGREES = range(MAX_DEGREE + 1)

Monomial = tuple[int, int, int, float]  # powers of x, y and z, coefficient
Entry = tuple[int, int, int, float]  # M, n, m, coefficient


def snap(value: float) -> float:
    """The signed square root of a rational number that `value` is, rounded once; 0.0 for a zero."""
    if abs(value) < 1e-12:
        return 0.0
    square = Fraction(value * value).limit_denominator(1000)
    exact = math.copysign(math.sqrt(square), value)
    if abs(exact - value) > 1e-13:
        raise ArithmeticError(f"{value!r} is not the square root of a simple rational number")
    return exact


def orders(degree: int) -> list[int]:
    """The orders m of the components: l, -l, l-1, -(l-1), ..., 0."""
    return [sign * m for m in range(degree, 0, -1) for sign in (1, -1)] + [0]


def harmonic(degree: int, m: int) -> list[Monomial]:
    """The real solid harmonic of order m as a homogeneous polynomial of x, y, z.

    Y_lm = N Pi_l|m|(z, r^2) * (Re or Im of (x + iy)^|m|), Pi the |m|-th derivative of the Legendre polynomial,
    N = sqrt((2 - delta_m0) (l - |m|)! / (l + |m|)!).
    """
    order = abs(m)
    norm = math.sqrt((1 if m == 0 else 2) * factorial(degree - order) / factorial(degree + order))
    terms: dict[tuple[int, int, int], float] = {}
    for k in range((degree - order) // 2 + 1):  # z^p r^2k
        p = degree - 2 * k - order
        legendre = (-1) ** k * comb(degree, k) * comb(2 * degree - 2 * k, degree) / 2**degree
        legendre *= factorial(degree - 2 * k) / factorial(p)
        for a, b in itertools.product(range(k + 1), repeat=2):
            if a + b > k:
                continue
            radius = factorial(k) / (
                factorial(a) * factorial(b) * factorial(k - a - b)
            )  # r^2k has x^2a y^2b z^2(k-a-b)
            for power in range(order + 1):  # (x + iy)^order has x^(order - power) (iy)^power
                if power % 2 == (m < 0):
                    sign = (-1) ** (power // 2)
                    key = (2 * a + order - power, 2 * b + power, p + 2 * (k - a - b))
                    terms[key] = terms.get(key, 0.0) + sign * norm * legendre * radius * comb(order, power)
    return [(*key, snap(value)) for key, value in sorted(terms.items(), reverse=True) if snap(value) != 0.0]


def complex_clebsch_gordan(j1: int, m1: int, j2: int, m2: int, j: int, m: int) -> float:
    """<j1 m1 j2 m2 | j m> by Racah's formula, with the phases of Condon and Shortley."""
    if m1 + m2 != m or not abs(j1 - j2) <= j <= j1 + j2:
        return 0.0
    f = factorial
    triangle = Fraction((2 * j + 1) * f(j + j1 - j2) * f(j - j1 + j2) * f(j1 + j2 - j), f(j1 + j2 + j + 1))
    inside = triangle * f(j + m) * f(j - m) * f(j1 - m1) * f(j1 + m1) * f(j2 - m2) * f(j2 + m2)
    total = Fraction(0)
    for k in range(j1 + j2 - j + 1):
        parts = (k, j1 + j2 - j - k, j1 - m1 - k, j2 + m2 - k, j - j2 + m1 + k, j - j1 - m2 + k)
        if min(parts) >= 0:
            total += Fraction((-1) ** k, math.prod(f(part) for part in parts))
    return float(total) * math.sqrt(inside)


def real_basis(degree: int) -> np.ndarray:
    """(2l+1, 2l+1) complex: real harmonics, in the order of :func:`orders`, from complex ones, m = -l..l."""
    basis = np.zeros((2 * degree + 1, 2 * degree + 1), dtype=complex)
    for row, m in enumerate(orders(degree)):
        if m == 0:
            basis[row, degree] = 1
        elif m > 0:
            basis[row, degree - m] = math.sqrt(0.5)
            basis[row, degree + m] = math.sqrt(0.5) * (-1) ** m
        else:
            basis[row, degree + m] = 1j * math.sqrt(0.5)
            basis[row, degree - m] = -1j * math.sqrt(0.5) * (-1) ** m
    return basis


def clebsch_gordan(filter_degree: int, value: int, output: int) -> list[Entry]:
    """The non-zero real coefficients (M, n, m, CG) of one path."""
    complex_cg = np.array(
        [
            [
                [complex_clebsch_gordan(filter_degree, M, value, n, output, m) for m in range(-output, output + 1)]
                for n in range(-value, value + 1)
            ]
            for M in range(-filter_degree, filter_degree + 1)
        ]
    )
    real = np.einsum(
        "Ma,nb,mc,abc->Mnm",
        real_basis(filter_degree),
        real_basis(value),
        real_basis(output).conj(),
        complex_cg,
    )
    real = 1j ** (filter_degree + value - output) * real
    if np.abs(real.imag).max() > 1e-12:
        raise ArithmeticError(f"the path {filter_degree} x {value} -> {output} has a wrong phase")
    return [(*at, snap(x)) for at, x in np.ndenumerate(real.real) if snap(x) != 0.0]


def all_paths() -> dict[tuple[int, int, int], list[Entry]]:
    """(J, l1, lo) -> non-zeros; empty where the triangle rule forbids the path."""
    return {
        path: clebsch_gordan(*path) if abs(path[0] - path[1]) <= path[2] <= path[0] + path[1] else []
        for path in itertools.product(DEGREES, repeat=3)
    }


def nested(prefix: str, rows: list[tuple]) -> list[str]:
    """A tuple of tuples, formatted as ruff formats it."""
    if len(rows) == 1:
        return [f"{prefix}({rows[0]},),"]
    indent = " " * (len(prefix) - len(prefix.lstrip()))
    return [f"{prefix}(", *(f"{indent}    {row}," for row in rows), f"{indent}),"]


def python_text() -> str:
    lines = [
        '"""Constants of SO(3), written by csrc/generate_so3_tables.py, which also says what they are: do not edit."""',
        "",
        f"MAX_DEGREE = {MAX_DEGREE}",
        "",
        "# Component -> monomials (power of x, power of y, power of z, coefficient) of the real harmonic.",
        "# The components of one degree start at degree^2; for a unit vector their squares sum to 1 (Racah).",
        "SPHERICAL_HARMONICS = (",
    ]
    for degree in DEGREES:
        for m in orders(degree):
            lines += nested("    ", harmonic(degree, m))
    lines += [
        ")",
        "",
        "# (filter degree J, value degree l1, output degree lo) -> non-zeros (M, n, m, coefficient).",
        "# The squares of the coefficients of one output component m sum to 1.",
        "CLEBSCH_GORDAN = {",
    ]
    for path, entries in all_paths().items():
        if entries:
            lines += nested(f"    {path}: ", entries)
    return "\n".join([*lines, "}", ""])


def array(declaration: str, values: list) -> list[str]:
    """A constant C array, wrapped at 120 columns."""
    lines, line = [f"DITKERNELS_TABLE {declaration}[] = {{"], "   "
    for value in values:
        if len(line) + len(f" {value!r},") > 120:
            lines.append(line)
            line = "   "
        line += f" {value!r},"
    return [*lines, line, "};"]


def columns(kind: str, name: str, names: tuple[str, ...], rows: list[tuple]) -> list[str]:
    """One array per column: integers for all but the last, which is a coefficient."""
    lines = []
    for column, label in enumerate(names):
        declared = "double" if column == len(names) - 1 else kind
        lines += array(f"{declared} k{name}{label}", [row[column] for row in rows])
    return lines


def header_text() -> str:
    polynomials = [harmonic(degree, m) for degree in DEGREES for m in orders(degree)]
    paths = list(all_paths().values())
    offsets = [[0, *itertools.accumulate(len(rows) for rows in part)] for part in (polynomials, paths)]
    lines = [
        "// Constants of SO(3), written by csrc/generate_so3_tables.py, which also says what they are: do not edit.",
        "//",
        "// Harmonic c of a unit vector (c = 0..8: degree 0, degree 1 = x, y, z, five of degree 2) is the sum over",
        "// e = kHarmonicOffset[c] .. kHarmonicOffset[c + 1] - 1 of",
        "//   kHarmonicCoefficient[e] * x^kHarmonicX[e] * y^kHarmonicY[e] * z^kHarmonicZ[e].",
        "// A path (filter degree J, value degree l1, output degree lo) has, with p = cg_path(J, l1, lo), the entries",
        "// e = kCgOffset[p] .. kCgOffset[p + 1] - 1, and none where the triangle rule forbids it:",
        "//   out[kCgOutput[e]] += kCgCoefficient[e] * Y_J[kCgFilter[e]] * v[kCgValue[e]].",
        "//",
        "// Compiled by nvcc, the arrays are device memory; host code may then use them in constant expressions only.",
        "#pragma once",
        "",
        "#ifdef __CUDACC__",
        "#define DITKERNELS_TABLE static __device__ constexpr",
        "#define DITKERNELS_TABLE_FUNCTION static __host__ __device__ constexpr",
        "#else",
        "#define DITKERNELS_TABLE static constexpr",
        "#define DITKERNELS_TABLE_FUNCTION static constexpr",
        "#endif",
        "",
        "namespace ditkernels {",
        "",
        f"DITKERNELS_TABLE int kMaxDegree = {MAX_DEGREE};",
        "",
        "// Components of one degree, and the first component of a degree in the list of all harmonics.",
        "DITKERNELS_TABLE_FUNCTION int components(int degree) { return 2 * degree + 1; }",
        "DITKERNELS_TABLE_FUNCTION int first_component(int degree) { return degree * degree; }",
        "",
        *array("int kHarmonicOffset", offsets[0]),
        *columns("unsigned char", "Harmonic", ("X", "Y", "Z", "Coefficient"), list(itertools.chain(*polynomials))),
        "",
        "DITKERNELS_TABLE_FUNCTION int cg_path(int filter, int value, int output) {",
        f"  return (filter * {MAX_DEGREE + 1} + value) * {MAX_DEGREE + 1} + output;",
        "}",
        "",
        *array("int kCgOffset", offsets[1]),
        *columns("unsigned char", "Cg", ("Filter", "Value", "Output", "Coefficient"), list(itertools.chain(*paths))),
        "",
        "}  // namespace ditkernels",
        "",
        "#undef DITKERNELS_TABLE",
        "#undef DITKERNELS_TABLE_FUNCTION",
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the tables of SO(3) for Python and C++.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a file is out of date")
    check = parser.parse_args().check
    stale = 0
    for path, text in ((PYTHON_FILE, python_text()), (HEADER_FILE, header_text())):
        if path.exists() and path.read_text() == text:
            continue
        if check:
            print(f"{path.relative_to(ROOT)} is out of date: run python csrc/generate_so3_tables.py", file=sys.stderr)
            stale = 1
        else:
            path.write_text(text)
            print(f"wrote {path.relative_to(ROOT)}")
    return stale


if __name__ == "__main__":
    sys.exit(main())
