"""Discrepancies of every kind and feed conditions of every reason, built by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stream_recon.domain.discrepancies import (
    Discrepancy,
    Evidence,
    FeedCondition,
    FieldDifference,
    Interval,
    SplitPart,
)

if TYPE_CHECKING:
    from stream_recon.domain.discrepancies import Alert, Identity, Kind, Reason
    from stream_recon.domain.events import Origin

AT_US = 1_764_000_000_000_000
MIN_US = 60_000_000
ACCOUNT = "binance|desk-1"


def record(origin: Origin, offset: int, kind: str, minute: int, **fields: object) -> Evidence:
    """A record in the log, so many minutes after the start."""
    topic = {"fill": "fills", "order": "orders"}.get(kind, "balances")
    told = {"type": kind, "origin": origin, "ts_us": AT_US + minute * MIN_US, **fields}
    return Evidence(origin, f"recon.{origin}.{topic}.v1", 2, offset, told)


def fill(origin: Origin, offset: int, minute: int = 1, **fields: object) -> Evidence:
    """The fill that most of these are about."""
    told = {"instrument": "BTCUSDT", "trade_id": "883", "order_id": "51", "side": "buy", "qty": "0.5",
            "price": "36012.10", "fee": "0.018", "fee_asset": "USDT"}  # fmt: skip
    return record(origin, offset, "fill", minute, **{**told, **fields})


def of(kind: Kind, identity: Identity, number: int, **fields: Any) -> Discrepancy:
    """A discrepancy; `number` makes its id."""
    told: dict[str, Any] = {
        "alert_id": f"{number:032x}"[::-1],
        "version": 1,
        "transition": "OPENED",
        "status": "OPEN",
        "kind": kind,
        "identity": identity,
        "severity": "critical",
        "account": ACCOUNT,
        "venue": "binance",
        "account_id": "desk-1",
        "compared": "internal:exchange",
        "event_us": AT_US + MIN_US,
        "due_us": AT_US + MIN_US + 5_000_000,
        "fields": [],
        "evidence": [],
        "size": "1",
    }
    return Discrepancy(**{**told, **fields})


def interval(start: int, end: int) -> Interval:
    """Between snapshots, in minutes after the start."""
    labels = [str(AT_US + minute * MIN_US) for minute in (start, end)]
    return Interval(int(labels[0]), int(labels[1]), *labels)


TRADE = {"instrument": "BTCUSDT", "trade_id": "883", "side": "buy"}
WHOLE = (("qty", "0.5"), ("price", "36012.10"), ("fee", "0.018"), ("fee_asset", "USDT"))

MISSING = of(
    "missing_internal", "trade", 0xA1, **TRADE, cause="exchange has this fill, internal never sent it",
    fields=[FieldDifference(name, None, value) for name, value in WHOLE], evidence=[fill("exchange", 8812)],
)  # fmt: skip
BUSTED = of(
    "missing_exchange", "trade", 0xA2, **TRADE, cause="exchange busted this fill, internal still counts it",
    fields=[FieldDifference(name, value, None) for name, value in WHOLE],
    evidence=[fill("internal", 411), fill("exchange", 8813, exec="bust", ref_trade_id="883")],
)  # fmt: skip
DIFFERS = of(
    "fill_mismatch", "trade", 0xA3, **TRADE, severity="warning", size="0.0016",
    cause="both sides have this fill, but disagree on price",
    fields=[FieldDifference("price", "36012.10", "36070.00", "-57.9")],
    evidence=[fill("internal", 411), fill("exchange", 8812, price="36070.00")],
)  # fmt: skip
COPIES = of(
    "duplicate_conflict", "trade", 0xA4, **TRADE, compared="internal", severity="warning", due_us=AT_US + MIN_US,
    cause="internal sent this fill more than once, with different qty; no copy is believed",
    fields=[FieldDifference("qty", "0.5", "0.6", "-0.1")],
    evidence=[fill("internal", 411), fill("internal", 412, qty="0.6")],
)  # fmt: skip
ORDER = of(
    "order_mismatch", "order", 0xB1, instrument="BTCUSDT", order_id="51",
    cause="both sides report this order, but disagree on status, cum_qty",
    fields=[
        FieldDifference("status", "open", "filled"), FieldDifference("cum_qty", "0", "0.5", "-0.5"),
    ],
    evidence=[
        record("internal", 71, "order", 0, order_id="51", status="open", qty="0.5", cum_qty="0"),
        record("exchange", 72, "order", 1, order_id="51", status="filled", qty="0.5", cum_qty="0.5"),
    ],
    explained_by=[MISSING.alert_id], notify=False,
)  # fmt: skip
ORDER_LACKING = of(
    "order_mismatch", "order", 0xB2, instrument="BTCUSDT", order_id="52",
    cause="exchange reports this order, internal never did",
    fields=[FieldDifference("order", None, "reported")],
    evidence=[record("exchange", 73, "order", 1, order_id="52", status="canceled", qty="2", cum_qty="0")],
)  # fmt: skip
ORDER_FILLS = of(
    "order_mismatch", "order", 0xB3, instrument="BTCUSDT", order_id="51", compared="exchange:fills",
    cause="exchange reports 0.5 filled, its fills add up to 0.3",
    fields=[FieldDifference("cum_qty", "0.3", "0.5", "-0.2")], residual="0.2",
    split=[SplitPart("unexplained", "0.2")],
    evidence=[
        record("exchange", 72, "order", 1, order_id="51", status="filled", qty="0.5", cum_qty="0.5"),
        fill("exchange", 8812, qty="0.3"),
    ],
)  # fmt: skip
POSITION = of(
    "position_mismatch", "position", 0xC1, instrument="BTCUSDT", position_side="long", compared="exchange:cross",
    cause="exchange reports a position that our fills do not explain", event_us=AT_US + 5 * MIN_US,
    due_us=AT_US + 5 * MIN_US + 5_000_000, interval=interval(0, 5),
    fields=[FieldDifference("qty", "10", "11.25", "-1.25")], residual="1.25",
    split=[
        SplitPart("known_causes", "0.5", [MISSING.alert_id]), SplitPart("fees", "0"), SplitPart("pending", "0.25"),
        SplitPart("rounding", "0"), SplitPart("unexplained", "0.5"),
    ],
    explained_by=[MISSING.alert_id],
    evidence=[
        record("exchange", 90, "position", 0, instrument="BTCUSDT", qty="9.5", position_side="long"),
        record("exchange", 91, "position", 5, instrument="BTCUSDT", qty="11.25", position_side="long"),
        fill("internal", 410, 2),
    ],
)  # fmt: skip
POSITIONS = of(
    "position_mismatch", "position", 0xC2, instrument="ETHUSDT",
    cause="the positions of both sides differ", interval=interval(0, 5),
    fields=[FieldDifference("qty", "3", "2", "1")], residual="-1", split=[SplitPart("unexplained", "-1")],
    evidence=[
        record("internal", 19, "position", 5, instrument="ETHUSDT", qty="3"),
        record("exchange", 92, "position", 5, instrument="ETHUSDT", qty="2"),
    ],
)  # fmt: skip
BALANCE = of(
    "balance_mismatch", "balance", 0xD1, asset="USDT", compared="exchange:cross",
    cause="exchange reports a balance that our movements do not explain", event_us=AT_US + 5 * MIN_US,
    due_us=AT_US + 5 * MIN_US + 5_000_000, interval=interval(0, 5),
    fields=[FieldDifference("total", "1000", "900.5", "99.5")], residual="-99.5",
    split=[
        SplitPart("known_causes", "-100", [f"{0xD3:032x}"[::-1]]), SplitPart("fees", "0.49"),
        SplitPart("rounding", "0.01"),
    ],
    explained_by=[f"{0xD3:032x}"[::-1]], notify=False,
    evidence=[
        record("exchange", 93, "balance", 0, asset="USDT", total="1000"),
        record("exchange", 94, "balance", 5, asset="USDT", total="900.5", free="800.5", locked="100"),
    ],
)  # fmt: skip
PARTS = of(
    "balance_mismatch", "balance", 0xD2, asset="USDT", compared="exchange:parts", severity="warning",
    cause="free and locked are not the total", fields=[FieldDifference("total", "899", "900", "-1")],
    residual="1", due_us=AT_US + MIN_US,
    evidence=[record("exchange", 95, "balance", 1, asset="USDT", total="900", free="800", locked="99")],
)  # fmt: skip
LEDGER_MISSING = of(
    "ledger_missing", "balance", 0xD3, asset="USDT", ledger_id="W-77",
    cause="exchange booked this entry, internal never did",
    fields=[FieldDifference("delta", None, "-100"), FieldDifference("reason", None, "withdrawal")],
    evidence=[
        record("exchange", 96, "ledger", 1, asset="USDT", ledger_id="W-77", delta="-100", reason="withdrawal"),
    ],
)  # fmt: skip
LEDGER_DIFFERS = of(
    "balance_mismatch", "balance", 0xD4, asset="USDT", ledger_id="F-12", severity="warning",
    cause="both sides have this entry, but disagree on delta",
    fields=[FieldDifference("delta", "-1.5", "-1.75", "0.25")],
    evidence=[
        record("internal", 20, "ledger", 1, asset="USDT", ledger_id="F-12", delta="-1.5", reason="funding"),
        record("exchange", 97, "ledger", 1, asset="USDT", ledger_id="F-12", delta="-1.75", reason="funding"),
    ],
)  # fmt: skip
NET_CHANGE = of(
    "net_change_mismatch", "net_change", 0xE1, instrument="BTCUSDT", strategy="delta",
    cause="the net change of this window differs", interval=interval(0, 5),
    fields=[FieldDifference("qty", "1.5", "2", "-0.5")], residual="0.5", split=[SplitPart("unexplained", "0.5")],
)  # fmt: skip
BREAKS = (
    MISSING, BUSTED, DIFFERS, COPIES, ORDER, ORDER_LACKING, ORDER_FILLS, POSITION, POSITIONS, BALANCE, PARTS,
    LEDGER_MISSING, LEDGER_DIFFERS, NET_CHANGE,
)  # fmt: skip
STATES: dict[str, Alert] = {alert.alert_id: alert for alert in BREAKS}


def condition(reason: Reason, **fields: Any) -> FeedCondition:
    """A feed condition."""
    told: dict[str, Any] = {
        "alert_id": f"{reason.lower().replace('_', '-'):f<32}", "version": 1, "transition": "OPENED", "status": "OPEN",
        "reason": reason, "severity": "warning", "origin": "exchange", "source": "gw-1", "stream": "fills",
        "partition": 3, "account": None, "since_us": AT_US, "waiting": 4012,
        "cause": "exchange fills of gw-1 are silent",
    }  # fmt: skip
    return FeedCondition(**{**told, **fields})
