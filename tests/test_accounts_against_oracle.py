"""The core argues with the oracle of accounts: drawn worlds, interleavings, batches, late records and restarts."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_recon.core import books, sights, states, tracks
from stream_recon.core.account_book import AccountBook
from stream_recon.core.conditions import Numbering
from stream_recon.core.movements import ZERO
from stream_recon.core.orders import Orders
from stream_recon.core.promises import Promises
from stream_recon.core.sights import Axis
from tests.account_worlds import (
    LATER,
    ONE_SIDED,
    SECOND,
    THEMES,
    argue,
    argue_all,
    argue_from_snapshots,
    read,
    schedule,
    world,
)
from tests.oracles.accounts import truth
from tests.oracles.argument import Reader
from tests.oracles.worlds import balance, promises

if TYPE_CHECKING:
    from decimal import Decimal

    from tests.account_worlds import Logs

SEEDS = range(150)


@pytest.mark.parametrize("theme", [*THEMES, ONE_SIDED])
def test_accounts_end_as_the_oracle_says(theme: str) -> None:
    argue_all(SEEDS, theme)


@settings(max_examples=300, deadline=None)
@given(st.randoms(use_true_random=False))
def test_any_account_ends_as_the_oracle_says(rng: random.Random) -> None:
    argue(rng)


@pytest.mark.parametrize(
    ("theme", "seed"),
    [
        ("positions", 38),  # what complete snapshots prove, before anything is judged by it
        ("positions", 62),  # anchors to busts of busts
        ("positions", 87),  # evidence after a restart
        ("positions", 116),  # an anchor to a fill that only the other side has
        ("positions", 1650),  # a complete snapshot of which nothing came
        ("orders", 13),  # classes that are heard of late, across restarts
        ("orders", 18),  # orders that only fills told of before anybody sent orders
        ("orders", 35),  # copies of updates
        ("orders", 60),  # causes that cleared, after a restart
        ("orders", 77),  # evidence that changed, and nothing else
        ("orders", 936),  # fills judged by a heartbeat explain orders at once
        ("orders", 8212),  # busts of busts that come out of order, beside a hole in the numbers
        ("orders", 101678),  # a cause that comes to another amount than it did
        ("orders", 201555),  # a record that its feed had overtaken when its order was due
        ("positions", 300104),  # what moved until the rest came, and then had not
        ("positions", 300838),  # patience with a first snapshot, when a feed is heard for the first time
        ("balances", 301900),  # parts of balances, when a feed is heard for the first time
        ("positions", 101174),  # what is told again of the moment of a fill, after something else of that moment
        ("ledger", 28),  # the first record after a restart
        ("ledger", 99),  # holes in numbers that lie on several topics
        ("balances", 31),  # which of several doubts is told
        ("balances", 87),  # anchors to fills that come late
        ("balances", 248),  # a missing fill that was parked, across a snapshot of state
        ("balances", 320),  # classes first heard when all else has gone on
        ("balances", 576),  # movements of one side only
        ("balances", 997),  # the first movement of the second side
        ("balances", 1252),  # a hole that is found after a fill was missed
        ("balances", 1439),  # a zero told by both sides of a key that is new
        ("mixed", 174),  # a copy of a snapshot that is not the last of its time
        ("mixed", 233),  # just after one fill and just before the next
        ("mixed", 384),  # parked in one record of state, open in the next
        ("mixed", 474),  # copies of busts
        ("mixed", 738),  # two complete snapshots of one time
        ("mixed", 1430),  # a cause whose case goes on
        ("mixed", 2951),  # both sides' snapshots anchored to the same moment
        ("mixed", 400474),  # a hole that a slower topic may fill yet, when all is judged again
        ("mixed", 401120),  # older parts of balances, when a feed is heard for the first time
        ("mixed", 100228),  # twins of a ledger that lie as far apart as they may
        ("mixed", 100700),  # an order whose newest record is not due, when all is judged again
    ],
)
def test_what_failed_once_agrees(theme: str, seed: int) -> None:
    argue_all([seed], theme)


def test_a_zero_that_a_snapshot_proves_is_held_against_the_other_side_when_its_time_has_come() -> None:
    argue_all([1168])


@pytest.mark.parametrize("seed", [262, 365, 397])
def test_a_contradicted_entry_outlives_the_horizon(seed: int) -> None:
    rng = random.Random(seed)
    one = world(rng, "ledger")
    found = read(one, schedule(rng, one), horizon_us=rng.choice((7, 20)) * SECOND)
    assert any(alert.kind == "duplicate_conflict" for alert in found.standing())


@pytest.mark.parametrize(
    ("theme", "seed"),
    [
        ("positions", 27),  # of copies of a fill, the first is the one that snapshots are anchored to
        ("positions", 172),
        ("positions", 373),
        ("positions", 1220),  # an account that has told of nothing but that it has nothing
        ("mixed", 128),
        ("mixed", 142),
        ("mixed", 375),
        ("mixed", 301238),  # a zero that a complete snapshot proves, judged at the time of another snapshot
        ("mixed", 101755),  # parts of a balance that are due, when a newer one is not
        ("mixed", 201780),  # a snapshot tied to a fill that is older than it, and comes after it
        ("balances", 2305),  # what was concluded beyond the time that a feed has reached which speaks only now
        ("ledger", 64),  # copies that contradict each other, not judged yet, of an entry that is paired
    ],
)
def test_what_failed_once_from_snapshots_of_state_agrees(theme: str, seed: int) -> None:
    argue_all([seed], theme, argue_from_snapshots)


@pytest.mark.parametrize("theme", [*THEMES, ONE_SIDED])
def test_lanes_that_know_nothing_but_snapshots_of_state_end_as_the_oracle_says(theme: str) -> None:
    argue_all(range(100), theme, argue_from_snapshots)


def test_parts_that_do_not_add_up_are_told_though_newer_balances_keep_coming() -> None:
    told = [balance("exchange", at_s, "3", free="1", locked="1") for at_s in range(60)]
    logs: Logs = {("exchange", "balances"): [(LATER, event) for event in told]}
    reader = Reader(logs, promises(fills="absent", orders="absent", positions="absent", ledger="absent",
                                   internal={"balances": "absent"}), {})  # fmt: skip
    reader.read(("exchange", "balances"), 50)
    reader.drain()
    assert [alert.compared for alert in reader.standing()] == ["exchange:parts"]


# -- the harness bites -----------------------------------------------------------------------------------------------


class Blind(NamedTuple):
    """A rule of the core that is taken away."""

    theme: str
    module: Any
    name: str
    instead: Any


def strictly(axis: Axis, ts_us: int, _: int) -> set[Decimal]:
    """What had moved by that time, and nothing near it."""
    return {axis.by(ts_us)}


def never_late(_: AccountBook, __: str, ___: Any, ____: int) -> int:
    """What moves before what was judged changes nothing."""
    return -1


def nothing(*_: Any, **__: Any) -> None:
    """Not done."""


def no(*_: Any, **__: Any) -> bool:
    """Never."""
    return False


def exactly(_: Promises, __: str, ___: str) -> Decimal:
    """Without tolerance."""
    return ZERO


def unrounded(_: Decimal, __: int | None) -> Decimal:
    """As if all digits were kept."""
    return ZERO


def unmerged(book: Orders, instrument: str, order_id: str | None, client_id: str | None) -> tuple[str, str]:
    """An order by the name it has just now."""
    del book
    return instrument, order_id or client_id or ""


def only_the_next(numbering: Numbering, number: int, _: str | None, ts_us: int, __: int) -> bool:
    """A numbering that never misses any."""
    numbering.next, numbering.newest_us = number + 1, ts_us
    return False


@pytest.mark.parametrize(
    "blind",
    [
        Blind("positions", Axis, "around", strictly),
        Blind("positions", AccountBook, "moved", never_late),
        Blind("positions", AccountBook, "step_back", nothing),
        Blind("positions", books.Books, "_catch_up", nothing),
        Blind("positions", tracks.Track, "restart", nothing),
        Blind("positions", states, "rounding", unrounded),
        Blind("positions", states.States, "_doubt_opening", nothing),
        Blind("positions", sights.Run, "allows_none", no),
        Blind("positions", Promises, "tolerance", exactly),
        Blind("balances", states, "untold", nothing),
        Blind("balances", Numbering, "see", only_the_next),
        Blind("mixed", books.Books, "doubt", nothing),
        Blind("orders", Orders, "_key", unmerged),
        Blind("orders", AccountBook, "_affected", nothing),
        Blind(ONE_SIDED, books.Books, "_give_cause", nothing),
        Blind("ledger", Promises, "tolerance", exactly),
        Blind("balances", states.States, "entry", no),
    ],
    ids=lambda blind: f"{blind.theme}-{blind.name}",
)
def test_the_harness_bites_a_core_without(blind: Blind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blind.module, blind.name, blind.instead)
    with pytest.raises(AssertionError, match="seed"):
        argue_all(range(2000), blind.theme)


def test_what_was_not_written_down_is_unknown_after_a_restart_and_never_a_break() -> None:
    """While nobody sends what fills could be held against, the newest are kept, and only as long as a worker lives."""
    for seed in range(150):
        rng = random.Random(seed)
        one = world(rng, "positions")
        expected = truth(one.logs, one.contracts, one.instruments)
        reader = read(one, schedule(rng, one), idle_fills_kept=1)
        may_break = {(each.account, *each.subject[:1]) for each in expected.breaks}
        may_break |= {(each.account, *each.subject[:1]) for each in expected.unknown}
        for alert in reader.standing():
            if alert.identity == "position":
                assert (alert.account, alert.instrument) in may_break, f"seed {seed}: {alert}"
