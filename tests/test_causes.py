"""What follows from what: one alert for one cause, and residuals whose parts add up."""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from stream_recon.core.lane import Batch, Lane
from stream_recon.core.memory import Changes
from stream_recon.core.trades import Rules
from stream_recon.domain.decode import decode_pack
from stream_recon.domain.discrepancies import Discrepancy, FeedCondition, FieldDifference
from stream_recon.domain.events import ORIGINS
from stream_recon.domain.instruments import Instruments
from tests.oracles.worlds import INSTRUMENTS, SECOND, STREAM_OF, STREAMS, T, balance, fill, ledger, order, position
from tests.oracles.worlds import promises as contracts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stream_recon.domain.contracts import Contracts
    from stream_recon.domain.events import Origin, Side, Stream
    from tests.oracles.movements import Event

NOW = T + 10**12


class Desk:
    """One account's lane, and what it published."""

    def __init__(self, promised: Contracts | None = None, horizon_us: int = 3600 * SECOND) -> None:
        rules = Rules(instruments=Instruments.model_validate(INSTRUMENTS), window_us=0, horizon_us=horizon_us)
        self.begin = partial(Lane, 0, promised or contracts(grace_us=5 * SECOND), rules)
        self.lane = self.begin()
        self.changes: list[bytes] = []
        self.published: list[Any] = []
        self.offset = 0

    def hear(self, *events: Event) -> None:
        """Events, each to the topic of its origin."""
        for event in events:
            stream = STREAM_OF.get(event["type"], "balances")
            value = msgspec.json.encode(event)
            decoded = decode_pack([value], None, None, event["origin"], stream)
            self.lane.step(Batch(event["origin"], stream, f"{stream}", [self.offset], [NOW], [value], decoded))
            self.offset += 1
        self.drain()

    def pass_by(self, at_s: float, streams: Iterable[Stream] = STREAMS) -> None:
        """All feeds of these topics have delivered everything up to that second."""
        for origin in ORIGINS:
            for stream in streams:
                beat = {"type": "heartbeat", "origin": origin, "source": f"{origin}|venue",
                        "through_us": T + int(at_s * SECOND)}  # fmt: skip
                value = msgspec.json.encode(beat)
                decoded = decode_pack([value], None, None, origin, stream)
                self.lane.step(Batch(origin, stream, stream, [self.offset], [NOW], [value], decoded))
                self.offset += 1
        self.drain()

    def drain(self) -> None:
        """Take out what follows, and write down what was read."""
        drained = self.lane.drain()
        self.published += [entry.alert for entry in drained.published]
        self.changes.append(msgspec.msgpack.encode(drained.changes))

    def restart(self) -> None:
        """Go on with what was written down."""
        self.lane = self.begin()
        for changes in self.changes:
            self.lane.restore(msgspec.msgpack.decode(changes, type=Changes))

    def newest(self, **names: str) -> list[Discrepancy]:
        """The newest states of discrepancies with these fields."""
        states = {alert.alert_id: alert for alert in self.published if isinstance(alert, Discrepancy)}
        return [alert for alert in states.values() if all(getattr(alert, name) == said for name, said in names.items())]


def both(made: Any, *args: Any, **more: Any) -> list[Event]:
    """The same event of both origins."""
    return [made(origin, *args, **more) for origin in ORIGINS]


def a_day_with_a_missing_fill() -> Desk:
    """The exchange tells a fill, a position and a balance that our books know nothing of."""
    desk = Desk()
    desk.hear(
        *both(ledger, "d", -20, "100"), *both(order, 0, "open", "0"), *both(position, 0, "0"), *both(balance, 0, "100"),
        fill("exchange", "t1", 10, "4", fee="1", realized_pnl="3"),
        order("exchange", 10, "partially_filled", "4"), order("internal", 10, "open", "0"),
        position("internal", 20, "0"), position("exchange", 20, "4"),
        balance("internal", 20, "100"), balance("exchange", 20, "102"),
    )  # fmt: skip
    desk.pass_by(100)
    return desk


def test_one_missing_fill_is_one_alert_and_what_follows_from_it_names_it() -> None:
    desk = a_day_with_a_missing_fill()
    (missing,) = desk.newest(kind="missing_internal")
    assert (missing.status, missing.notify, missing.explained_by) == ("OPEN", True, [])
    effects = [alert for alert in desk.newest(status="OPEN") if alert is not missing]
    assert {(alert.kind, alert.compared) for alert in effects} == {
        ("order_mismatch", "internal:exchange"),
        ("position_mismatch", "exchange:cross"),
        ("position_mismatch", "internal:exchange"),
        ("balance_mismatch", "exchange:cross"),
        ("balance_mismatch", "internal:exchange"),
    }
    for alert in effects:
        assert (alert.explained_by, alert.notify) == ([missing.alert_id], False), alert
    first = next(n for n, alert in enumerate(desk.published) if isinstance(alert, Discrepancy))
    assert desk.published[first].alert_id == missing.alert_id  # the cause comes first


