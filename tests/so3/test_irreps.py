"""Lists of irreps: text, components, equality, errors; and the paths between lists."""

from __future__ import annotations

import pickle

import pytest
import torch

from ditkernels.so3 import Irrep, Irreps, Path, paths


@pytest.mark.parametrize(
    ("text", "degrees", "dim", "components", "labelled"),
    [
        ("0+", (0,), 1, (0,), True),
        ("0+ 1- 2+", (0, 1, 2), 9, (0, 1, 1, 1, 2, 2, 2, 2, 2), True),
        ("0+ 1+ 0- 1-", (0, 1, 0, 1), 8, (0, 1, 1, 1, 2, 3, 3, 3), True),
        ("2 0", (2, 0), 6, (0, 0, 0, 0, 0, 1), False),
    ],
)
def test_components(text, degrees, dim, components, labelled):
    irreps = Irreps(text)
    assert str(irreps) == text
    assert irreps.degrees == degrees
    assert irreps.dim == dim
    assert irreps.irrep_of_component == components
    assert irreps.labelled is labelled
    assert [irrep.dim for irrep in irreps] == [2 * degree + 1 for degree in degrees]
    for i, part in enumerate(irreps.slices):
        assert set(components[part]) == {i} and components.count(i) == part.stop - part.start


def test_lists_of_all_degrees():
    assert str(Irreps.natural(2)) == "0+ 1- 2+"
    assert str(Irreps.with_parity(2)) == "0+ 1+ 2+ 0- 1- 2-"
    assert str(Irreps.unlabelled(2)) == "0 1 2"
    assert str(Irreps.natural(0)) == "0+"


def test_equal_lists_are_one_key():
    made = [
        Irreps("0+ 1-"),
        Irreps(" 0+\t1- "),
        Irreps([Irrep(0, 1), Irrep(1, -1)]),
        Irreps([(0, 1), "1-"]),
        Irreps(Irreps("0+ 1-")),
        Irreps(irrep for irrep in Irreps("0+ 1-")),
        pickle.loads(pickle.dumps(Irreps("0+ 1-"))),
    ]
    assert len(set(made)) == 1
    assert {repr(irreps) for irreps in made} == {'Irreps("0+ 1-")'}
    assert Irreps("1- 0+") != made[0]
    assert Irreps("0+") != Irreps("0")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ("", "the list is empty"),
        ([], "the list is empty"),
        ("0+ 1- 0+", 'every entry may occur once, got "0\\+ 1- 0\\+"'),
        ("0+ 1", 'labels belong on all entries or on none, got "0\\+ 1"'),
        ("0+ 3-", "degrees 0 ... 2 are supported, got 3"),
        ("0+1-", "'0\\+1-' is no irrep"),
        ("0e 1o", "'0e' is no irrep"),
        ("+0", "'\\+0' is no irrep"),
        ("-1", "'-1' is no irrep"),
        ([(1, 2)], r"an entry is \(degree, parity\) with parity 1, -1 or 0, got \(1, 2\)"),
        ([(-1, 1)], "degrees 0 ... 2 are supported, got -1"),
        ([(0.5, 1)], r"an entry is \(degree, parity\)"),
        ([0, 1], r"an entry is \(degree, parity\) .* got 0"),
        (7, "expected a text .* got 7"),
    ],
)
def test_a_wrong_list_is_named(entries, message):
    with pytest.raises(ValueError, match="irreps: .*" + message):
        Irreps(entries)


def test_paths_of_the_equivariant_transformer_block():
    """In the order of kappa_1 ... kappa_10 (arXiv 2506.15378): s and d act on a = 0+, b = 1+, a' = 0-, b' = 1-."""
    irreps = Irreps("0+ 1+ 0- 1-")
    a, b, a_odd, b_odd = range(4)
    s, d = 0, 1
    assert paths(irreps, irreps, 2) == (
        Path(s, a, 0),
        Path(d, b_odd, 0),
        Path(s, b, 1),
        Path(d, a_odd, 1),
        Path(d, b_odd, 1),
        Path(s, a_odd, 2),
        Path(d, b, 2),
        Path(s, b_odd, 3),
        Path(d, a, 3),
        Path(d, b, 3),
    )
    assert paths(Irreps("0+"), Irreps("0+ 1-"), 2) == (Path(s, a, 0), Path(d, a, 1))


def test_degree_zero_filters_keep_irreps():
    assert paths(Irreps("0+ 1-"), Irreps("1- 0+ 2+"), 1) == (Path(0, 1, 0), Path(0, 0, 1))


def test_without_labels_only_the_triangle_rule_holds():
    found = paths(Irreps("0 1 2"), Irreps("0 1 2"), 3)
    assert Path(1, 1, 1) in found and Path(2, 1, 2) in found
    assert all(abs(J - x) <= o <= J + x for J, x, o in found)


@pytest.mark.parametrize("degrees", [0, 4, -1])
def test_a_wrong_number_of_filter_degrees_is_named(degrees):
    with pytest.raises(ValueError, match=f"filter_degrees must be 1, 2 or 3 .* got {degrees}"):
        paths(Irreps("0+"), Irreps("0+"), degrees)


def test_labelled_and_unlabelled_lists_do_not_mix():
    with pytest.raises(ValueError, match='values "0\\+" and outputs "0 1" must both have parity labels'):
        paths(Irreps("0+"), Irreps("0 1"), 2)


def test_lists_can_be_made_inside_a_graph():
    def function(x, text):
        irreps = Irreps(text)
        return x[irreps.slices[1]] * len(paths(irreps, Irreps.natural(2), 3))

    torch._dynamo.reset()
    compiled = torch.compile(function, fullgraph=True, backend="eager")
    x = torch.randn(9)
    torch.testing.assert_close(compiled(x, "0+ 1- 2+"), 11 * x[1:4])
