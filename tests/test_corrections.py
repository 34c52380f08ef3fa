"""Auto-resolution: what is corrected without a person, within which budget, and what takes it back."""

from __future__ import annotations

from decimal import Decimal
from itertools import permutations
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from stream_recon.core.corrections import (
    CORRECTED,
    History,
    NotUndone,
    Terms,
    absolved,
    choose,
    day_of,
    undo,
    unit_of,
)
from stream_recon.domain.corrections import Correction
from stream_recon.domain.discrepancies import (
    Discrepancy,
    Evidence,
    FieldDifference,
    SplitPart,
    same_in_substance,
    substance_digest,
)
from tests.findings import BREAKS, LEDGER_DIFFERS, POSITIONS, fill, of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

DAY = "2026-01-31"
ON = Terms(run_id="run-1", day=DAY, by="renee", dry_run=False)
PLENTY = {"BTCUSDT": Decimal(100), "ETHUSDT": Decimal(100), "USDT": Decimal(100), "BNB": Decimal(100)}


def small(
    number: int, *, asset: str | None = "USDT", books: str = "1000", venue: str = "1000.5", **fields: Any
) -> Discrepancy:
    """A balance that differs by little; `number` makes its id."""
    gap = Decimal(books) - Decimal(venue)
    told: dict[str, Any] = {
        "severity": "info", "asset": asset, "cause": "the balances of both sides differ",
        "fields": [FieldDifference("total", books, venue, f"{gap:f}")], "residual": f"{-gap:f}",
        "split": [SplitPart("unexplained", f"{-gap:f}")],
    }  # fmt: skip
    return of("balance_mismatch", "balance", number, **{**told, **fields})


def corrected(discrepancy: Discrepancy, history: History | None = None) -> Correction:
    (made,) = choose([discrepancy], PLENTY, history or History(), ON)
    return made


# -- what is corrected ------------------------------------------------------------------------------------------------


def test_the_books_are_moved_to_what_the_exchange_says() -> None:
    made = corrected(small(1))
    assert (made.asset, made.instrument, made.field, made.amount) == ("USDT", None, "total", "0.5")
    assert (made.run_id, made.day, made.by, made.dry_run) == ("run-1", DAY, "renee", False)
    assert corrected(small(1, books="1000.5", venue="1000")).amount == "-0.5"


def test_of_a_state_only_what_its_interval_added_is_moved() -> None:
    """What stood before it has a correction of its own."""
    position = structs.replace(POSITIONS, severity="info", fields=[FieldDifference("qty", "3", "1", "2")])
    made = corrected(position)
    assert (made.instrument, made.amount, made.position_side) == ("ETHUSDT", "-1", None)
    hedged = structs.replace(position, position_side="long")
    assert corrected(hedged).position_side == "long"


def test_a_ledger_entry_is_moved_by_what_its_delta_lacks() -> None:
    made = corrected(structs.replace(LEDGER_DIFFERS, severity="info"))
    assert (made.asset, made.field, made.amount) == ("USDT", "delta", "-0.25")


def test_a_fee_is_of_the_asset_that_its_fills_name() -> None:
    fee = of(
        "fill_mismatch", "trade", 7, severity="info", instrument="BTCUSDT", trade_id="883", side="buy", cause="fee",
        fields=[FieldDifference("fee", "0.018", "0.01801", "-0.00001")],
        evidence=[fill("internal", 1, fee_asset="BNB"), fill("exchange", 2, fee_asset="BNB")],
    )  # fmt: skip
    made = corrected(fee)
    assert (made.asset, made.instrument, made.amount) == ("BNB", None, "0.00001")
    other = structs.replace(fee, evidence=[fill("internal", 1, fee_asset="BNB"), fill("exchange", 2)])
    assert choose([other], PLENTY, History(), ON) == []
    nameless = structs.replace(fee, evidence=[Evidence("internal", None, None, None, {})])
    assert choose([nameless], PLENTY, History(), ON) == []