def test_the_parts_of_a_residual_add_up() -> None:
    desk = a_day_with_a_missing_fill()
    (cross,) = desk.newest(kind="balance_mismatch", compared="exchange:cross")
    assert cross.residual == "2"
    assert [(part.name, part.amount) for part in cross.split] == [("known_causes", "3"), ("fees", "-1")]
    for alert in desk.newest():
        if alert.split:
            assert sum(Decimal(part.amount) for part in alert.split) == Decimal(alert.residual or 0)


def test_what_a_cause_does_not_account_for_is_left_and_paged() -> None:
    desk = Desk()
    desk.hear(
        *both(position, 0, "0"), fill("exchange", "t1", 10, "4"), position("internal", 20, "0"),
        position("exchange", 20, "9"),
    )  # fmt: skip
    desk.pass_by(100)
    (missing,) = desk.newest(kind="missing_internal")
    (cross,) = desk.newest(kind="position_mismatch", compared="exchange:cross")
    assert [(part.name, part.amount, part.causes) for part in cross.split] == [
        ("known_causes", "4", [missing.alert_id]),
        ("unexplained", "5", []),
    ]
    assert (cross.explained_by, cross.notify) == ([missing.alert_id], True)


def test_a_cause_that_goes_updates_what_it_explained() -> None:
    desk = a_day_with_a_missing_fill()
    desk.hear(fill("internal", "t1", 10, "4", fee="1", realized_pnl="3"))  # far too late
    (missing,) = desk.newest(kind="missing_internal")
    (cross,) = desk.newest(kind="position_mismatch", compared="exchange:cross")
    (equal,) = desk.newest(kind="position_mismatch", compared="internal:exchange")
    assert (missing.status, missing.late) == ("CLEARED", True)
    assert (cross.status, cross.late) == ("CLEARED", True)  # our fills explain it now
    # Our own snapshot still lacks what our fills say: from that it follows now that the two states differ.
    (own,) = desk.newest(kind="position_mismatch", compared="internal:own")
    assert (own.status, own.explained_by, own.notify) == ("OPEN", [], True)
    assert (equal.status, equal.transition, equal.explained_by) == ("OPEN", "UPDATED", [own.alert_id])


def test_one_difference_seen_by_several_comparisons_is_paged_once() -> None:
    desk = Desk()
    desk.hear(*both(position, 0, "0"), position("internal", 20, "0"), position("exchange", 20, "5"))
    desk.pass_by(100)
    alerts = desk.newest(kind="position_mismatch", status="OPEN")
    assert len(alerts) > 1
    (root,) = [alert for alert in alerts if alert.notify]
    assert all(alert.explained_by == [root.alert_id] for alert in alerts if alert is not root)


def test_an_unseen_deposit_explains_the_balances_that_lack_it() -> None:
    desk = Desk()
    desk.hear(
        *both(balance, 0, "0"), ledger("exchange", "d1", 10, "50"), balance("internal", 20, "0"),
        balance("exchange", 20, "50"),
    )  # fmt: skip
    desk.pass_by(100)
    (missing,) = desk.newest(kind="ledger_missing")
    assert (missing.asset, missing.ledger_id, missing.severity) == ("USD", "d1", "critical")
    effects = desk.newest(kind="balance_mismatch")
    assert {alert.compared for alert in effects} == {"exchange:cross", "internal:exchange"}
    assert all(alert.explained_by == [missing.alert_id] and not alert.notify for alert in effects)


def test_what_cannot_be_known_of_accounts_is_one_condition_by_reason() -> None:
    desk = Desk(contracts(grace_us=5 * SECOND, fills="partial"))
    events = []
    for n in range(3):
        named = {"account_id": f"a{n}"}
        events += [position("exchange", 0, "0", **named), position("exchange", 20, "5", **named)]
    desk.hear(*events)
    desk.pass_by(100)
    said = [alert for alert in desk.published if isinstance(alert, FeedCondition) and alert.reason == "PARTIAL"]
    assert {(alert.origin, alert.stream) for alert in said} == {("internal", "fills"), ("exchange", "fills")}
    assert next(alert.transition for alert in said if alert.origin == "internal") == "OPENED"
    assert not desk.newest(kind="position_mismatch")


