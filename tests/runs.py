"""Words for tests of runs on a real broker: commands on the control topic, and what comes of them."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec
from aiokafka import AIOKafkaProducer

from stream_recon.domain.results import FINAL, ReconciliationResult

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.deployment import Deployment

_RESULT = msgspec.json.Decoder(ReconciliationResult)


def now_us() -> int:
    """The time."""
    return time.time_ns() // 1000


async def _produce(servers: str, topic: str, records: Iterable[tuple[bytes | None, bytes]], partition: int) -> int:
    offset = -1
    async with AIOKafkaProducer(bootstrap_servers=servers) as producer:
        for key, value in records:
            offset = (await producer.send_and_wait(topic, value, key, partition)).offset
    return offset


def produce(place: Deployment, role: Any, value: bytes, key: bytes | None = None, partition: int = 0) -> int:
    """Write one record; gives its offset."""
    return asyncio.run(_produce(place.servers, place.plan.name(role), [(key, value)], partition))


def ask(place: Deployment, command: str = "reconcile", **more: Any) -> str:
    """Write a command to the control topic; gives its id."""
    told = {"command": command, "command_id": uuid4().hex, "issued_by": "ann", "issued_us": now_us(), **more}
    produce(place, "control", msgspec.json.encode(told), told["command_id"].encode())
    return str(told["command_id"])


def results_of(place: Deployment, command_id: str) -> list[ReconciliationResult]:
    """All results that were published of a command, in order."""
    decoded = [_RESULT.decode(record.value) for record in place.records("results")]
    return [each for each in decoded if each.command_id == command_id]


def result_of(place: Deployment, command_id: str) -> ReconciliationResult:
    """What a command's run came to; there is one final result, and what came before it was `running`."""
    place.until(lambda: any(each.status in FINAL for each in results_of(place, command_id)))
    *before, final = results_of(place, command_id)
    assert {each.status for each in before} <= {"running"}
    return final


def perform(place: Deployment, kind: str | None, **more: Any) -> ReconciliationResult:
    """Run a type, and wait for what it comes to."""
    return result_of(place, ask(place, type=kind, **more))


def answer_at(place: Deployment, offset: int) -> ReconciliationResult:
    """The final result that answers the record of the control topic at that offset."""

    def found() -> list[ReconciliationResult]:
        decoded = [_RESULT.decode(record.value) for record in place.records("results")]
        return [each for each in decoded if each.command_offset == offset and each.status in FINAL]

    place.until(lambda: bool(found()))
    [answer] = found()
    return answer
