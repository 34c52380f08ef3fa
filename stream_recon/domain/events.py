"""The canonical events: one tagged union on `type`, one JSON object per Kafka record.

Amounts stay the decimal text they arrived as (`Amount`): two origins that say the same thing mostly say it in the same
digits, so equality of text settles most comparisons and a `Decimal` is made only where texts differ. Times are integer
microseconds since the Unix epoch, UTC. Every optional field is None when it was not sent.

The structs say what is true of a *valid* event; `domain.decode` is the only way from bytes to one of them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Origin = Literal["internal", "exchange"]
ORIGINS: tuple[Origin, Origin] = ("internal", "exchange")

Stream = Literal["fills", "orders", "balances"]
STREAMS: tuple[Stream, Stream, Stream] = ("fills", "orders", "balances")

Side = Literal["buy", "sell"]
PositionSide = Literal["net", "long", "short"]
OrderStatus = Literal["pending_new", "open", "partially_filled", "filled", "canceled", "expired", "rejected"]

MAX_INTEGER = 2**53 - 1  # what every JSON reader keeps exactly; as microseconds, the year 2255

EARLIEST_US = 1_230_768_000_000_000  # 2009-01-01; a lesser number is in seconds or milliseconds

Identifier = Annotated[
    str,
    Meta(
        min_length=1, max_length=128, extra_json_schema={"pattern": r"^[^\u0000-\u001f\u007f-\u009f]+$"},
        description="1 to 128 bytes of UTF-8, no control characters",
    ),
]  # fmt: skip
Venue = Annotated[
    str,
    Meta(
        min_length=1, max_length=128, extra_json_schema={"pattern": r"^[^|\u0000-\u001f\u007f-\u009f]+$"},
        description="an identifier without `|`, which divides it from the account in a key",
    ),
]  # fmt: skip

# At most 18 decimals, and 38 digits from the first one before the point that is not zero. A pattern checked by msgspec
# costs more than the whole decoding, so it only describes; `domain.decode` checks the text of a pack at once.
DIGITS = r"(?!0*[1-9](?:\.?[0-9]){38})[0-9]+(?:\.[0-9]{1,18})?"
Amount = Annotated[
    str,
    Meta(
        extra_json_schema={"pattern": f"^-?{DIGITS}$"},
        description="a plain decimal, no exponent, at most 38 significant digits and 18 decimals",
    ),
]
NonNegative = Annotated[
    str, Meta(extra_json_schema={"pattern": f"^(?:-(?!.*[1-9]))?{DIGITS}$"}, description="an amount, not below zero")
]
Positive = Annotated[
    str, Meta(extra_json_schema={"pattern": f"^(?=.*[1-9]){DIGITS}$"}, description="an amount above zero")
]
TimeUs = Annotated[int, Meta(ge=EARLIEST_US, le=MAX_INTEGER, description="microseconds since the Unix epoch, UTC")]
Sequence = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]


class Common(Struct, kw_only=True, omit_defaults=True, gc=False, tag_field="type"):
    """What every event of an account carries."""

    origin: Origin
    venue: Venue
    account_id: Identifier
    event_id: Identifier
    ts_us: TimeUs
    recorded_us: TimeUs | None = None
    source: Identifier | None = None
    feed_seq: Sequence | None = None
    feed_epoch: Identifier | None = None


class Fill(Common, tag="fill"):
    """One execution, or what corrects (`exec` correction) or cancels (bust) an earlier one named by `ref_trade_id`."""

    instrument: Identifier
    trade_id: Identifier
    order_id: Identifier
    side: Side
    qty: Positive
    price: Positive
    client_order_id: Identifier | None = None
    fee: Amount | None = None
    fee_asset: Identifier | None = None
    liquidity: Literal["maker", "taker"] | None = None
    realized_pnl: Amount | None = None
    position_side: PositionSide | None = None
    exec: Literal["trade", "correction", "bust"] | None = None
    ref_trade_id: Identifier | None = None


class Order(Common, tag="order"):
    """The state of an order after an update; `order_id` is missing where the venue never gave one."""

    instrument: Identifier
    side: Side
    qty: NonNegative
    cum_qty: NonNegative
    status: OrderStatus
    order_id: Identifier | None = None
    client_order_id: Identifier | None = None
    order_type: Identifier | None = None
    time_in_force: Identifier | None = None
    price: Amount | None = None
    avg_price: Amount | None = None


class Anchor(Struct, kw_only=True, gc=False):
    """Ties a snapshot to the state just before or after one fill, which no timestamp can."""

    instrument: Identifier
    trade_id: Identifier
    side: Side
    when: Literal["before", "after"]


class Balance(Common, tag="balance"):
    """A snapshot of one asset; `total` is without unrealised profit."""

    asset: Identifier
    total: Amount
    free: Amount | None = None
    locked: Amount | None = None
    snapshot_id: Identifier | None = None
    anchor: Anchor | None = None


class Position(Common, tag="position"):
    """A snapshot of one signed position."""

    instrument: Identifier
    qty: Amount
    position_side: PositionSide | None = None
    entry_price: Amount | None = None
    snapshot_id: Identifier | None = None
    anchor: Anchor | None = None


class Ledger(Common, tag="ledger"):
    """One movement of one asset."""

    ledger_id: Identifier
    asset: Identifier
    delta: Amount
    reason: Literal[
        "trade", "fee", "realized_pnl", "deposit", "withdrawal", "transfer", "funding", "interest", "liquidation",
        "rebate", "adjustment", "other",
    ]  # fmt: skip
    ref_id: Identifier | None = None
    balance_after: Amount | None = None


class SnapshotEnd(Common, tag="snapshot_end"):
    """Closes a complete snapshot of `count` records: what it does not name is not there."""

    snapshot_id: Identifier
    count: Sequence


class Heartbeat(Struct, kw_only=True, omit_defaults=True, gc=False, tag_field="type", tag="heartbeat"):
    """`source` has delivered, on this partition of this topic, everything up to `through_us`."""

    origin: Origin
    source: Identifier
    through_us: TimeUs
    venue: Venue | None = None
    account_id: Identifier | None = None
    event_id: Identifier | None = None
    ts_us: TimeUs | None = None
    recorded_us: TimeUs | None = None


AccountEvent = Fill | Order | Balance | Position | Ledger | SnapshotEnd
Event = AccountEvent | Heartbeat

STREAM_OF: dict[type[Event], Stream | None] = {
    Fill: "fills",
    Order: "orders",
    Balance: "balances",
    Position: "balances",
    Ledger: "balances",
    SnapshotEnd: "balances",
    Heartbeat: None,  # any
}


def account_of(venue: str, account_id: str) -> str:
    """The key of every account-keyed record. A venue holds no `|`, so the first one divides."""
    return f"{venue}|{account_id}"


def default_source(origin: Origin, venue: str) -> str:
    """Who speaks where an event names nobody."""
    return f"{origin}|{venue}"