def test_states_of_both_that_agree_again_clear_what_differed() -> None:
    desk = Desk()
    desk.hear(*both(balance, 0, "1000"), balance("internal", 20, "1000"), balance("exchange", 20, "1500"))
    desk.pass_by(50)
    (differs,) = desk.newest(compared="internal:exchange", kind="balance_mismatch")
    assert [(field.internal, field.exchange) for field in differs.fields] == [("1000", "1500")]  # as they were reported
    assert {str(told.record["total"]) for told in differs.evidence} == {"1000", "1500"}
    desk.hear(balance("internal", 60, "1000"), balance("exchange", 60, "1000"))
    desk.pass_by(100)
    (differs,) = desk.newest(compared="internal:exchange", kind="balance_mismatch")
    assert (differs.status, differs.late) == ("CLEARED", False)


def test_no_position_of_a_spot_instrument_is_owed() -> None:
    desk = Desk()
    desk.hear(*both(fill, "t1", 1, "2", instrument="BTC-USD"), *both(fill, "t2", 1, "2"))
    desk.pass_by(1000)
    said = [alert for alert in desk.published if isinstance(alert, FeedCondition) and alert.stream == "balances"]
    assert {alert.reason for alert in said} == {"LOOKBACK_TRUNCATED"}
    assert not any("BTC-USD net" in alert.cause for alert in said)


def test_a_copy_of_a_snapshot_says_nothing_new() -> None:
    desk = a_day_with_a_missing_fill()
    desk.published.clear()
    desk.hear(position("exchange", 20, "4"), balance("exchange", 20, "102"))
    desk.pass_by(200)
    assert desk.published == []


def a_residual_that_outlives_the_horizon(*, restarts: bool = False) -> Desk:
    """The exchange's position is one more than all fills explain, from 300 s on and for long."""
    desk = Desk(horizon_us=60 * SECOND)
    for n in range(60):
        at_s, extra = 10 * n, 1 if n >= 30 else 0
        desk.hear(
            *both(fill, f"t{n}", at_s + 3, "1", realized_pnl="2"), *both(ledger, f"d{n}", at_s + 3, "5"),
            position("internal", at_s + 6, f"{n + 1}"), position("exchange", at_s + 6, f"{n + 1 + extra}"),
            ledger("internal", f"a{n}", at_s + 4, "1"), ledger("exchange", f"b{n}", at_s + 4, "1", ref_id=f"a{n}"),
            *both(balance, at_s + 6, f"{8 * n + 8}"),
        )  # fmt: skip
        desk.pass_by(at_s + 9)
        if restarts and n % 7 == 0:
            desk.restart()
    return desk


def test_what_is_summed_up_beyond_the_horizon_still_counts() -> None:
    desk = a_residual_that_outlives_the_horizon()
    (account,) = desk.lane.directory.accounts.values()
    assert account.book is not None
    axes = [axis for of_kind in account.book.states.axes.values() for axis in of_kind.values()]
    assert len(axes) == 6
    assert all(len(axis.marks) < 20 for axis in axes)
    entries = account.book.entries
    assert all(len(kept) < 20 for kept in (entries.paired, *entries.left))
    told = [(a.identity, a.compared, a.residual, a.version) for a in desk.newest() if a.compared.startswith("exchange")]
    assert sorted(told) == [("position", "exchange:cross", "1", 1), ("position", "exchange:own", "1", 1)]
    assert desk.newest(identity="balance") == []


@pytest.mark.parametrize("restarts", [False, True])
def test_a_difference_of_both_sides_that_stays_is_told_once_however_long(*, restarts: bool) -> None:
    desk = a_residual_that_outlives_the_horizon(restarts=restarts)
    (differs,) = desk.newest(compared="internal:exchange")
    assert (differs.status, differs.residual, differs.version) == ("OPEN", "1", 1)


@pytest.mark.parametrize("restarts", [False, True])
def test_a_difference_of_both_sides_beyond_the_horizon_clears_when_they_agree_again(*, restarts: bool) -> None:
    desk = a_residual_that_outlives_the_horizon(restarts=restarts)
    for n in range(60, 64):
        at_s = 10 * n
        desk.hear(position("internal", at_s + 6, "60"), position("exchange", at_s + 6, "60"))
        desk.pass_by(at_s + 9)
    (differed,) = desk.newest(compared="internal:exchange")
    assert differed.status == "CLEARED"


def test_a_snapshot_of_what_is_summed_up_is_not_judged_and_said_to_be_too_old() -> None:
    desk = a_residual_that_outlives_the_horizon()
    own = {alert.alert_id for alert in desk.newest(compared="internal:own")}
    desk.hear(position("internal", 30, "9"))
    desk.pass_by(700)
    said = {(a.reason, a.origin, a.stream) for a in desk.published if isinstance(a, FeedCondition)}
    assert ("LATE_BEYOND_HORIZON", "internal", "balances") in said
    assert {alert.alert_id for alert in desk.newest(compared="internal:own")} == own


