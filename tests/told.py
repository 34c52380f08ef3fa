"""What the tests of runs are told: the real recordings, and one of them with faults of every kind, with what is true."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from stream_recon.cli.options import load_contracts, load_instruments
from stream_recon.domain.discrepancies import Discrepancy
from stream_recon.service import ReconciliationService
from stream_recon.sources import Records
from tests.oracles.argument import STATED, in_the_oracles_words, plainly
from tests.oracles.worlds import recording
from tests.test_end_to_end import MANY, TIMING, lines_of, told, truth

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stream_recon.domain.contracts import Contracts
    from stream_recon.domain.instruments import Instruments
    from stream_recon.domain.results import ReconciliationResult
    from tests.oracles.book import Break

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
    _, _, judged = recording(name)
    return Told(lines, contracts, load_instruments(ROOT / "examples" / "instruments.json"), tuple(judged.breaks))


@cache
def faulty(seed: int = 3) -> Told:
    """The recording of Hyperliquid as both sides tell it, with faults of every kind."""
    one = told(seed, MANY)
    lines = tuple(msgspec.json.encode(event) for event in lines_of(one))
    return Told(lines, TIMING.contracts(), load_instruments(ROOT / "examples" / "instruments.json"),
                tuple(truth(one).standing))  # fmt: skip


def stated(found: Iterable[Discrepancy]) -> Counter[Any]:
    """What is said of orders, positions and balances, in the oracle's words."""
    return Counter(plainly(in_the_oracles_words(each)) for each in found if each.identity in STATED)


def wanted(one: Told, identities: Iterable[str] = STATED) -> Counter[Any]:
    """What the oracle says of these."""
    return Counter(plainly(each) for each in one.standing if each.identity in identities)


def whole(result: ReconciliationResult) -> dict[str, bytes]:
    """Every discrepancy of a result, by id, byte by byte, but for the type that found it."""
    return {
        each.alert_id: msgspec.json.encode(msgspec.structs.replace(each, strategy="")) for each in result.discrepancies
    }
