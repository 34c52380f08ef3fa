"""The boundaries of another reconciler (Blnk), and where ours lie elsewhere.

Its drift is a fraction of the internal amount; our tolerance is an amount, so each case is given the amount that its
fraction makes. Its groups are searched for by sums; ours are known by their order, so a group is an order's fills. It
matches nothing without a rule; here equal amounts agree without one.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from tests.oracles.worlds import ROOT, SECOND, fill, ledger, order, promises, say

BLNK: dict[str, Any] = json.loads((ROOT / "tests/data/blnk/boundary_cases.json").read_text())


def allowed(amounts: list[str], drift: str | None) -> dict[str, str]:
    """The tolerance that a fraction makes; no rule at all is none, and then equal amounts still agree here."""
    return {
        name: str(abs(sum(map(Decimal, amounts), Decimal(0))) * Decimal(drift or 0)) for name in ("delta", "cum_qty")
    }


@pytest.mark.parametrize("case", BLNK["amount_equals"], ids=lambda case: case["name"])
def test_amounts_agree_up_to_the_tolerance_and_at_it(case: dict[str, Any]) -> None:
    tolerance = allowed([case["internal"]], case["drift"])
    pair = [ledger("internal", "a", 0, case["internal"]), ledger("exchange", "a", 0, case["external"])]
    found = say(pair, promises(balances="absent", tolerance=tolerance))
    assert (found.breaks == []) is case["match"]


@pytest.mark.parametrize("case", BLNK["date_equals_seconds"], ids=lambda case: case["name"])
def test_entries_without_a_common_name_pair_up_to_the_grace_and_at_it(case: dict[str, Any]) -> None:
    pair = [ledger("internal", "a", 0, "5"), ledger("exchange", "b", case["delta_ms"] / 1000, "5")]
    found = say(pair, promises(balances="absent", grace_us=case["drift_s"] * SECOND))
    assert (found.breaks == []) is case["match"]


@pytest.mark.parametrize("case", BLNK["one_to_many"], ids=lambda case: case["name"])
def test_fills_add_up_to_their_order(case: dict[str, Any]) -> None:
    tolerance = allowed(case["internal"], case["drift"])
    wholes, parts = case["external"], case["internal"]
    if len(wholes) > len(parts) > 0:
        wholes, parts = parts, wholes
    events = [fill("exchange", str(n), 1, qty) for n, qty in enumerate(parts)]
    for n, whole in enumerate(wholes, 1):
        events += [
            order("exchange", at, status, cum_qty, order_id=f"o{n}")
            for at, status, cum_qty in ((0, "open", "0"), (1, "filled", whole))
        ]
    only = promises(
        positions="absent", balances="absent", ledger="absent", internal={"fills": "absent", "orders": "absent"}
    )
    only = only.model_copy(
        update={"contracts": tuple(each.model_copy(update={"tolerance": tolerance}) for each in only.contracts)}
    )
    found = say(events, only)
    if case["drift"] is None:
        assert found.breaks == []  # there: no rule, no match; here: equal amounts agree without one
    elif case["match"] == "first only":
        assert [each.subject for each in found.breaks] == [("PERP", "o2")]
    else:
        assert (found.breaks == []) is case["match"]