# -- where one side sends no fills, an order tells of them ------------------------------------------------------------

ABSENT = dict.fromkeys(("orders", "positions", "balances"), "absent")
LONE = {"internal": ABSENT, "exchange": {"fills": "absent"}}
"""The exchange sends all but fills, we nothing but fills and ledger."""
BOTH = {"exchange": {"fills": "absent"}}
"""We send everything."""
MIRRORED = {"internal": {"fills": "absent"}, "exchange": {"orders": "absent"}}
"""We send all but fills, the exchange sends its fills."""
OURS = {"internal": {"positions": "absent"}, "exchange": {"fills": "absent", "orders": "absent"}}
"""Only we tell of orders."""
SPOT: dict[str, Any] = {"instrument": "BTC-USD"}


def desk_without_fills(*events: Event, said: dict[str, Any] = LONE, until_s: float = 100) -> Desk:
    """A desk of which one side sends no fills, that heard these events."""
    desk = Desk(contracts(grace_us=5 * SECOND, **said))
    desk.hear(*both(ledger, "d", -20, "100"), *events)
    desk.pass_by(until_s)
    return desk


def says(alert: Discrepancy) -> tuple[bool, list[str], list[tuple[str, str]]]:
    """Whether it is paged, what explains it, and its parts."""
    return alert.notify, alert.explained_by, [(part.name, part.amount) for part in alert.split]


def an_order(
    at_s: float, cum: str, ended_s: float | None = None, origin: Origin = "exchange", **more: Any
) -> list[Event]:
    """An order that is opened, and filled so far."""
    ended = at_s if ended_s is None else ended_s
    return [order(origin, at_s, "open", "0", **more), order(origin, ended, "partially_filled", cum, **more)]


def positions(*seen: tuple[float, str], origin: Origin = "exchange", **more: Any) -> list[Event]:
    """Positions as they were reported."""
    return [position(origin, at_s, qty, **more) for at_s, qty in seen]


def t(origin: Origin, at_s: float, qty: str, **more: Any) -> Event:
    """A fill named by its time."""
    return fill(origin, f"t{at_s}", at_s, qty, **more)


LACKING = [
    pytest.param(LONE, [*an_order(10, "4"), *positions((0, "0"), (20, "4"))], "4", id="we lack it"),
    pytest.param(
        LONE, [*an_order(10, "4", side="sell"), *positions((0, "0"), (20, "-4"))], "-4", id="we lack a sale"
    ),
    pytest.param(
        LONE, [*an_order(10, "4"), t("internal", 10, "6"), *positions((0, "0"), (20, "4"))], "-2", id="we have too many"
    ),
    pytest.param(
        LONE, [*an_order(10, "4", side="sell"), t("internal", 10, "-6"), *positions((0, "0"), (20, "-4"))], "2",
        id="we have too many sales",
    ),
    pytest.param(
        LONE,
        [*an_order(5, "3", 10), order("exchange", 12, "filled", "10"), order("exchange", 13, "filled", "10"),
         t("internal", 10, "3"), t("internal", 12, "5"), *positions((0, "0"), (20, "10"))],
        "2", id="of an order with several updates",
    ),
    pytest.param(
        LONE,
        [*an_order(2, "9", 42), t("internal", 30, "5"), *positions((0, "0"), (20, "0"), (40, "9"), (41, "9"))], "4",
        id="of an order that rests through several intervals",
    ),
    pytest.param(
        BOTH,
        [*an_order(10, "4"), order("internal", 10, "open", "0"), *positions((0, "0"), (20, "4")),
         *positions((0, "0"), (20, "0"), origin="internal")],
        "4", id="our orders and positions lack it too",
    ),
    pytest.param(
        BOTH,
        [*an_order(10, "4"), *an_order(10, "4", origin="internal"), *positions((0, "0"), (20, "4")),
         *positions((0, "0"), (20, "4"), origin="internal")],
        "4", id="only our fills lack it",
    ),
    pytest.param(
        MIRRORED,
        [*an_order(10, "4", origin="internal"), *positions((0, "0"), (20, "0")),
         *positions((0, "0"), (20, "4"), origin="internal")],
        "4", id="the exchange lacks it, and we send no fills",
    ),
    pytest.param(
        MIRRORED,
        [*an_order(10, "4", origin="internal"), t("exchange", 10, "6"), *positions((0, "0"), (20, "6")),
         *positions((0, "0"), (20, "4"), origin="internal")],
        "-2", id="the exchange has too many, and we send no fills",
    ),
    pytest.param(
        OURS, [*an_order(10, "4", origin="internal"), *positions((0, "0"), (20, "4"))], "4", id="only we tell of orders"
    ),
]  # fmt: skip


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize(("said", "events", "residual"), LACKING)
def test_a_fill_that_only_its_order_tells_is_one_alert(
    said: dict[str, Any], events: list[Event], residual: str, *, restarts: bool
) -> None:
    desk = desk_without_fills(*events, said=said)
    (cause,) = [alert for alert in desk.newest(status="OPEN") if alert.notify]
    assert (cause.kind, cause.explained_by) == ("order_mismatch", [])
    assert next(each for each in desk.published if isinstance(each, Discrepancy)).alert_id == cause.alert_id
    effects = desk.newest(kind="position_mismatch")
    assert effects
    for alert in effects:
        apart = alert.compared == "internal:exchange" and said is MIRRORED
        amount = str(-int(residual)) if apart else residual
        assert says(alert) == (False, [cause.alert_id], [("known_causes", amount)]), alert
    if restarts:
        before = len(desk.published)
        desk.restart()
        desk.pass_by(200)
        assert len(desk.published) == before


