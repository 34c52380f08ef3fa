"""Full runs with what agrees taken out in columns, and by the core alone: the same partial and the same checkpoint.

The log is a reader in memory that grows while a run settles, so that both ways read the same records.
"""

from __future__ import annotations

import asyncio
import json
import random
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pytest

from stream_recon.columnar import sift, spooled, told
from stream_recon.columnar.sift import Sifter, promises_more
from stream_recon.core import accounts, memory, trades
from stream_recon.core.memory import Changes
from stream_recon.domain.contracts import Contracts, FeedContract
from stream_recon.domain.events import ORIGINS
from stream_recon.domain.results import Scope
from stream_recon.domain.work import ReplayItem
from stream_recon.shell import replaying
from stream_recon.shell.replaying import Replay
from stream_recon.shell.settings import WorkerSettings
from stream_recon.strategies.registry import registry
from tests.test_columnar_worlds import (
    SECOND_US,
    START_US,
    Files,
    WithoutBarred,
    WithoutContent,
    WithoutDoubled,
    WithoutFirsts,
    WithoutLate,
    agreeing,
    drawn_contracts,
    drawn_files,
    fill_of,
    line,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiokafka.structs import TopicPartition

    from stream_recon.domain.events import Origin
    from stream_recon.shell.replaying import Replayed

LAST_US = START_US + 10**11
HOUR_US = 3_600 * SECOND_US


class Record(NamedTuple):
    """What aiokafka gives."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


Logs = dict[str, list[Record]]


class Reader:
    """A consumer of logs in memory, of which it shows more each time that it is asked for their ends."""

    def __init__(self, phases: list[Logs]) -> None:
        self.logs: Logs = {}
        self.phases = phases
        self.at: dict[str, int] = {}
        self.shown = 0
        self.done = False
        self.grow()

    def grow(self) -> None:
        """Show the next phase."""
        if self.shown < len(self.phases):
            for topic, records in self.phases[self.shown].items():
                self.logs.setdefault(topic, []).extend(records)
            self.shown += 1

    async def start(self) -> None:
        """Nothing is to be done."""

    async def stop(self) -> None:
        """Nothing is to be done."""

    def assign(self, tps: list[TopicPartition]) -> None:
        """All are read."""

    async def beginning_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        """Where logs begin."""
        return dict.fromkeys(tps, 0)

    async def end_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        """Where they end, after they have grown."""
        if self.at:
            self.grow()
        ends = {tp: self.logs.get(tp.topic, []) for tp in tps}
        return {tp: log[-1].offset + 1 if log else 0 for tp, log in ends.items()}

    async def offsets_for_times(self, times: dict[TopicPartition, int]) -> dict[TopicPartition, Any]:
        """Where all begin."""
        return {tp: self.logs[tp.topic][0] if self.logs.get(tp.topic) else None for tp in times}

    def seek(self, tp: TopicPartition, offset: int) -> None:
        """Read on from there."""
        self.at[tp.topic] = offset

    async def position(self, tp: TopicPartition) -> int:
        """What is read next."""
        return self.at[tp.topic]

    async def getmany(self, tp: TopicPartition, timeout_ms: int, max_records: int) -> dict[TopicPartition, Any]:
        """What is next."""
        del timeout_ms
        found = [record for record in self.logs[tp.topic] if record.offset >= self.at[tp.topic]][:max_records]
        if found:
            self.at[tp.topic] = found[-1].offset + 1
        return {tp: found}


class Patience:
    """An oversight whose run has until the log no longer grows."""

    def __init__(self, reader: Reader) -> None:
        self.reader, self.stages = reader, set[str]()

    async def step(self, stage: str, records: int, of: int) -> None:
        """As `replaying.Oversight`."""
        assert records <= of
        self.stages.add(stage)

    async def aside(self, seconds: float) -> None:
        """As `replaying.Oversight`."""
        await asyncio.sleep(seconds)


class Case(NamedTuple):
    """What is replayed."""

    phases: list[Logs]
    contracts: Contracts
    batch_size: int
    to_us: int
    keeps: bool
    strategy: str = "full"
    carried_us: int = HOUR_US
    """How far back a checkpoint remembers what agreed."""


def once(monkeypatch: pytest.MonkeyPatch, case: Case, *, columns: bool) -> tuple[Replayed, Replay]:
    """One way to do it."""
    reader = Reader(case.phases)
    monkeypatch.setattr(replaying, "COLUMNS_FROM", 0 if columns else 1 << 62)
    monkeypatch.setattr(replaying, "_SETTLE_S", 0)
    monkeypatch.setattr(replaying, "CARRIED_US", case.carried_us)
    clock = type("Clock", (), {
        "perf_counter": staticmethod(lambda: 0.0),
        "time_ns": staticmethod(lambda: 1 << 62 if reader.shown == len(reader.phases) and reader.done else 0),
    })  # fmt: skip
    monkeypatch.setattr(replaying, "time", clock)
    strategy = registry().of(case.strategy)
    item = ReplayItem(
        run_id="r", type=case.strategy, strategy=case.strategy, deadline_us=1,
        scope=Scope(identities=strategy.identities, from_us=0, to_us=case.to_us),
        config={"batch_size": case.batch_size}, keep_checkpoint=case.keeps,
    )  # fmt: skip
    settings = WorkerSettings(bootstrap="none", contracts=case.contracts)

    class Watch(Patience):
        async def step(self, stage: str, records: int, of: int) -> None:
            await super().step(stage, records, of)
            if stage == "settle":
                reader.done = reader.shown == len(reader.phases)

    if len(case.phases) == 1:
        reader.done = True
    replay = Replay(settings, strategy, 0, item, Watch(reader))
    return asyncio.run(replay.run(reader)), replay


def said(done: Replayed) -> tuple[Any, ...]:
    """All of it; of a checkpoint what it restores."""
    partial = msgspec.json.encode(msgspec.structs.replace(done.partial, counts={}))
    counts = {name: count for name, count in done.partial.counts.items() if count}
    pieces = [msgspec.msgpack.decode(part.changes, type=Changes) for part in done.checkpoint]
    for piece in pieces:
        piece.tallies = {name: count for name, count in piece.tallies.items() if count}
    return partial, counts, done.beyond, pieces, [part.next for part in done.checkpoint]


def taken_out(monkeypatch: pytest.MonkeyPatch, case: Case) -> int | None:
    """How many records the core was spared, the outcome being the same; None: it had to see all.

    Raises:
        AssertionError: the outcome is another.
    """
    alone, _ = once(monkeypatch, case, columns=False)
    found, replay = once(monkeypatch, case, columns=True)
    assert said(found) == said(alone)
    return replay._pass.taken_out if replay._pass is not None else None


@pytest.fixture(autouse=True)
def any_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """The core may be left with any part of the records, so that small logs are sifted too."""
    monkeypatch.setattr(spooled, "MOST_LEFT", 1)


def by_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what agrees be forgotten by the second, not the minute: worlds are short."""
    for module in (accounts, memory, trades, sift):
        monkeypatch.setattr(module, "MINUTE_US", SECOND_US)


def topic_of(origin: Origin, stream: Any = "fills") -> str:
    return WorkerSettings(bootstrap="none").plan.source(origin, stream)


ODD_KEYS = (None, b"", b"v1|a2", b"v1", b"\xff", b"v1|a\n1", b"v1\x01|a1")
ODD_VALUES = (None, None, b"", b"\n", b"\r", b"\x01", b"\x02", b"\xff", b"[]", b"\x00")


def as_records(rng: random.Random, lines: list[bytes], faulty: float) -> list[Record]:
    """Lines as Kafka has them, some of them with what only Kafka can have."""
    records: list[Record] = []
    offset, newest_us = 0, START_US
    for text in lines:
        ts_us, key = _time_and_key(text)
        newest_us = max(newest_us, ts_us)
        record = Record(offset, newest_us // 1000 + 1 + rng.randint(0, 50), key, text)
        if rng.random() < faulty:
            record = _spoilt(rng, record)
        records.append(record)
        if rng.random() < faulty / 9:
            records.append(record._replace(offset=record.offset + 1))
        offset = records[-1].offset + 1
    return records


def _time_and_key(text: bytes) -> tuple[int, bytes]:
    try:
        event = json.loads(text)
        ts_us = int(event.get("ts_us") or event.get("through_us") or 0)
        key = f"{event.get('venue')}|{event.get('account_id')}".encode()
    except (ValueError, AttributeError, TypeError, RecursionError):
        return 0, b"v1|a1"
    return ts_us if START_US <= ts_us <= LAST_US else 0, key


def _spoilt(rng: random.Random, record: Record) -> Record:
    """A record with what only Kafka can have."""
    text = record.value or b""
    return rng.choice((
        record._replace(key=rng.choice(ODD_KEYS)),
        record._replace(value=rng.choice(ODD_VALUES)),
        record._replace(value=text.replace(b",", b",\n").replace(b"{", b"{\n")),
        record._replace(value=text + b"\r"),
        record._replace(value=text.replace(b'"fill"', b'"order"')),
        record._replace(headers=(("x", b"y"),) * rng.choice((1, 64, 65))),
        record._replace(offset=record.offset + rng.randint(1, 3)),  # what a transaction leaves
        record._replace(timestamp=record.timestamp - (rng.choice((1, 1_000, 400_000)) if rng.random() < 0.1 else 0)),
    ))  # fmt: skip


def drawn(seed: int) -> Case:
    """A world of fills as logs."""
    rng = random.Random(seed)
    files: Files = {None: []}
    while None in files:
        files = drawn_files(rng)
    contracts = _with_fills_alone(rng, drawn_contracts(rng))
    faulty = rng.choice((0, 0, 0, 0.01, 0.05))
    spread = rng.choice((1, 1, 60))  # the last hour is a part of it
    phases: list[Logs] = [{}]
    newest_us = START_US
    for origin in ORIGINS:
        lines = files[origin]
        if spread > 1:
            lines = [_spread(text, spread) for text in lines]
        records = as_records(rng, lines, faulty)
        newest_us = max(newest_us, *(record.timestamp * 1000 for record in records))
        phases[0][topic_of(origin)] = records
    if rng.random() < 0.3:  # what comes while it settles
        for _ in range(rng.randint(1, 3)):
            phase: Logs = {}
            for origin in ORIGINS:
                before = [record for each in phases for record in each.get(topic_of(origin), [])]
                phase[topic_of(origin)] = list(_later(rng, before, origin, newest_us))
            newest_us += 5 * SECOND_US
            phases.append(phase)
    for stream in ("orders", "balances"):
        if rng.random() < 0.1:
            beat = {"type": "heartbeat", "origin": "exchange", "source": "exchange|v1", "through_us": START_US}
            phases[0][topic_of("exchange", stream)] = [
                Record(n, newest_us // 1000, b"beat", line(beat | {"through_us": START_US + n * SECOND_US}))
                for n in range(rng.randint(1, 9))
            ]
    return Case(
        phases, contracts, rng.choice((1, 7, 50, 100, 1_000)), newest_us - rng.choice((0, 10, 100)) * SECOND_US,
        rng.random() < 0.4, rng.choice(("full", "full", "trade_only")),
        rng.choice((0, 0, 1, 10, 3_600)) * SECOND_US,
    )  # fmt: skip


def _with_fills_alone(rng: random.Random, contracts: Contracts) -> Contracts:
    """Mostly, that nothing but fills is sent."""
    if rng.random() < 0.15:
        return contracts
    told = list(contracts.contracts)
    for origin in ORIGINS:
        if not any(each.origin == origin and each.account == "*" for each in told):
            told.append(FeedContract(origin=origin, grace_us=60 * SECOND_US, order_within_us=0))
    absent = dict.fromkeys(("orders", "positions", "balances", "ledger"), "absent")
    return Contracts(contracts=tuple(
        each.model_copy(update=absent) if each.positions is None else each for each in told
    ))  # fmt: skip


def _spread(text: bytes, by: int) -> bytes:
    try:
        told = json.loads(text)
        if START_US < told["ts_us"] < LAST_US:
            return text.replace(b"%d" % told["ts_us"], b"%d" % (START_US + (told["ts_us"] - START_US) * by))
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    return text


def _later(rng: random.Random, before: list[Record], origin: Origin, newest_us: int) -> Iterator[Record]:
    offset = before[-1].offset + 1 if before else 0
    for _ in range(rng.randint(0, 2)):
        time_ms = newest_us // 1000 + 20_000
        value = {"type": "heartbeat", "origin": origin, "source": f"{origin}|v1",
                 "through_us": newest_us + rng.choice((0, 10 * SECOND_US))}  # fmt: skip
        what = rng.randint(0, 29)
        if what < 24:
            yield Record(offset, time_ms, b"beat", line(value))
        elif what < 26:
            number = rng.randint(0, 10**6)
            new = fill_of(0) | {"origin": origin, "account_id": "a1", "ts_us": newest_us, "trade_id": f"new{number}"}
            yield Record(offset, time_ms, b"v1|a1", line(new))
        elif what == 26:
            yield Record(offset, time_ms, b"v1|a1", b"no")
        else:
            again = rng.choice(before)
            text = again.value or b""
            if what == 27:
                text = text.replace(b'"price":"1', b'"price":"3')
            elif what == 28:
                text = text.replace(b'"trade_id":"', b'"exec":"bust","ref_trade_id":"t5","trade_id":"b')
            yield Record(offset, time_ms, again.key, text)
        offset += 1


@pytest.mark.parametrize("first", range(0, 200, 20))
def test_runs_come_out_as_the_core_alone_has_them(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    by_the_second(monkeypatch)
    spared, used = 0, 0
    for seed in range(first, first + 20):
        case = drawn(seed)
        try:
            out = taken_out(monkeypatch, case)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        spared += out or 0
        used += bool(out)
    assert used >= 3  # of twenty; graces of 0, amendments and what settles leave nothing in many
    assert spared > 300


def told_alike(number: int, apart_us: int = 10_000) -> list[Logs]:
    """So many fills that agree, of one account, as logs."""
    return [{
        topic_of(origin): [
            Record(n, (START_US + n * apart_us) // 1000 + 1, b"v1|a0", text.replace(
                b"%d" % (START_US + n * 10_000), b"%d" % (START_US + n * apart_us)
            ))
            for n, text in enumerate(agreeing(number)[origin])
        ]
        for origin in ORIGINS
    }]  # fmt: skip


ALONE = Contracts(contracts=tuple(
    FeedContract(origin=origin, orders="absent", positions="absent", balances="absent", ledger="absent")
    for origin in ORIGINS
))  # fmt: skip


def test_what_a_checkpoint_remembers_is_left_to_the_core(monkeypatch: pytest.MonkeyPatch) -> None:
    hours = Case(told_alike(1_000, 10 * SECOND_US), ALONE, 100, START_US, keeps=True)
    out = taken_out(monkeypatch, hours)
    assert out is not None
    assert 2 * (1_000 - 360 - 20) < out < 2 * (1_000 - 360)


def test_fills_are_for_the_core_where_a_checkpoint_counts_them_or_orders_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    phases = told_alike(1_000)
    assert taken_out(monkeypatch, Case(phases, Contracts(), 100, START_US, keeps=False)) == 2 * 999
    assert not taken_out(monkeypatch, Case(phases, Contracts(), 100, START_US, keeps=True))
    order = {"type": "order", "origin": "internal", "venue": "v1", "account_id": "a0", "event_id": "o",
             "ts_us": START_US, "instrument": "BTC", "order_id": "o", "side": "buy", "cum_qty": "0",
             "status": "open"}  # fmt: skip
    phases[0][topic_of("internal", "orders")] = [Record(0, START_US // 1000 + 1, b"v1|a0", line(order))]
    assert taken_out(monkeypatch, Case(phases, ALONE, 100, START_US, keeps=False)) is None


def test_a_bust_that_comes_while_a_run_settles_lets_the_core_see_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    phases = told_alike(1_000)
    bust = fill_of(500) | {"origin": "exchange", "exec": "bust", "trade_id": "b", "ref_trade_id": "t500"}
    phases.append({topic_of("exchange"): [Record(1_000, (START_US + 10**7) // 1000, b"v1|a0", line(bust))]})
    assert taken_out(monkeypatch, Case(phases, ALONE, 100, START_US + 10**7, keeps=False)) is None
    done, _ = once(monkeypatch, Case(phases, ALONE, 100, START_US + 10**7, keeps=False), columns=True)
    assert done.partial.counts["consumed"] == 2_001
    assert done.partial.discrepancies or done.partial.unsettled


def test_a_record_that_is_fetched_beyond_the_end_is_read_when_the_end_has_moved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    phases = told_alike(25)  # in batches of ten, so that the fetch that reaches the end of one log brings more
    later = told_alike(35)[0]
    original = Reader.getmany

    async def ahead(self: Reader, tp: TopicPartition, timeout_ms: int, max_records: int) -> Any:
        self.logs = {topic: list(records) for topic, records in later.items()}  # they came since the ends were asked
        return await original(self, tp, timeout_ms, max_records)

    monkeypatch.setattr(Reader, "getmany", ahead)
    case = Case([*phases, {}], ALONE, 10, START_US + 10**7, keeps=False)
    for columns in (False, True):
        done, _ = once(monkeypatch, case, columns=columns)
        assert [cut.records for cut in done.partial.topics if "fills" in cut.topic] == [35, 35]


# -- that all this would be noticed -----------------------------------------------------------------------------------


class WithoutRecall(Sifter):
    """Takes out what a checkpoint remembers."""

    def _recall(self) -> None:
        pass


def noticed(monkeypatch: pytest.MonkeyPatch, seeds: int = 250) -> bool:
    """Whether any of many worlds comes out otherwise, or not at all."""
    by_the_second(monkeypatch)
    for seed in range(seeds):
        case = drawn(seed)
        try:
            taken_out(monkeypatch, case)
        except (AssertionError, KeyError):
            return True
    return False


@pytest.mark.parametrize(
    "wrong",
    [WithoutLate, WithoutBarred, WithoutDoubled, WithoutContent, WithoutFirsts, WithoutRecall],
    ids=lambda each: each.__name__,
)
def test_a_pass_that_takes_out_too_much_is_noticed(wrong: type[Sifter], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spooled, "Sifter", wrong)
    assert noticed(monkeypatch)


def test_fills_that_a_checkpoint_counts_and_are_taken_out_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def loosely(contract: FeedContract, *, strictly: bool = False) -> bool:
        del strictly
        return promises_more(contract)

    monkeypatch.setattr(spooled, "promises_more", loosely)
    monkeypatch.setattr(sift, "promises_more", loosely)
    with pytest.raises(AssertionError):
        taken_out(monkeypatch, Case(told_alike(1_000, 10 * SECOND_US), Contracts(), 100, START_US, keeps=True))


def test_later_records_of_what_was_taken_out_that_are_not_looked_at_are_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spooled.Pass, "concerns", lambda *_: False)
    assert noticed(monkeypatch)


def test_keys_of_records_that_are_not_looked_at_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    proof = told._proof
    monkeypatch.setattr(told, "_proof", lambda checked: proof(checked._replace(keyed=False)))
    assert noticed(monkeypatch)