NOT_BY_ITSELF: dict[str, Discrepancy] = {
    "a warning is a person's": small(1, severity="warning"),
    "what is critical is a person's": small(1, severity="critical"),
    "what was resolved is settled": small(1, status="RESOLVED"),
    "what cleared is gone": small(1, status="CLEARED"),
    "what follows from something else waits for that": small(1, explained_by=["x"]),
    "what is pending is waited for": small(1, split=[SplitPart("pending", "0.1"), SplitPart("unexplained", "0.4")]),
    "a side that contradicts itself is no matter of the books": small(1, compared="exchange:parts"),
    "what the exchange says of itself is no matter of the books": small(1, compared="exchange:own"),
    "what the books say of themselves is a person's": small(1, compared="internal:own"),
    "two fields at once are a person's": small(
        1, fields=[FieldDifference("delta", "1", "2", "-1"), FieldDifference("total", "1", "2", "-1")]
    ),
    "no field is nothing to move": small(1, fields=[]),
    "nothing is nothing to move": small(1, venue="1000"),
    "words are no amount": small(1, fields=[FieldDifference("total", "a", "b")]),
    "where one side has none there is nothing to correct": small(1, fields=[FieldDifference("total", None, "2")]),
    "a price is no amount of anything": of(
        "fill_mismatch", "trade", 1, severity="info", instrument="BTCUSDT", cause="",
        fields=[FieldDifference("price", "1", "1.001", "-0.001")],
    ),
    "a window of delta is told, and mended where it comes from": of(
        "net_change_mismatch", "net_change", 1, severity="info", instrument="BTCUSDT", cause="",
        fields=[FieldDifference("qty", "1", "1.001", "-0.001")], residual="0.001",
    ),
    "without a name it is not known what it is of": small(1, asset=None),
    "of what has no budget nothing is corrected": small(1, asset="DOGE"),
}  # fmt: skip


@pytest.mark.parametrize("why", NOT_BY_ITSELF)
def test_everything_else_is_left(why: str) -> None:
    assert choose([NOT_BY_ITSELF[why]], PLENTY, History(), ON) == []


def test_of_the_critical_ones_none_is_corrected() -> None:
    assert choose(BREAKS, PLENTY, History(), ON) == []
    assert {kind for kind, _ in CORRECTED} <= {alert.kind for alert in BREAKS}


def test_a_part_that_is_pending_by_nothing_is_waited_for_by_nobody() -> None:
    made = corrected(small(1, split=[SplitPart("pending", "0"), SplitPart("unexplained", "0.5")]))
    assert made.amount == "0.5"


def test_the_day_is_that_of_the_cut() -> None:
    assert day_of(1_764_000_000_000_000) == "2025-11-24"
    assert day_of(1_764_028_799_999_999) == "2025-11-24"
    assert day_of(1_764_028_800_000_000) == "2025-11-25"


# -- what it comes to -------------------------------------------------------------------------------------------------


def test_what_was_corrected_is_settled_while_it_is_the_same_in_substance() -> None:
    found = small(1)
    history = History([corrected(found)])
    assert absolved(found, history.standing())
    again = structs.replace(found, version=5, strategy="full", severity="warning", event_us=9, cause="other words")
    assert same_in_substance(found, again)
    assert absolved(again, history.standing())
    changed = small(1, venue="1000.6")
    assert not absolved(changed, history.standing())
    assert not absolved(small(2), history.standing())
    assert not absolved(found, History().standing())


def test_the_digest_of_substance_says_what_same_in_substance_says() -> None:
    some = [*BREAKS, small(1), small(1, venue="1000.6"), small(1, residual=None)]
    some.append(structs.replace(BREAKS[0], evidence=[fill("exchange", 1, exec="bust")]))
    some.append(structs.replace(BREAKS[0], evidence=[fill("exchange", 99), fill("exchange", 98)]))
    for one in some:
        for other in some:
            assert (substance_digest(one) == substance_digest(other)) == same_in_substance(one, other)
        sent = msgspec.json.decode(msgspec.json.encode(one), type=Discrepancy)
        assert substance_digest(sent) == substance_digest(one)