@pytest.mark.parametrize(("side", "other"), [("buy", "sell"), ("sell", "buy")])
def test_a_fill_on_the_other_side_than_its_order_is_not_a_part_of_it(side: Side, other: Side) -> None:
    desk = Desk(contracts(grace_us=5 * SECOND))
    desk.hear(*an_order(10, "4", origin="internal", side=side), fill("internal", "t", 10, "4", side=other))
    desk.pass_by(100)
    (found,) = desk.newest(kind="order_mismatch", compared="internal:fills")
    assert (found.residual, found.fields) == ("8", [FieldDifference("cum_qty", "-4", "4", "-8")])
    assert found.cause == "internal reports 4 of this order filled, its own fills come to -4"


def test_a_fill_that_one_side_has_on_the_wrong_side_explains_its_order() -> None:
    desk = Desk(contracts(grace_us=5 * SECOND))
    for origin in ORIGINS:
        desk.hear(*an_order(10, "4", origin=origin))
    desk.hear(fill("internal", "t", 10, "4", side="sell"), fill("exchange", "t", 10, "4", side="buy"))
    desk.pass_by(100)
    roots = sorted(alert.alert_id for alert in desk.newest(identity="trade"))
    (found,) = desk.newest(kind="order_mismatch")
    assert len(roots) == 2
    assert says(found) == (False, roots, [("known_causes", "8")])


def test_an_order_of_which_both_report_the_same_is_one_cause() -> None:
    desk = desk_without_fills(
        *an_order(10, "4"), *an_order(10, "4", origin="internal"), *positions((0, "0"), (20, "9")), said=BOTH
    )  # fmt: skip
    (ours,) = desk.newest(kind="order_mismatch", compared="internal:fills")
    (theirs,) = desk.newest(kind="order_mismatch", compared="exchange:fills")
    (cross,) = desk.newest(kind="position_mismatch", compared="exchange:cross")
    assert theirs.explained_by == [ours.alert_id]
    assert says(cross) == (True, [ours.alert_id], [("known_causes", "4"), ("unexplained", "5")])


def test_fills_that_nothing_is_held_against_yet_are_kept_without_what_we_do_not_know() -> None:
    """They may be held against a position later, and a source may write whatever it likes beside what we read."""
    desk = Desk(contracts(grace_us=5 * SECOND, internal={"orders": None, "positions": None, "balances": None,
                          "ledger": None}, exchange={"orders": None, "positions": None, "balances": None,
                          "ledger": None}))  # fmt: skip
    desk.hear(*(event for n in range(20) for event in both(fill, f"t{n}", n, "1", note="x" * 50_000)))
    (account,) = desk.lane.directory.by_name.values()
    assert account.book is not None
    account.book.gather()
    kept = [value for side in account.book._idle for pack in side for value in pack.fills if isinstance(value, bytes)]
    assert len(kept) == 40
    assert max(map(len, kept)) < 400
    desk.hear(*positions((5.5, "6"), (30, "21")))
    desk.pass_by(100)
    (cross,) = desk.newest(kind="position_mismatch", compared="exchange:own")
    assert cross.residual == "1"


def test_of_two_reports_that_differ_the_other_sides_counts() -> None:
    desk = desk_without_fills(
        *an_order(10, "4"), *an_order(10, "6", origin="internal"), *positions((0, "0"), (20, "4")), said=BOTH
    )  # fmt: skip
    (theirs,) = desk.newest(kind="order_mismatch", compared="exchange:fills")
    (cross,) = desk.newest(kind="position_mismatch", compared="exchange:cross")
    assert says(cross) == (False, [theirs.alert_id], [("known_causes", "4")])


