"""Words for tests of the oracle: one account's events by hand, recordings from files, and their logs."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from stream_recon.domain.contracts import Contracts, FeedContract
from tests.oracles.accounts import truth
from tests.oracles.argument import argue

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stream_recon.domain.events import Origin, Stream
    from tests.oracles.book import Truth
    from tests.oracles.movements import Event, Instruments

ROOT = Path(__file__).parents[2]
T = 1_700_000_000_000_000
SECOND = 1_000_000
STREAMS: tuple[Stream, ...] = ("fills", "orders", "balances")
STREAM_OF: dict[str, Stream] = {"fill": "fills", "order": "orders"}
LATER = 2**53 - 1

INSTRUMENTS: Instruments = {
    "venue": {
        "PERP": {"kind": "linear_perpetual", "settle": "USD"},
        "INVERSE": {"kind": "inverse", "settle": "BTC"},
        "BTC-USD": {"kind": "spot", "base": "BTC", "quote": "USD"},
    }
}


def event(kind: str, origin: Origin, at_s: float, **more: Any) -> Event:
    """An event of the one account."""
    return {
        "type": kind,
        "origin": origin,
        "venue": "venue",
        "account_id": "alice",
        "event_id": f"{origin}:{kind}:{at_s}",
        "ts_us": T + int(at_s * SECOND),
        **more,
    }


def fill(origin: Origin, trade_id: str, at_s: float, qty: str, **more: Any) -> Event:
    """A fill at 100; a negative qty is a sale."""
    side = "sell" if qty.startswith("-") else "buy"
    names = {"instrument": "PERP", "trade_id": trade_id, "order_id": "o1", "side": side, "qty": qty.lstrip("-")}
    return event("fill", origin, at_s, **{**names, "price": "100", "fee": "0", "realized_pnl": "0", **more})


def order(origin: Origin, at_s: float, status: str, cum_qty: str, **more: Any) -> Event:
    """An update of an order of 10."""
    names = {"instrument": "PERP", "order_id": "o1", "side": "buy", "qty": "10", "cum_qty": cum_qty, "status": status}
    return event("order", origin, at_s, **{**names, **more})


def position(origin: Origin, at_s: float, qty: str, **more: Any) -> Event:
    """A snapshot of a position."""
    return event("position", origin, at_s, **{"instrument": "PERP", "qty": qty, **more})


def balance(origin: Origin, at_s: float, total: str, **more: Any) -> Event:
    """A snapshot of a balance."""
    return event("balance", origin, at_s, **{"asset": "USD", "total": total, **more})


def ledger(origin: Origin, ledger_id: str, at_s: float, delta: str, **more: Any) -> Event:
    """A deposit, unless said otherwise."""
    names = {"ledger_id": ledger_id, "asset": "USD", "delta": delta, "reason": "deposit"}
    return event("ledger", origin, at_s, **{**names, **more})


def anchor(trade_id: str, when: str, side: str = "buy") -> dict[str, str]:
    """The state just before or after that fill."""
    return {"instrument": "PERP", "trade_id": trade_id, "side": side, "when": when}


def promises(**more: Any) -> Contracts:
    """Two feeds that tell everything, the ledger without trades; `internal` and `exchange` change one of them."""
    complete: dict[str, Any] = dict.fromkeys(("fills", "orders", "positions", "balances", "ledger"), "complete")
    changes = {origin: more.pop(origin, {}) for origin in ("internal", "exchange")}
    common = {**complete, "ledger_covers": "non_trade", "order_within_us": SECOND, **more}
    return Contracts(
        contracts=tuple(
            FeedContract.model_validate({"origin": origin, **common, **change}) for origin, change in changes.items()
        )
    )


def say(
    events: Iterable[Event],
    contracts: Contracts | None = None,
    instruments: Instruments | None = None,
    through_us: int = LATER,
) -> Truth:
    """What the oracle says of events, in the order of their logs, once all feeds have passed `through_us`.

    Once all is settled the core has to say the same.
    """
    logs: dict[tuple[Origin, Stream], list[tuple[int, Event]]] = defaultdict(list)
    venues = set()
    for each in events:
        venues.add(each["venue"])
        logs[each["origin"], STREAM_OF.get(each["type"], "balances")].append((LATER, each))
    origins: tuple[Origin, Origin] = ("internal", "exchange")
    for origin in origins:
        for stream in STREAMS:
            for venue in sorted(venues):
                beat = {"type": "heartbeat", "origin": origin, "source": f"{origin}|{venue}", "through_us": through_us}
                logs[origin, stream].append((LATER, beat))
    contracts, instruments = contracts or promises(), INSTRUMENTS if instruments is None else instruments
    found = truth(logs, contracts, instruments)
    if through_us == LATER:
        for seed in range(3 if sum(map(len, logs.values())) < 1000 else 1):
            argue(logs, contracts, instruments, found, seed, trouble=seed > 0)
    return found


def recording(name: str) -> list[Event]:
    """A recording with known truth."""
    lines = (ROOT / "tests/data" / name / "events.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def written(*names: str) -> Contracts:
    """The contracts in examples/contracts."""
    return Contracts(
        contracts=tuple(
            FeedContract.model_validate(each)
            for name in names
            for each in yaml.safe_load((ROOT / f"examples/contracts/{name}.yaml").read_text())
        )
    )


def known_instruments() -> Instruments:
    """The instruments in examples/instruments.json."""
    found: Instruments = json.loads((ROOT / "examples/instruments.json").read_text())
    return found
