"""Taking a partition over: claim it, fold its state, publish what its last owner had no time to."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
)
from aiokafka.structs import TopicPartition
from msgspec.structs import replace

from stream_recon.core.lane import Lane
from stream_recon.core.memory import Changes
from stream_recon.core.rules import rules_of
from stream_recon.shell import metrics
from stream_recon.shell.clients import read_spans
from stream_recon.shell.publishing import ID_HEADER, Held, output_id
from stream_recon.shell.settings import RefusedError
from stream_recon.shell.state_log import Claim, Entry, Fold, Position, encode

if TYPE_CHECKING:
    from collections.abc import Collection

    from aiokafka import AIOKafkaConsumer
    from aiokafka.admin import AIOKafkaAdminClient

    from stream_recon.shell.publishing import Publisher
    from stream_recon.shell.settings import WorkerSettings

_log = structlog.get_logger()
_POINTER = "snapshot@"
_COORDINATOR_TRIES = 300
_COORDINATOR_WAIT_S = 0.1


def pointer_metadata(pointer: int | None) -> str:
    """What travels with a committed offset: where the newest complete snapshot starts."""
    return "" if pointer is None else f"{_POINTER}{pointer}"


class Restorer:
    """Makes partition numbers ours."""

    def __init__(
        self, settings: WorkerSettings, publisher: Publisher, reader: AIOKafkaConsumer, admin: AIOKafkaAdminClient,
        owner: str,
    ) -> None:  # fmt: skip
        self._settings, self._publisher, self._reader, self._admin = settings, publisher, reader, admin
        self._owner = owner
        self._plan = settings.plan
        self._topics = self._plan.consumed()

    async def acquire(self, partitions: Collection[int], known: dict[int, Held]) -> dict[int, Held]:
        """Claim all of them, and restore those of which somebody else may have written since we last held them.

        Raises:
            RefusedError: what is needed to go on is no longer there.
        """
        claims = dict(zip(partitions, await asyncio.gather(*map(self._claim, partitions)), strict=True))
        held: dict[int, Held] = {}
        for partition, offset in claims.items():
            mine = known.get(partition)
            if mine is not None and mine.tail + 1 == offset:
                mine.epoch = mine.tail = offset
                held[partition] = mine
        await self._restore({p: offset for p, offset in claims.items() if p not in held}, held)
        return held

    async def _claim(self, partition: int) -> int:
        [(value, headers)] = encode(Claim(self._owner), 0)
        delivered = await self._publisher.producer.send_and_wait(
            self._plan.name("state"), value, b"%d" % partition, partition, headers=headers
        )
        return int(delivered.offset)

    async def _restore(self, claims: dict[int, int], held: dict[int, Held]) -> None:
        if not claims:
            return
        sources = [TopicPartition(topic, p) for p in claims for topic in self._topics]
        logs = [TopicPartition(self._plan.name("state"), p) for p in claims]
        committed, begins, ends = await asyncio.gather(
            self._committed(sources),
            self._reader.beginning_offsets([*sources, *logs]),
            self._reader.end_offsets(sources),
        )
        settings = self._settings
        rules = rules_of(settings.configuration.sections, settings.instruments, window_s=settings.delta_window_s)
        folds = {log: Fold(partial(Lane, log.partition, self._settings.contracts, rules)) for log in logs}
        spans = {}
        for log in logs:
            pointers = [_pointer(committed.get(TopicPartition(topic, log.partition))) for topic in self._topics]
            spans[log] = (max(begins[log], *pointers), claims[log.partition])
        await read_spans(
            self._settings,
            spans,
            lambda log, record: folds[log].add(record.offset, record.value, record.headers),
            metrics.RESTORED,
        )
        for log, fold in folds.items():
            p, (start, _) = log.partition, spans[log]
            if start > 0 and fold.pointer is None:
                raise RefusedError(
                    f"{log.topic} partition {p}: the log begins at offset {start} without a complete snapshot, so what "
                    "was known is lost; restore the topic, or delete it and the consumer group "
                    f"{self._settings.group_id} to start anew from the source topics"
                )
            at = {topic: TopicPartition(topic, p) for topic in self._topics}
            fresh = fold.position is None
            position = fold.position or await self._beginning(p, {topic: begins[tp] for topic, tp in at.items()})
            self._check(position, fresh, at, committed, begins, ends)
            mine = Held(p, fold.lane, position, claims[p], claims[p], pointer=fold.pointer)
            if fresh:
                entry = Entry(position, Changes(), [])
                await self._settle(mine, entry)
            await self._publish_rest(mine, fold)
            held[p] = mine
            _log.info(
                "restored", partition=p, epoch=mine.epoch, records=fold.records, ignored=fold.ignored,
                read_from=start, next={topic: n for topic, n in position.next.items() if n},
            )  # fmt: skip

    async def _committed(self, sources: list[TopicPartition]) -> dict[TopicPartition, Any]:
        """What the group has committed, once its coordinator is there: it may be just starting, or moving."""
        for _ in range(_COORDINATOR_TRIES):
            try:
                return dict(await self._admin.list_consumer_group_offsets(self._settings.group_id, partitions=sources))
            except (GroupCoordinatorNotAvailableError, GroupLoadInProgressError, NotCoordinatorForGroupError):
                await asyncio.sleep(_COORDINATOR_WAIT_S)
        raise RefusedError(f"the broker has no coordinator for group {self._settings.group_id}")

    async def _settle(self, mine: Held, entry: Entry) -> None:
        for delivery in await self._publisher.write(mine, encode(entry, mine.epoch)):
            mine.tail = (await delivery).offset

    async def _beginning(self, partition: int, begins: dict[str, int]) -> Position:
        outputs = self._outputs(partition)
        ends = await self._reader.end_offsets(outputs)
        return Position(begins, -1, *(ends[tp] for tp in outputs))

    def _outputs(self, partition: int) -> list[TopicPartition]:
        """Where outputs of a partition number go, in the order of a position."""
        alerts, partials = (TopicPartition(self._plan.name(role), partition) for role in ("alerts", "partials"))
        return [alerts, TopicPartition(self._plan.name("dlq"), 0), partials]

    def _check(  # noqa: PLR0913, PLR0917 - all that is known of the offsets of a partition number
        self, position: Position, fresh: bool, at: dict[str, TopicPartition],  # noqa: FBT001
        committed: dict[TopicPartition, Any], begins: dict[TopicPartition, int], ends: dict[TopicPartition, int],
    ) -> None:  # fmt: skip
        for topic, tp in at.items():
            done = committed[tp].offset if tp in committed else -1
            if fresh and done > 0:
                raise RefusedError(
                    f"{topic} partition {tp.partition}: group {self._settings.group_id} has read up to offset {done}, "
                    f"but {self._plan.name('state')} holds no state for it; restore that topic, or delete the group to "
                    "start anew from the source topics"
                )
            needed = position.next.setdefault(topic, begins[tp])
            if needed > ends[tp]:
                raise RefusedError(
                    f"{topic} partition {tp.partition}: it ends at offset {ends[tp]}, but has been read up to "
                    f"{needed}: it was made anew, or has lost records; start anew with new state, or restore the topic"
                )
            if needed < begins[tp]:
                lost = f"{topic} partition {tp.partition}: records {needed} to {begins[tp] - 1} were deleted unread"
                if not self._settings.accept_loss:
                    raise RefusedError(
                        f"{lost}; lengthen the topic's retention, and start with accept_loss to go on without them"
                    )
                _log.error("records lost", topic=topic, partition=tp.partition, first=needed, last=begins[tp] - 1)
                metrics.LOST.labels(topic).inc(begins[tp] - needed)
                position.next[topic] = begins[tp]

    async def _publish_rest(self, mine: Held, fold: Fold) -> None:
        """Publish what the state says and the topics do not."""
        if fold.unpublished:
            position = mine.position
            begun = (position.alerts_next, position.dlq_next, position.partials_next)
            marks = dict(zip(self._outputs(mine.partition), begun, strict=True))
            if all(output.role != "partials" for entry in fold.unpublished for output in entry.outputs):
                marks.popitem()  # nothing is sought there, where the run lane writes much more
            begins, ends = await asyncio.gather(
                self._reader.beginning_offsets(list(marks)), self._reader.end_offsets(list(marks))
            )
            published: set[bytes] = set()

            def note(_: TopicPartition, record: Any) -> None:  # noqa: ANN401 - untyped
                published.update(value for name, value in record.headers if name == ID_HEADER)

            await read_spans(
                self._settings, {tp: (max(begins[tp], mark), ends[tp]) for tp, mark in marks.items()}, note
            )
            for entry in fold.unpublished:
                rest = []
                for number, output in enumerate(entry.outputs):
                    if output_id(mine.partition, entry.offset, number) not in published:
                        rest.append((number, output))
                    elif output.role == "alerts":  # the alert is there, but its state may not be; twice does no harm
                        rest.append((number, replace(output, role="breaks")))
                if rest:
                    _log.info("publishing what was left", partition=mine.partition, records=len(rest))
                    await self._publisher.publish(mine, entry.offset, rest)
        mine.position.delivered = mine.tail


def _pointer(committed: Any) -> int:  # noqa: ANN401 - untyped
    told = committed.metadata if committed is not None else ""
    return int(told.removeprefix(_POINTER)) if told.startswith(_POINTER) else 0