def test_an_order_of_ours_that_the_exchange_does_not_bear_out_explains_nothing() -> None:
    desk = desk_without_fills(
        *an_order(10, "4", origin="internal"), order("exchange", 10, "open", "0"), *positions((0, "0"), (20, "4")),
        said=BOTH,
    )  # fmt: skip
    (cross,) = desk.newest(kind="position_mismatch", compared="exchange:cross")
    assert says(cross) == (True, [], [("unexplained", "4")])


def test_two_faults_of_one_interval_are_both_paged() -> None:
    desk = desk_without_fills(*an_order(10, "4"), *positions((0, "0"), (20, "9")))
    (told,) = desk.newest(kind="order_mismatch")
    (cross,) = desk.newest(kind="position_mismatch")
    assert told.notify
    assert says(cross) == (True, [told.alert_id], [("known_causes", "4"), ("unexplained", "5")])


def test_an_order_explains_one_interval_and_a_second_fault_of_the_same_size_is_paged() -> None:
    desk = desk_without_fills(*an_order(2, "4", 90), *positions((0, "0"), (20, "4"), (40, "8"), (60, "8")))
    (told,) = desk.newest(kind="order_mismatch")
    first, second = sorted(desk.newest(kind="position_mismatch"), key=lambda alert: alert.event_us)
    assert says(first) == (False, [told.alert_id], [("known_causes", "4")])
    assert says(second) == (True, [], [("unexplained", "4")])


@pytest.mark.parametrize("restarts", [False, True])
def test_an_order_explains_one_interval_also_when_that_is_summed_up(*, restarts: bool) -> None:
    desk = Desk(contracts(grace_us=5 * SECOND, **LONE), horizon_us=60 * SECOND)
    desk.hear(order("exchange", 1, "open", "0"))
    for n in range(60):  # ten seconds each; the fill at 13 s is lacking, and after 300 s the position is wrong
        at_s, qty = 10 * n, n + 1 + (n > 0) + (n > 30)
        desk.hear(
            order("exchange", at_s + 3, "partially_filled", f"{n + 1 + (n > 0)}"), t("internal", at_s + 3, "1"),
            position("exchange", at_s + 6, f"{qty}"),
        )  # fmt: skip
        desk.pass_by(at_s + 9.5)
        if restarts and n % 7 == 0:
            desk.restart()
    desk.pass_by(620)
    (told,) = desk.newest(kind="order_mismatch")
    first, second = sorted(desk.newest(kind="position_mismatch"), key=lambda alert: alert.event_us)
    assert says(first) == (False, [told.alert_id], [("known_causes", "1")])
    assert says(second) == (True, [], [("unexplained", "1")])


def test_an_order_that_lasts_longer_than_an_interval_explains_nothing_but_its_own_amount() -> None:
    desk = desk_without_fills(*an_order(2, "4", 90), *positions((0, "0"), (20, "3"), (40, "3")))
    (cross,) = desk.newest(kind="position_mismatch")
    assert says(cross) == (True, [], [("unexplained", "3")])


def test_an_order_explains_nothing_of_another_time_or_instrument() -> None:
    for events in (
        [*an_order(50, "4"), *positions((0, "0"), (20, "4"), (60, "4"))],
        [*an_order(10, "4"), *positions((0, "0"), (60, "0"), (80, "4"))],
        [*an_order(10, "4", instrument="INVERSE"), *positions((0, "0"), (20, "4"))],
    ):
        desk = desk_without_fills(*events)
        (told,) = desk.newest(kind="order_mismatch")
        alerts = desk.newest(kind="position_mismatch")
        assert alerts
        assert all(alert.notify and told.alert_id not in alert.explained_by for alert in alerts)


def test_an_order_that_was_over_explains_nothing_later_also_where_snapshots_are_ambiguous() -> None:
    """Each of them was taken when a fill came, so what changed before might show late; but the order was over."""
    desk = desk_without_fills(
        *an_order(10, "1.5"), t("internal", 10, "1"),
        *an_order(30, "0.1", order_id="o2"), t("internal", 30, "0.1", order_id="o2"),
        *an_order(60, "0.2", order_id="o3"), t("internal", 60, "0.2", order_id="o3"),
        *positions((0, "0"), (10, "1"), (30, "1.1"), (60, "1.8")),
    )  # fmt: skip
    (told,) = desk.newest(kind="order_mismatch")
    (cross,) = desk.newest(kind="position_mismatch")
    assert told.notify
    assert says(cross) == (True, [], [("unexplained", "0.5")])


