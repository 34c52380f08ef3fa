"""Worlds of moves in virtual time for the windows: what two origins moved, in which order it is read, and who dies.

Fills are given to the windows themselves, as the trade book would; entries of ledgers are read by a whole lane.
"""

from __future__ import annotations

import random
import sys
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from stream_recon.core import window_memory
from stream_recon.core.accounts import Directory
from stream_recon.core.lane import Batch, Lane
from stream_recon.core.memory import Changes
from stream_recon.core.movements import Move
from stream_recon.core.register import Register
from stream_recon.core.trades import Rules
from stream_recon.core.window_memory import WindowChanges
from stream_recon.core.windows import Windows
from stream_recon.domain.contracts import Contracts, FeedContract
from stream_recon.domain.decode import decode_pack
from stream_recon.domain.discrepancies import Discrepancy
from stream_recon.domain.events import ORIGINS
from tests.oracles.delta import Posting, Setting, Sums, Told, Truth, truth, truth_of_ledgers

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from stream_recon.core.nets import Net

SECOND = 1_000_000
START = 1_700_000_000 * SECOND
LENGTH = 10 * SECOND
WITHIN = 2 * SECOND
GRACE = 3 * SECOND
SETTING = Setting(LENGTH, WITHIN)
END_S = 300
NAME = "venue|alice"


class Record(NamedTuple):
    """One record of a log: the moves it makes, and the time it lifts its feed by."""

    moves: list[Told]
    ts_us: int
    lift_us: int


Log = list[Record]
Logs = tuple[Log, Log]


def key_of(trade_id: str, side: str = "buy", instrument: str = "BTC") -> str:
    """A trade key."""
    return f"{NAME}\x1f{instrument}\x1f{trade_id}\x1f{side}"


def move(trade_id: str, at_s: float, **more: Any) -> Move:
    """Ten BTC bought at 1.5, unless said otherwise."""
    usual = {"sign": 1, "instrument": "BTC", "trade_id": trade_id, "side": "buy", "qty": "10", "price": "1.5"}
    fields = (usual | {"fee": "0.1", "fee_asset": "USD"} | more).values()
    return msgspec.convert([START + round(at_s * SECOND), 0, *fields], Move)


def record(told: Told, *more: Told, within_us: int = WITHIN) -> Record:
    """A record of moves that lifts its feed by its own time."""
    ts_us = told[1].ts_us
    return Record([told, *more], ts_us, ts_us - within_us)


def fills(*moves: Move) -> Log:
    """Records of plain trades."""
    return [record((key_of(each.trade_id, each.side, each.instrument), each)) for each in moves]


def beat(at_s: float) -> Record:
    """A heartbeat."""
    return Record([], 0, START + round(at_s * SECOND))


CONTRACTS = Contracts(contracts=tuple(FeedContract(origin=o, order_within_us=WITHIN, grace_us=GRACE) for o in ORIGINS))