def test_what_changes_is_corrected_anew_in_place_of_what_was() -> None:
    first = corrected(small(1))
    history = History([first])
    second = corrected(small(1, venue="1000.6"), history)
    assert (second.amount, second.replaces) == ("0.6", first.correction_id)
    assert second.correction_id != first.correction_id
    history.add(second)
    assert history.standing() == {first.alert_id: second}
    assert history.spent == {("USDT", DAY): Decimal("1.1")}
    taken_back = undo(second.correction_id, history, "renee")
    assert isinstance(taken_back, Correction)
    history.add(taken_back)
    assert history.standing() == {first.alert_id: first}


def test_an_undo_makes_it_count_again_and_leaves_it_to_a_person() -> None:
    found = small(1)
    made = corrected(found)
    history = History([made])
    back = undo(made.correction_id, history, "bob")
    assert isinstance(back, Correction)
    assert (back.amount, back.reverses, back.by, back.alert_id) == ("-0.5", made.correction_id, "bob", made.alert_id)
    history.add(back)
    assert not absolved(found, history.standing())
    assert choose([found], PLENTY, history, ON) == []
    assert history.spent == {("USDT", DAY): Decimal("0.5")}
    assert corrected(small(1, venue="1000.7"), history).replaces is None
    again = undo(made.correction_id, history, "bob")
    assert isinstance(again, NotUndone)
    assert again.reason == "undone_before"
    for other in ("nonsense", back.correction_id):
        refused = undo(other, history, "bob")
        assert isinstance(refused, NotUndone)
        assert (refused.reason, other in refused.detail) == ("unknown_correction", True)


def test_a_dry_run_settles_nothing_and_costs_nothing() -> None:
    found = small(1)
    (dry,) = choose([found], PLENTY, History(), Terms("run-0", DAY, "renee"))
    assert dry.dry_run
    history = History([dry])
    assert not absolved(found, history.standing())
    assert history.spent == {}
    assert isinstance(undo(dry.correction_id, history, "renee"), NotUndone)
    made = corrected(found, history)
    assert made == structs.replace(dry, run_id="run-1", dry_run=False)


def test_the_budget_is_given_out_in_the_order_of_ids() -> None:
    found = [small(number, venue=f"100{number}") for number in (1, 2, 3)]
    found.sort(key=lambda each: each.alert_id)
    assert [each.alert_id[:1] for each in found] == ["1", "2", "3"]
    for order in permutations(found):
        made = choose(order, {"USDT": Decimal(4)}, History(), ON)
        assert [each.amount for each in made] == ["1", "2"]
    left = choose(found, {"USDT": Decimal("5.99")}, History(made), ON)
    assert left == []
    assert [each.amount for each in choose(found, {"USDT": Decimal(6)}, History(made), ON)] == ["3"]


def test_what_does_not_fit_is_left_and_what_fits_after_it_is_not() -> None:
    found = [small(1, venue="1003"), small(2, venue="1001")]
    assert [each.amount for each in choose(found, {"USDT": Decimal(2)}, History(), ON)] == ["1"]


def test_the_budget_is_of_one_day() -> None:
    history = History([corrected(small(1))])
    budget = {"USDT": Decimal("0.5")}
    assert choose([small(2)], budget, history, ON) == []
    assert len(choose([small(2)], budget, history, ON._replace(day="2026-02-01"))) == 1


def test_a_correction_is_read_as_it_was_written() -> None:
    made = corrected(small(1))
    assert msgspec.json.decode(msgspec.json.encode(made), type=Correction) == made


# -- whatever happens -------------------------------------------------------------------------------------------------

