"""Reading the tables of :class:`ditkernels.so3_attention.impl.triton.couplings.Couplings` at compile time.

Nested tuples are read by these functions only: Triton 3.6 takes no tuple of tuples out of another inside a kernel.
"""

from __future__ import annotations

import triton


@triton.constexpr_function
def path_count(groups):
    """Number of paths among grouped terms; 1 where there is none, so that a tuple has an entry."""
    return max([entry[0] + 1 for group in groups for entry in group], default=1)


@triton.constexpr_function
def has_degree(groups, path, degree):
    """Whether a path among grouped terms is one of this degree."""
    return any(entry[:2] == (path, degree) for group in groups for entry in group)


@triton.constexpr_function
def group_size(groups, component):
    """Number of paths of one component."""
    return len(groups[component])


@triton.constexpr_function
def path_of(groups, component, number):
    return groups[component][number][0]


@triton.constexpr_function
def degree_of(groups, component, number):
    return groups[component][number][1]


@triton.constexpr_function
def term_count(groups, component, number):
    return len(groups[component][number][2])


@triton.constexpr_function
def term(groups, component, number, place, part):
    """Part 0: the harmonic, 1: the other component, 2: the coefficient of a term of one path."""
    return groups[component][number][2][place][part]


@triton.constexpr_function
def path_degree(paths, path):
    return paths[path][0]


@triton.constexpr_function
def nonzero_count(paths, path):
    return len(paths[path][1])


@triton.constexpr_function
def nonzero(paths, path, place, part):
    """Part 0: the harmonic M, 1: the component n of the values, 2: m of the outputs, 3: the coefficient."""
    return paths[path][1][place][part]
