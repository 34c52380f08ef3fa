"""Short words for tests of a lane: events by hand, fed through the real decoder, and what was published of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from stream_recon.core.lane import Batch, Lane
from stream_recon.core.memory import Changes
from stream_recon.core.trades import Rules
from stream_recon.domain.contracts import Contracts, FeedContract
from stream_recon.domain.decode import decode_pack

if TYPE_CHECKING:
    from stream_recon.domain.discrepancies import Discrepancy, FeedCondition
    from stream_recon.domain.events import Origin, Stream

T = 1_700_000_000_000_000
SECOND = 1_000_000
TRADES_ONLY = Rules(window_us=0)
NOW = T + 24 * 3600 * SECOND


def fill(origin: Origin, trade_id: str, at_s: float = 0, **more: Any) -> dict[str, Any]:
    """A fill of one account, 10 at 1.5, unless said otherwise."""
    return {
        "type": "fill",
        "origin": origin,
        "venue": "venue",
        "account_id": "alice",
        "event_id": f"{origin}:{trade_id}",
        "ts_us": T + int(at_s * SECOND),
        "instrument": "BTC-USD",
        "trade_id": trade_id,
        "order_id": "order-1",
        "side": "buy",
        "qty": "10",
        "price": "1.5",
        **more,
    }


def heartbeat(origin: Origin, through_s: float, **more: Any) -> dict[str, Any]:
    """Everything up to that second has been delivered."""
    return {
        "type": "heartbeat",
        "origin": origin,
        "source": f"{origin}|venue",
        "through_us": T + int(through_s * SECOND),
        **more,
    }


class Book:
    """A lane, its logs, and all it published."""

    def __init__(self, *contracts: FeedContract, rules: Rules = TRADES_ONLY) -> None:
        self.contracts = Contracts(contracts=contracts)
        self.rules = rules
        self.lane = Lane(0, self.contracts, rules)
        self.published: list[Discrepancy | FeedCondition] = []
        self.retired: list[str] = []
        self.changes: list[bytes] = []
        self.offset = 0

    def hear(
        self, *events: dict[str, Any] | bytes, origin: Origin = "exchange", stream: Stream = "fills", **more: int
    ) -> None:
        """Feed events one by one, each to the topic of its origin; bytes go as they are, under the account's key."""
        for event in events:
            own: Origin = event["origin"] if isinstance(event, dict) else origin
            value = msgspec.json.encode(event) if isinstance(event, dict) else event
            key = (
                b"venue|alice"
                if not isinstance(event, dict)
                else f"{event.get('venue')}|{event.get('account_id')}".encode()
            )
            time_us = more.get("time_us", NOW)
            decoded = decode_pack([value], [key], [time_us], own, stream)
            self.lane.step(Batch(own, stream, f"recon.{own}.{stream}.v1", [self.offset], [time_us], [value], decoded))
            self.offset += 1
            self.drain()

    def drain(self) -> None:
        """Take out what follows."""
        drained = self.lane.drain()
        self.published += [entry.alert for entry in drained.published]
        self.retired += drained.retired
        self.changes.append(msgspec.msgpack.encode(drained.changes))

    def tick(self, idle_s: float) -> None:
        """Let both fills topics have been read to their end, and silent for so long."""
        idle_us = int(idle_s * SECOND)
        self.lane.tick({("internal", "fills"): idle_us, ("exchange", "fills"): idle_us})
        self.drain()

    @property
    def said(self) -> list[tuple[str, str, str]]:
        """(transition, kind or reason, trade id or source) of all that was published."""
        return [
            (
                alert.transition,
                getattr(alert, "kind", "") or getattr(alert, "reason", ""),
                getattr(alert, "trade_id", "") or getattr(alert, "source", ""),
            )
            for alert in self.published
        ]

    @property
    def standing(self) -> set[tuple[str, str]]:
        """(kind or reason, trade id or source) of what is open now."""
        return {
            (getattr(a, "kind", "") or getattr(a, "reason", ""), getattr(a, "trade_id", "") or getattr(a, "source", ""))
            for a in self.lane.register.newest.values()
            if a.status == "OPEN"
        }

    def restored(self) -> Lane:
        """A new lane, folded from all changes."""
        lane = Lane(0, self.contracts, self.rules)
        for changes in self.changes:
            lane.restore(msgspec.msgpack.decode(changes, type=Changes))
        return lane
