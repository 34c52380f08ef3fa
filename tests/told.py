"""What tests of runs are told: the real recordings, and one with faults of every kind, with what is true of them."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

import msgspec

from stream_recon.cli.options import load_contracts, load_instruments
from stream_recon.data import hyperliquid_fills
from stream_recon.faults.plan import plan
from stream_recon.service import ReconciliationService
from stream_recon.sources import Records
from tests.oracles import accounts
from tests.oracles.argument import STATED, in_the_oracles_words, plainly
from tests.oracles.worlds import LATER, STREAM_OF, known_instruments, recording
from tests.test_end_to_end import MANY, TIMING, lines_of, truth

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stream_recon.domain.contracts import Contracts
    from stream_recon.domain.discrepancies import Discrepancy
    from stream_recon.domain.events import Origin, Stream
    from stream_recon.domain.instruments import Instruments
    from stream_recon.domain.results import ReconciliationResult
    from tests.oracles.book import Break
    from tests.oracles.movements import Event

ROOT = Path(__file__).parents[1]


class Told(NamedTuple):
    """Lines of both origins, the rules they are under, and what stands at their end by the oracle."""

    lines: tuple[bytes, ...]
    contracts: Contracts
    instruments: Instruments
    standing: tuple[Break, ...]
    """Of orders, positions, balances and ledgers."""

    def of(self, origin: str) -> Records:
        """One side."""
        return Records([line for line in self.lines if f'"origin":"{origin}"'.encode() in line], origin)

    def service(self, config: Any = None, **more: Any) -> ReconciliationService:
        """A service over both sides."""
        given = {"internal": self.of("internal"), "exchange": self.of("exchange"), "contracts": self.contracts,
                 "instruments": self.instruments}  # fmt: skip
        return ReconciliationService(config, **{**given, **more})


@cache
def recorded(name: str) -> Told:
    """A real recording."""
    lines = tuple((ROOT / "tests" / "data" / name / "events.jsonl").read_bytes().splitlines())
    contracts = load_contracts(ROOT / "examples" / "contracts" / f"{name}.yaml")
    logs: dict[tuple[Origin, Stream], list[tuple[int, Event]]] = defaultdict(list)
    for event in recording(name):
        logs[event["origin"], STREAM_OF.get(event["type"], "balances")].append((LATER, event))
    judged = accounts.truth(logs, contracts, known_instruments())
    return Told(
        lines,
        contracts,
        load_instruments(ROOT / "examples" / "instruments.json"),
        tuple(each for each in judged.breaks if each.kind != "duplicate_conflict"),
    )


START_US = 1_760_000_070_000_000
"""Seventy seconds into a window of five minutes."""


@cache
def faulty(seed: int = 3) -> Told:
    """The recording of Hyperliquid as both sides tell it, with faults of every kind."""
    fills = [
        fill | {"account_id": f"{fill['account_id']}-{crc32(fill['order_id'].encode()) % 4}"}
        for fill in hyperliquid_fills()
    ]
    one = plan(fills, seed, MANY, timing=TIMING, start_us=START_US)
    lines = tuple(msgspec.json.encode(event) for event in lines_of(one))
    kinds = load_instruments(ROOT / "examples" / "instruments.json")
    return Told(lines, TIMING.contracts(), kinds, tuple(truth(one).standing))


def stated(found: Iterable[Discrepancy]) -> Counter[Any]:
    """What is said of orders, positions and balances, in the oracle's words."""
    return Counter(plainly(in_the_oracles_words(each)) for each in found if each.identity in STATED)


IDENTITY_OF = {"order_mismatch": "order", "position_mismatch": "position"}


def wanted(one: Told, identities: Iterable[str]) -> Counter[Any]:
    """What the oracle says of these."""
    return Counter(plainly(each) for each in one.standing if IDENTITY_OF.get(each.kind, "balance") in identities)


def identities_told(one: Told) -> set[str]:
    """Of which identities a recording has any record."""
    told = {json.loads(line)["type"] for line in one.lines}
    by_type = {"fill": {"trade", "net_change"}, "order": {"order"}, "position": {"position"}, "balance": {"balance"},
               "ledger": {"balance", "net_change"}}  # fmt: skip
    return {identity for kind in told for identity in by_type.get(kind, ())}


def whole(result: ReconciliationResult) -> dict[str, bytes]:
    """Every discrepancy of a result, by id, byte by byte, but for the type that found it."""
    return {
        each.alert_id: msgspec.json.encode(msgspec.structs.replace(each, strategy="")) for each in result.discrepancies
    }