class Reader:
    """Windows that read two logs, and what they published."""

    def __init__(self, rules: Rules | None = None, contracts: Contracts = CONTRACTS) -> None:
        self.rules = rules or Rules(window_us=LENGTH)
        self.contracts = contracts
        self.written: list[tuple[bytes, tuple[int, int]]] = []
        self.published: list[Discrepancy] = []
        self.start()

    def start(self) -> None:
        """Begin anew from what was written."""
        self.directory = Directory(self.contracts)
        self.register = Register()
        self.windows = Windows(self.directory, self.register, self.rules)
        self.account = self.directory.account("venue", "alice")
        for changes, watermarks_us in self.written:
            for o in (0, 1):
                self.account.clocks[o].watermark_us = watermarks_us[o]
            window_memory.restore(self.windows, msgspec.msgpack.decode(changes, type=WindowChanges))
        for alert in self.published:
            self.register.newest[alert.alert_id] = alert

    def read(self, o: int, one: Record) -> None:
        """Apply one record."""
        for key, each in one.moves:
            self.windows.add(self.account, o, key, each)
        clock = self.account.clocks[o]
        if one.lift_us > clock.watermark_us:
            clock.watermark_us = one.lift_us
            if clock.watermark_us >= clock.ends.next_us:
                self.windows.fall_due(clock)

    def write(self, snapshot_limit: int | None = None) -> None:
        """Drain."""
        self.windows.settle_restored()
        self.windows.forget()
        alerts = [entry.alert for entry in self.register.published]
        self.published += [msgspec.json.decode(msgspec.json.encode(a), type=Discrepancy) for a in alerts]
        self.register.published = []
        watermarks_us = (self.account.clocks[0].watermark_us, self.account.clocks[1].watermark_us)
        parts = [window_memory.take(self.windows)]
        if snapshot_limit is not None:
            self.written = []
            parts = [WindowChanges(self.rules.window_us), *window_memory.snapshot(self.windows, snapshot_limit)]
        self.written += [(msgspec.msgpack.encode(part), watermarks_us) for part in parts]

    def read_all(self, logs: Logs) -> Reader:
        """Read both by time, to their ends, with closing heartbeats."""
        for o in (0, 1):
            for one in (*logs[o], beat(END_S)):
                self.read(o, one)
        self.write()
        return self

    @property
    def standing(self) -> set[tuple[str, int]]:
        """Instrument and number of the window of drifts that stand, from what was published."""
        return standing(self.published)

    @property
    def said(self) -> list[tuple[str, int, str]]:
        """(transition, window counted from the first, residual)."""
        return [
            (alert.transition, alert.interval.from_us // LENGTH - START // LENGTH, alert.residual or "")
            for alert in self.published
            if alert.interval
        ]


# -- drawn worlds -----------------------------------------------------------------------------------------------------


class World(NamedTuple):
    """Two logs, and whether anything in them came later than it may."""

    logs: Logs
    late: bool


def world(rng: random.Random) -> World:
    """A minute of trades, most of them near the ends of windows, with everything that may go wrong."""
    late = rng.random() < 0.3
    told: tuple[list[tuple[list[Told], int]], list[tuple[list[Told], int]]] = ([], [])
    for number in range(rng.randint(1, 14)):
        for o, record_moves in _trade(rng, str(number)):
            told[o].append((record_moves, record_moves[0][1].ts_us))
    logs: list[Log] = []
    for o in (0, 1):
        arriving = []
        for n, (moves, ts_us) in enumerate(told[o]):
            late_s = rng.choice((5, 12, 40)) if late and rng.random() < 0.2 else 0
            arriving.append((ts_us + rng.randint(0, WITHIN) + late_s * SECOND, n, moves, ts_us))
        arriving.sort()
        logs.append([Record(moves, ts_us, ts_us - WITHIN) for _, _, moves, ts_us in arriving])
    return World((logs[0], logs[1]), late)


def _trade(rng: random.Random, trade_id: str) -> Iterable[tuple[int, list[Told]]]:
    instrument = rng.choice(("BTC", "BTC", "ETH"))
    at_s = 10 * rng.randint(0, 5) + rng.choice((-0.5, 0, 0, 0.000001, 1, 2, 5)) + 10
    base: dict[str, str | None] = {
        "side": rng.choice(("buy", "sell")),
        "qty": rng.choice(("1", "2", "2.50")),
        "price": rng.choice(("100", "101.5")),
        "fee": rng.choice(("0.1", "-0.05", None)),
        "fee_asset": "USD",
        "instrument": instrument,
    }
    common_id = rng.random() < 0.8
    amended = rng.choice((None, None, None, "correction", "bust"))
    amend_s = at_s + rng.choice((0.5, 3, 9, 14))
    for o in (0, 1):
        if rng.random() < 0.15:
            continue
        said = dict(base)
        if rng.random() < 0.15:
            said |= rng.choice(({"qty": "3"}, {"price": "99"}, {"fee": "0.2"}, {"fee_asset": "BNB"}, {"qty": "1.0"}))
        own_id = trade_id if common_id else f"{trade_id}{'ie'[o]}"
        key = key_of(own_id, said["side"] or "", instrument)
        skew_s = rng.choice((0, 0, 0.000001, 0.5, 2))
        root = move(own_id, at_s + o * skew_s, **said)
        yield o, [(key, root)]
        if amended and rng.random() < 0.8:
            when_s = amend_s + (1 - o) * skew_s + o * skew_s * rng.randint(0, 1)
            moves = [(key, move(f"{own_id}c", when_s, sign=-1, **said))]
            if amended == "correction":
                moves.append((key, move(f"{own_id}c", when_s, **(said | {"price": "100.25"}))))
            yield o, moves


def live(rng: random.Random, one: World) -> Reader:
    """Read both logs in some interleaving, writing now and then, and dying."""
    # Where nothing is late, what is forgotten is not missed.
    horizon_s = 3600 if one.late else rng.choice((3600, 12))
    reader = Reader(Rules(window_us=LENGTH, horizon_us=horizon_s * SECOND))
    lead(rng, reader, ([*one.logs[0], beat(END_S)], [*one.logs[1], beat(END_S)]))
    return reader


def lead(rng: random.Random, reader: Reader | LedgerReader, records: tuple[Sequence[Any], Sequence[Any]]) -> None:
    """Let a reader read both logs."""
    at = [0, 0]  # what has been read
    safe = (0, 0)  # what a successor reads on from
    trouble = rng.random() < 0.7
    while at[0] < len(records[0]) or at[1] < len(records[1]):
        o = rng.choice([o for o in (0, 1) if at[o] < len(records[o])])
        for _ in range(rng.choice((1, 1, 2, 5, 40))):
            if at[o] < len(records[o]):
                reader.read(o, records[o][at[o]])
                at[o] += 1
        what = rng.random() if trouble else 0.5
        if what < 0.15:
            reader.start()
            at = list(safe)
        elif what < 0.7:
            reader.write(rng.choice((None, None, 1, 3, 1000)))
            safe = (at[0], at[1])
            if what < 0.3:
                reader.start()
    reader.write()


def told_in(log: Sequence[Record]) -> list[Told]:
    """All moves of a log."""
    return [told for one in log for told in one.moves]


def fractions(net: Net) -> Sums:
    """A net in the oracle's numbers."""
    return {measure: Fraction(amount) for measure, amount in net.items()}


CLOSED = (START + END_S * SECOND) // LENGTH - 2
"""The newest window that is closed at the end."""


def check(one: World, reader: Reader) -> Truth:
    """Hold what was published, and what is remembered, against the oracle."""
    expected = truth((told_in(one.logs[0]), told_in(one.logs[1])), SETTING, CLOSED)
    hold(expected, reader, late=one.late)
    return expected


def hold(expected: Truth, reader: Reader | LedgerReader, *, late: bool) -> None:
    """Hold what was published, and what is remembered, against what must be so."""
    reader.windows.settle()
    reader.write()
    published = [alert for alert in reader.published if alert.identity == "net_change"]
    assert standing(published) == set(expected.drifts), "standing (left: published, right: true)"
    for sight in reader.windows.live():
        place = sight.span.subject, sight.span.from_us // LENGTH
        ours, theirs = expected.nets.get(place, ({}, {}))
        assert [fractions(net) for net in sight.nets] == [ours, theirs], place
        assert fractions(sight.drift) == expected.drifts.get(place, {}), place
    if not late:
        opened = {place_of(alert) for alert in published if alert.transition == "OPENED"}
        # What is over by the time a feed has passed two ends at once need not have been said.
        assert opened <= expected.ever, "ever (left: published, right: true)"
    versions: dict[str, list[int]] = {}
    for alert in published:
        assert sum(Fraction(part.amount) for part in alert.split) == Fraction(alert.residual or 0), "parts add up"
        versions.setdefault(alert.alert_id, []).append(alert.version)
    assert all(seen == list(range(1, len(seen) + 1)) for seen in versions.values()), "versions grow by one"


def place_of(alert: Discrepancy) -> tuple[str, int]:
    """Instrument or asset of a drift, and the number of its window."""
    assert alert.interval is not None
    return alert.instrument or alert.asset or "", alert.interval.from_us // LENGTH


def standing(published: Iterable[Discrepancy]) -> set[tuple[str, int]]:
    """The places of drifts that stand in the end."""
    newest = {alert.alert_id: alert for alert in published}
    return {place_of(alert) for alert in newest.values() if alert.status == "OPEN"}


def argue_all(seeds: Iterable[int]) -> int:
    """Many worlds, each lived through once; a failure names its seed. How many drifts there were."""
    drifts = 0
    for seed in seeds:
        rng = random.Random(seed)
        one = world(rng)
        try:
            drifts += len(check(one, live(rng, one)).drifts)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
    return drifts


# -- ledgers ----------------------------------------------------------------------------------------------------------

COVERS = ("all", "non_trade")


class Ledgers(NamedTuple):
    """What both origins tell of their ledgers, copies included, and when it comes: (s, entry)."""

    logs: tuple[list[tuple[float, Posting]], list[tuple[float, Posting]]]
    covers: tuple[str, str]
    late: bool


def ledger_contracts(covers: Sequence[str] = ("all", "all"), promises: Sequence[str] = ("complete", "complete"),
                     **more: Any) -> Contracts:  # fmt: skip
    """Nothing but ledgers."""
    return Contracts(
        contracts=tuple(
            FeedContract.model_validate(
                {"origin": origin, "order_within_us": WITHIN, "grace_us": GRACE, "fills": "absent", "orders": "absent",
                 "positions": "absent", "balances": "absent", "ledger": promises[o], "ledger_covers": covers[o], **more}
            )
            for o, origin in enumerate(ORIGINS)
        )
    )  # fmt: skip


def posting(ledger_id: str, at_s: float, delta: str = "10", asset: str = "USD", reason: str = "deposit") -> Posting:
    """A deposit of ten, unless said otherwise."""
    return Posting(START + round(at_s * SECOND), ledger_id, asset, delta, reason)


class LedgerReader:
    """A lane that reads two ledgers, and what it published."""

    def __init__(self, rules: Rules | None = None, contracts: Contracts | None = None) -> None:
        self.rules = rules or Rules(window_us=LENGTH)
        self.contracts = contracts or ledger_contracts()
        self.written: list[bytes] = []
        self.published: list[Discrepancy] = []
        self.offset = 0
        self.start()

    def start(self) -> None:
        """Begin anew from what was written."""
        self.lane = Lane(0, self.contracts, self.rules)
        for changes in self.written:
            self.lane.restore(msgspec.msgpack.decode(changes, type=Changes))

    @property
    def windows(self) -> Windows:
        """Those of its lane."""
        return self.lane.windows

    def read(self, o: int, one: Posting | float | bytes) -> None:
        """Read an entry, or a heartbeat up to that second, or a record as it is."""
        origin = ORIGINS[o]
        event: dict[str, Any] = {"type": "heartbeat", "origin": origin, "source": f"{origin}|venue"}
        if isinstance(one, Posting):
            event |= {"type": "ledger", "venue": "venue", "account_id": "alice", **one._asdict()}
            event |= {"event_id": f"{origin}:{one.ledger_id}:{self.offset}", "source": None}
        elif not isinstance(one, bytes):
            event["through_us"] = START + round(one * SECOND)
        value = one if isinstance(one, bytes) else msgspec.json.encode({k: v for k, v in event.items() if v})
        time_us = START + 10_000 * SECOND
        events = decode_pack([value], [b"venue|alice"], [time_us], origin, "balances")
        self.lane.step(Batch(origin, "balances", f"{origin}.balances", [self.offset], [time_us], [value], events))
        self.offset += 1

    def read_all(self, internal: Sequence[Posting], exchange: Sequence[Posting]) -> LedgerReader:
        """Read both to their ends, with closing heartbeats."""
        for o, log in enumerate((internal, exchange)):
            for one in log:
                self.read(o, one)
            self.read(o, END_S)
        self.write()
        return self

    def write(self, snapshot_limit: int | None = None) -> None:
        """Drain."""
        drained = self.lane.drain()
        alerts = [entry.alert for entry in drained.published if isinstance(entry.alert, Discrepancy)]
        self.published += [msgspec.json.decode(msgspec.json.encode(alert), type=Discrepancy) for alert in alerts]
        self.written.append(msgspec.msgpack.encode(drained.changes))
        if snapshot_limit is not None:
            self.written = [msgspec.msgpack.encode(changes) for changes in self.lane.snapshot(snapshot_limit)]

    @property
    def drifts(self) -> list[Discrepancy]:
        """What was published of net changes."""
        return [alert for alert in self.published if alert.identity == "net_change"]


def ledgers(rng: random.Random) -> Ledgers:
    """A minute of entries, most of them near the ends of windows, with everything that may go wrong."""
    late = rng.random() < 0.3
    logs: tuple[list[tuple[float, Posting]], list[tuple[float, Posting]]] = ([], [])
    for number in range(rng.randint(1, 14)):
        at_s = 10 * rng.randint(0, 5) + rng.choice((-0.5, 0, 0, 0.000001, 1, 2, 5)) + 10
        base = posting(str(number), at_s, rng.choice(("1", "2", "-2.5", "-1", "0")), rng.choice(("USD", "USD", "BTC")),
                       rng.choice(("deposit", "funding", "fee", "trade")))  # fmt: skip
        common_id = rng.random() < 0.8
        for o in (0, 1):
            if rng.random() < 0.15:
                continue
            skew_us = o * round(rng.choice((0, 0, 0.000001, 0.5, 2)) * SECOND)
            one = base._replace(ts_us=base.ts_us + skew_us, ledger_id=base.ledger_id + ("" if common_id else "ie"[o]))
            if rng.random() < 0.2:
                one = rng.choice((one._replace(delta="3"), one._replace(asset="EUR"),
                                  one._replace(delta=f"{float(one.delta):.2f}")))  # fmt: skip
            late_s = rng.choice((5, 12, 40)) if late and rng.random() < 0.2 else 0
            logs[o].append(((one.ts_us - START) / SECOND + rng.uniform(0, 2) + late_s, one))
            while rng.random() < 0.2:  # copies, perhaps contradicting ones
                copy = one._replace(delta=rng.choice((one.delta, one.delta, "7")))
                logs[o].append(((one.ts_us - START) / SECOND + rng.uniform(0, 2) + late_s, copy))
    for log in logs:
        log.sort(key=lambda each: each[0])
    return Ledgers(logs, (rng.choice(COVERS), rng.choice(COVERS)), late)


def live_ledgers(rng: random.Random, one: Ledgers) -> LedgerReader:
    """Read both ledgers in some interleaving, writing now and then, and dying."""
    horizon_s = 3600 if one.late else rng.choice((3600, 12))
    rules = Rules(window_us=LENGTH, horizon_us=horizon_s * SECOND)
    reader = LedgerReader(rules, ledger_contracts(one.covers))
    records = tuple([*(each for _, each in log), float(END_S)] for log in one.logs)
    lead(rng, reader, (records[0], records[1]))
    return reader


def check_ledgers(one: Ledgers, reader: LedgerReader) -> Truth:
    """Hold what was published, and what is remembered, against the oracle."""
    ours, theirs = ([each for _, each in log] for log in one.logs)
    expected = truth_of_ledgers((ours, theirs), SETTING, CLOSED, cover_all=one.covers == ("all", "all"))
    hold(expected, reader, late=one.late)
    return expected


def argue_ledgers(seeds: Iterable[int]) -> int:
    """Many worlds of ledgers, each lived through once; a failure names its seed. How many drifts there were."""
    drifts = 0
    for seed in seeds:
        rng = random.Random(seed)
        one = ledgers(rng)
        try:
            drifts += len(check_ledgers(one, live_ledgers(rng, one)).drifts)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
    return drifts


if __name__ == "__main__":  # python -m tests.drifts FIRST LAST
    print(argue_all(range(int(sys.argv[1]), int(sys.argv[2]))))
    print(argue_ledgers(range(int(sys.argv[1]), int(sys.argv[2]))))