def test_an_order_that_may_have_filled_before_an_interval_is_not_said_to_have_moved_more_than_was_seen() -> None:
    events = [*an_order(20, "1", origin="internal"), order("internal", 21, "filled", "3")]
    desk = Desk(contracts(grace_us=5 * SECOND, order_within_us=5_000, **OURS))
    desk.hear(*both(ledger, "d", -20, "100"), *events, *positions((0, "0"), (20, "1"), (21, "3"), (40, "3")))
    desk.pass_by(100)
    first, second = sorted(desk.newest(kind="position_mismatch"), key=lambda alert: alert.event_us)
    assert says(first) == (True, [], [("unexplained", "1")])
    assert says(second) == (True, [], [("unexplained", "2")])


def test_orders_tell_no_position_side_so_they_explain_none_of_hedge_mode() -> None:
    desk = desk_without_fills(*an_order(10, "4"), *positions((0, "0"), (20, "4"), position_side="long"))
    (cross,) = desk.newest(kind="position_mismatch")
    assert says(cross) == (True, [], [("unexplained", "4")])


def test_several_orders_explain_a_position_together() -> None:
    events = [*an_order(5, "4"), *an_order(7, "1", order_id="o2", side="sell"), *an_order(8, "5", order_id="o3")]
    desk = desk_without_fills(*events, *positions((0, "0"), (20, "8")))
    told = sorted(alert.alert_id for alert in desk.newest(kind="order_mismatch"))
    (cross,) = desk.newest(kind="position_mismatch")
    assert len(told) == 3
    assert says(cross) == (False, told, [("known_causes", "8")])


def test_a_fill_that_is_missed_by_itself_is_not_counted_again_by_its_order() -> None:
    # The exchange sends a fill after all, though its contract says that it sends none.
    desk = desk_without_fills(
        *an_order(10, "6"), t("exchange", 10, "4"), *positions((0, "0"), (20, "6")),
    )  # fmt: skip
    (missing,) = desk.newest(kind="missing_internal")
    (told,) = desk.newest(kind="order_mismatch")
    (cross,) = desk.newest(kind="position_mismatch")
    assert says(told) == (True, [missing.alert_id], [("known_causes", "4"), ("unexplained", "2")])
    assert says(cross) == (False, sorted([missing.alert_id, told.alert_id]), [("known_causes", "6")])


def test_where_both_sides_send_fills_no_order_is_a_cause() -> None:
    desk = desk_without_fills(*an_order(10, "4"), *positions((0, "0"), (20, "4")), said={})
    (own,) = desk.newest(kind="position_mismatch", compared="exchange:own")
    (cross,) = desk.newest(kind="position_mismatch", compared="exchange:cross")
    assert says(own) == (True, [], [("unexplained", "4")])
    assert says(cross) == (False, [own.alert_id], [("known_causes", "4")])


@pytest.mark.parametrize("restarts", [False, True])
def test_an_order_that_is_told_too_late_is_an_update_of_what_follows_from_it(*, restarts: bool) -> None:
    desk = desk_without_fills(order("exchange", 10, "open", "0"), *positions((0, "0"), (20, "4")))
    (cross,) = desk.newest(kind="position_mismatch")
    assert says(cross) == (True, [], [("unexplained", "4")])
    if restarts:
        desk.restart()
    desk.hear(order("exchange", 10, "filled", "4"))
    (told,) = desk.newest(kind="order_mismatch", compared="exchange:fills")
    (cross,) = desk.newest(kind="position_mismatch")
    assert (cross.transition, *says(cross)) == ("UPDATED", False, [told.alert_id], [("known_causes", "4")])


@pytest.mark.parametrize("restarts", [False, True])
def test_a_fill_that_comes_too_late_ends_its_order_and_the_position(*, restarts: bool) -> None:
    desk = desk_without_fills(*an_order(10, "4"), *positions((0, "0"), (20, "4")))
    if restarts:
        desk.restart()
    desk.hear(t("internal", 10, "4"))
    assert {(alert.kind, alert.status) for alert in desk.newest()} == {
        ("order_mismatch", "CLEARED"), ("position_mismatch", "CLEARED"),
    }  # fmt: skip


@pytest.mark.parametrize("restarts", [False, True])
def test_a_position_that_an_order_explains_no_longer_is_paged(*, restarts: bool) -> None:
    desk = desk_without_fills(*an_order(2, "4", 90), *positions((0, "0"), (20, "4"), (60, "4")))
    if restarts:
        desk.restart()
    desk.hear(t("internal", 70, "4"))  # of this order, but of another time than when the position moved
    (told,) = desk.newest(kind="order_mismatch")
    (cross,) = desk.newest(kind="position_mismatch")
    assert told.status == "CLEARED"
    assert (cross.status, cross.transition, *says(cross)) == ("OPEN", "UPDATED", True, [], [("unexplained", "4")])


