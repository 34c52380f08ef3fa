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
from stream_recon.domain.discrepancies import Discrepancy, FeedCondition
from stream_recon.domain.events import ORIGINS
from stream_recon.domain.instruments import Instruments
from tests.oracles.worlds import INSTRUMENTS, SECOND, STREAM_OF, STREAMS, T, balance, fill, ledger, order, position
from tests.oracles.worlds import promises as contracts

if TYPE_CHECKING:
    from stream_recon.domain.contracts import Contracts
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

    def pass_by(self, at_s: float) -> None:
        """All feeds have delivered everything up to that second."""
        for origin in ORIGINS:
            for stream in STREAMS:
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
