"""Cases on the shelf are those that were put there."""

from __future__ import annotations

from collections import Counter

from stream_recon.core.cases import Case, Seen, categories
from stream_recon.core.shelf import Shelf

CONTENT = "1\x1f2\x1f\x1f\x1fnet\x1fbuy"


def a_case(key: str = "k") -> Case:
    """One fill that the exchange does not have."""
    return Case(key, ([Seen(CONTENT, "trade", "1", 5, 4, 0, b"{}")], []), [("missing_exchange", 1)])


def test_a_case_that_was_put_back_comes_out_as_it_was_changed() -> None:
    shelf = Shelf(lambda _: True)
    shelf["k"] = a_case()
    shelf.settle()
    assert shelf["k"] == a_case()
    shelf["k"].sides[1].append(Seen(CONTENT, "trade", "1", 5, 9))
    shelf["k"].beyond_horizon = True
    changed = shelf["k"]
    shelf.settle()
    assert shelf["k"] == changed
    assert shelf["k"] is not changed
    other = Shelf(lambda _: False)
    assert other.put(shelf.packed("k")) == (changed, None)
    assert other.put(shelf.packed("k")) == (changed, changed) == (other["k"], changed)
    other.settle()
    assert other.packed("k") == shelf.packed("k")
    assert dict(other) == dict(shelf)


def test_the_counts_are_those_of_all_cases_as_they_are_now() -> None:
    standing = {"a", "b"}
    shelf = Shelf(lambda case: case.key in standing)
    for key in "abc":
        shelf[key] = a_case(key)
    assert shelf.counts == {"discrepant": 2, "open": 1}
    standing.remove("a")
    shelf["a"].sides[1].append(Seen(CONTENT, "trade", "1", 5, 9))
    del shelf["b"]
    shelf["c"] = a_case("c")
    expected: Counter[str] = Counter()
    for case in shelf.values():
        expected.update(categories(case, standing=case.key in standing))
    assert shelf.counts == +expected == {"matched": 2, "open": 1}
    assert (sorted(shelf), len(shelf), "b" in shelf) == (["a", "c"], 2, False)