@pytest.mark.parametrize("restarts", [False, True])
def test_an_order_with_an_update_that_is_not_due_explains_what_it_did(*, restarts: bool) -> None:
    desk = desk_without_fills(*an_order(10, "4"), *positions((0, "0"), (20, "4")))
    desk.hear(order("exchange", 110, "canceled", "4"))
    if restarts:
        desk.restart()
    desk.published.clear()
    desk.hear(*positions((105, "4")))
    assert desk.published == []
    desk.pass_by(150)
    assert {alert.identity for alert in desk.published} == {"order"}  # its evidence is another


def test_positions_wait_for_orders_where_these_may_explain_them() -> None:
    for said, waits in ((LONE, True), ({}, False)):
        desk = desk_without_fills(*an_order(10, "4"), *positions((0, "0"), (20, "4")), said=said, until_s=0)
        desk.pass_by(100, streams=("fills", "balances"))
        assert bool(desk.newest(kind="position_mismatch")) is not waits
        desk.pass_by(100, streams=("orders",))
        kinds = [each.kind for each in desk.published if isinstance(each, Discrepancy)]
        assert (kinds[0] == "order_mismatch") is waits


@pytest.mark.parametrize(
    ("names", "asset", "total", "expected"),
    [
        # Of a derivative an order tells neither fee nor profit.
        ({}, "USD", "99", (True, [("unexplained", "-1")])),
        ({"instrument": "INVERSE"}, "BTC", "-1", (True, [("unexplained", "-1")])),
        (SPOT, "BTC", "4", (False, [("known_causes", "4")])),
        (SPOT, "BTC", "3.9", (True, [("known_causes", "4"), ("unexplained", "-0.1")])),  # a fee, it may be
        (SPOT | {"avg_price": "10"}, "USD", "60", (False, [("known_causes", "-40")])),
        (SPOT | {"avg_price": "10"}, "USD", "59", (True, [("known_causes", "-40"), ("unexplained", "-1")])),
        (SPOT, "USD", "60", (True, [("unexplained", "-40")])),
    ],
)
def test_a_balance_follows_from_an_order_as_far_as_that_tells_what_moved(
    names: dict[str, Any], asset: str, total: str, expected: tuple[bool, list[tuple[str, str]]]
) -> None:
    opening = {"USD": "100", "BTC": "0"}[asset]
    desk = desk_without_fills(
        *an_order(10, "4", **names),
        balance("exchange", 0, opening, asset=asset), balance("exchange", 20, total, asset=asset),
    )  # fmt: skip
    (told,) = desk.newest(kind="order_mismatch")
    roots = [alert for alert in desk.newest(kind="balance_mismatch") if alert.compared == "exchange:own"]
    assert [says(alert) for alert in roots] == [(expected[0], [told.alert_id], expected[1])]


def test_a_balance_that_is_accounted_for_names_no_order_that_might_have_moved_it() -> None:
    desk = desk_without_fills(
        *an_order(10, "4"), ledger("exchange", "d1", 10, "50"), balance("exchange", 0, "100"),
        balance("exchange", 20, "150"),
    )  # fmt: skip
    (missing,) = desk.newest(kind="ledger_missing")
    (cross,) = desk.newest(kind="balance_mismatch", compared="exchange:cross")
    assert says(cross) == (False, [missing.alert_id], [("known_causes", "50")])


def test_of_an_order_that_has_fills_the_price_of_the_others_is_not_known() -> None:
    desk = desk_without_fills(
        *an_order(10, "4", **SPOT, avg_price="10"), t("internal", 10, "3", **SPOT),
        balance("exchange", 0, "100"), balance("exchange", 20, "-240"),
    )  # fmt: skip
    (told,) = desk.newest(kind="order_mismatch")
    (own,) = desk.newest(kind="balance_mismatch", compared="exchange:own")
    assert says(own) == (True, [told.alert_id], [("unexplained", "-40")])


def test_a_balance_names_no_order_that_may_have_filled_in_another_interval() -> None:
    desk = desk_without_fills(
        *an_order(2, "4", 90), *positions((0, "0"), (20, "4")), balance("exchange", 0, "100"),
        balance("exchange", 20, "99"),
    )  # fmt: skip
    (own,) = desk.newest(kind="balance_mismatch", compared="exchange:own")
    assert says(own) == (True, [], [("unexplained", "-1")])