BUDGET = {"USDT": Decimal(3), "BNB": Decimal("0.5")}
SMALL = st.builds(
    small,
    st.integers(1, 6),
    asset=st.sampled_from(["USDT", "BNB", "DOGE"]),
    venue=st.integers(9_970, 10_030).map(lambda tenths: str(Decimal(tenths) / 10)),
    severity=st.sampled_from(["info", "info", "info", "warning"]),
)
FOUND = st.lists(SMALL, max_size=6, unique_by=lambda each: each.alert_id)
RUNS = st.lists(
    st.tuples(
        FOUND,
        st.builds(
            Terms, st.sampled_from("abc"), st.sampled_from(["2026-01-30", DAY]), st.just("renee"), st.booleans()
        ),
        st.randoms(use_true_random=False),
    ),
    max_size=6,
)  # fmt: skip


def moved(log: Iterable[Correction]) -> Mapping[tuple[str, str], Decimal]:
    """What a log says was moved by runs, counted naively: each id once."""
    found: dict[tuple[str, str], Decimal] = {}
    for each in {each.correction_id: each for each in log if not each.dry_run and each.reverses is None}.values():
        found[unit_of(each), each.day] = found.get((unit_of(each), each.day), Decimal(0)) + abs(Decimal(each.amount))
    return found


def some(chosen: Sequence[Any], random: Any) -> list[Any]:
    """What of it was written before a crash: any of it, in any order, some twice."""
    kept = [each for each in chosen if random.random() < 0.6]
    random.shuffle(kept)
    return kept + kept[: random.randrange(2)]


@given(RUNS)
def test_no_order_of_runs_crashes_and_undos_spends_more_than_the_budget(runs: list[Any]) -> None:
    log: list[Correction] = []
    for found, terms, random in runs:
        chosen = choose(found, BUDGET, History(log), terms)
        written = some(chosen, random)
        log += written
        rest = choose(found, BUDGET, History(log), terms)
        if terms.dry_run:
            assert rest == chosen
        else:
            assert [each for each in chosen if each not in written] == rest
        log += rest
        for key, amount in moved(log).items():
            assert amount <= BUDGET[key[0]]
        if not terms.dry_run:
            assert choose(found, BUDGET, History(log), terms) == []
            standing = History(log).standing()
            assert all(absolved(each, standing) for each in found if each.alert_id in {c.alert_id for c in chosen})
        if log and random.random() < 0.3:
            back = undo(random.choice(log).correction_id, History(log), "bob")
            if isinstance(back, Correction):
                log.append(back)
    history = History(log)
    assert history.spent == moved(log)


@given(FOUND)
def test_to_undo_everything_is_to_be_where_one_was(found: list[Discrepancy]) -> None:
    chosen = choose(found, BUDGET, History(), ON)
    history = History(chosen)
    assert {each.alert_id for each in found if absolved(each, history.standing())} == {c.alert_id for c in chosen}
    total = Decimal(0)
    for made in chosen:
        back = undo(made.correction_id, history, "bob")
        assert isinstance(back, Correction)
        history.add(back)
        total += Decimal(made.amount) + Decimal(back.amount)
    assert total == 0
    assert history.standing() == {}


@given(FOUND, st.randoms(use_true_random=False))
def test_what_is_read_in_another_order_or_twice_comes_to_the_same(found: list[Discrepancy], random: Any) -> None:
    """Of each alert there is one here: of two, the log of its partition has the order."""
    log = choose(found, PLENTY, History(), ON)
    for made in list(log):
        back = undo(made.correction_id, History(log), "bob")
        if random.random() < 0.5 and isinstance(back, Correction):
            log.append(back)
    shuffled = log + log[:2]
    random.shuffle(shuffled)
    one, other = History(log), History(shuffled)
    assert (one.made, one.undone, one.spent, one.standing()) == (
        other.made,
        other.undone,
        other.spent,
        other.standing(),
    )
