"""Sending a command to recon.control.v1, and following what comes of it: for the command line and for programs."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition

from stream_recon.domain.control import name_of
from stream_recon.domain.results import FINAL, ReconciliationResult, run_id_of
from stream_recon.domain.work import Answer, Partial, Progress
from stream_recon.shell.clients import offset_in, opened, require

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream_recon.domain.control import Command
    from stream_recon.domain.topics import TopicPlan

_RESULT = msgspec.json.Decoder(ReconciliationResult)
_ANSWER: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)
_POLL_MS = 100
_TAIL = 2_000
"""So many records from the end heartbeats are looked for."""


class NoAnswerError(Exception):
    """Nobody has answered a command in time."""


class Cost(NamedTuple):
    """What a run would have to read of one partition."""

    partition: int
    records: int


async def send(
    bootstrap_servers: str, plan: TopicPlan, command: Command, *, patience_s: float | None,
    tell: Callable[[Progress | Partial], None] | None = None,
) -> ReconciliationResult | None:  # fmt: skip
    """Send a command, and give its final result; None where nobody waits (`patience_s` None).

    Raises:
        NoAnswerError: there is no final result after so many seconds.
        KafkaError: the broker cannot be reached.
    """
    await require(bootstrap_servers, plan.name("control"), plan.name("results"), plan.name("partials"))
    run_id = run_id_of(command.command_id)
    results = TopicPartition(plan.name("results"), 0)
    partials = [TopicPartition(plan.name("partials"), p) for p in range(plan.partitions)] if tell is not None else []
    async with opened(AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, enable_auto_commit=False)) as consumer:
        consumer.assign([results, *partials])
        for tp, offset in (await consumer.end_offsets([results, *partials])).items():
            consumer.seek(tp, offset)
        async with AIOKafkaProducer(
            bootstrap_servers=bootstrap_servers, acks="all", enable_idempotence=True
        ) as producer:
            value = msgspec.json.encode(command)
            sent = await producer.send_and_wait(plan.name("control"), value, command.command_id.encode(), 0)
        if patience_s is None:
            return None
        until = time.monotonic() + patience_s
        while time.monotonic() < until:
            for tp, records in (await consumer.getmany(timeout_ms=_POLL_MS)).items():
                for record in records:
                    if tp == results:
                        final = _final(record.value, run_id, sent.offset)
                        if final is not None:
                            return final
                    elif tell is not None:
                        _tell(record.value, run_id, tell)
            await asyncio.sleep(0)
    raise NoAnswerError(
        f"no result of {name_of(command)} {command.command_id} after {patience_s:.0f} s: is a worker running with "
        f"the topics {plan.name('control')} and {plan.name('work')}? `stream-recon run {run_id}` shows what came of it"
    )


def _final(value: bytes | None, run_id: str, offset: int) -> ReconciliationResult | None:
    """The final result, if a record is that of our run, or says that our very command was refused."""
    if value is None:
        return None
    result = _RESULT.decode(value)
    ours = result.reconciliation_id == run_id or result.command_offset == offset
    return result if ours and result.status in FINAL else None


def _tell(value: bytes | None, run_id: str, tell: Callable[[Progress | Partial], None]) -> None:
    answer = _ANSWER.decode(value or b"{}")
    if answer.run_id == run_id and isinstance(answer, Progress | Partial):
        tell(answer)


async def cost(bootstrap_servers: str, plan: TopicPlan, streams: tuple[str, ...], from_us: int) -> list[Cost]:
    """How many records a run would read, by partition.

    Raises:
        KafkaError: the broker cannot be reached.
    """
    topics = [topic for topic, (_, stream) in plan.sources().items() if stream in streams]
    await require(bootstrap_servers, *topics)
    tps = [TopicPartition(topic, p) for topic in topics for p in range(plan.partitions)]
    async with opened(AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, enable_auto_commit=False)) as consumer:
        ends = await consumer.end_offsets(tps)
        found = await consumer.offsets_for_times(dict.fromkeys(tps, max(0, from_us // 1000)))
    counts: dict[int, int] = dict.fromkeys(range(plan.partitions), 0)
    for tp in tps:
        begin = offset_in(found, tp, ends)
        counts[tp.partition] += ends[tp] - begin
    return [Cost(partition, records) for partition, records in counts.items()]


async def newest_settled(bootstrap_servers: str, plan: TopicPlan, wait_us: int) -> int | None:
    """The newest time (us) that every fills partition has passed, by its heartbeats, by what conclusions wait for."""
    topics = [topic for topic, (_, stream) in plan.sources().items() if stream == "fills"]
    await require(bootstrap_servers, *topics)
    tps = [TopicPartition(topic, p) for topic in topics for p in range(plan.partitions)]
    async with opened(AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, enable_auto_commit=False)) as consumer:
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        left = {tp for tp in tps if ends[tp] > 0}
        for tp in left:
            consumer.seek(tp, max(0, ends[tp] - _TAIL))
        through: dict[TopicPartition, int] = {}
        while left := {tp for tp in left if await consumer.position(tp) < ends[tp]}:
            for tp, records in (await consumer.getmany(*left, timeout_ms=_POLL_MS)).items():
                for record in records:
                    beat = _beat(record.value)
                    if beat is not None:
                        through[tp] = max(through.get(tp, 0), beat)
        lowest_us = min(through.values(), default=None)
    return max(0, lowest_us - wait_us) if lowest_us is not None else None


def _beat(value: bytes | None) -> int | None:
    try:
        told = msgspec.json.decode(value or b"")
    except msgspec.MsgspecError:
        return None
    through_us = told.get("through_us") if isinstance(told, dict) else None
    return through_us if isinstance(through_us, int) else None
