"""The topics, as data: what each is called, what its key is, how it is divided and how long it keeps its records.

All account-keyed topics share one partition count and the Java client's partitioner, so everything about one account
sits in one partition number. Every topic is stamped by the broker (LogAppendTime): Kafka expires by record time, so old
events published with a time of their own would be deleted at once.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from stream_recon.domain.events import ORIGINS, STREAMS, Origin, Stream

if TYPE_CHECKING:
    from collections.abc import Mapping

Role = Literal[
    "internal.fills", "internal.orders", "internal.balances",
    "exchange.fills", "exchange.orders", "exchange.balances",
    "control", "alerts", "breaks", "results", "corrections", "dlq", "work", "partials", "state",
]  # fmt: skip
Key = Literal["account", "alert_id", "command_id", "run_id", "original", "partition"]

_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")
DAY_MS = 86_400_000
FOREVER_MS = -1


class Shape(Struct, frozen=True):
    """What a topic is like, whatever it is called."""

    key: Key
    divided: bool
    """Into the common partition count; else one partition."""
    cleanup: Literal["delete", "compact"]
    retention_ms: int
    """What we create it with; -1 is forever. A compacted topic keeps the newest of each key whatever this says."""
    written_by: str


def _source(writer: str) -> Shape:
    return Shape("account", divided=True, cleanup="delete", retention_ms=7 * DAY_MS, written_by=writer)


# The state is trimmed by its owner, below its last snapshot: to expire by time would lose what a quiet worker knows.
SHAPES: dict[Role, Shape] = {
    "internal.fills": _source("the trading system"),
    "internal.orders": _source("the trading system"),
    "internal.balances": _source("the trading system"),
    "exchange.fills": _source("the venue gateway"),
    "exchange.orders": _source("the venue gateway"),
    "exchange.balances": _source("the venue gateway"),
    "control": Shape("command_id", False, "delete", 30 * DAY_MS, "operators and schedulers"),
    "alerts": Shape("alert_id", True, "delete", 90 * DAY_MS, "stream-recon"),
    "breaks": Shape("alert_id", True, "compact", FOREVER_MS, "stream-recon"),
    "results": Shape("run_id", False, "compact", FOREVER_MS, "stream-recon"),
    "corrections": Shape("account", True, "delete", 400 * DAY_MS, "stream-recon"),
    "dlq": Shape("original", False, "delete", 30 * DAY_MS, "stream-recon"),
    "work": Shape("partition", True, "delete", 7 * DAY_MS, "stream-recon"),
    "partials": Shape("run_id", True, "delete", 7 * DAY_MS, "stream-recon"),
    "state": Shape("partition", True, "delete", FOREVER_MS, "stream-recon"),
}


class Topic(Struct, frozen=True):
    """One topic as it is to be."""

    role: Role
    name: str
    partitions: int
    replication: int | None
    shape: Shape

    @property
    def config(self) -> dict[str, str]:
        """What Kafka is told when the topic is created."""
        settings = {"cleanup.policy": self.shape.cleanup, "message.timestamp.type": "LogAppendTime"}
        if self.shape.cleanup == "delete":
            settings["retention.ms"] = str(self.shape.retention_ms)
        return settings


class PartitionsError(ValueError):
    """Topics are divided otherwise than they must be; the text says what to set."""


def agreed(counts: Mapping[str, int], said: int | None) -> int:
    """Into how many partitions topics are divided, by how many each has; `said`: what somebody takes them to have.

    Raises:
        PartitionsError: they differ from each other, or from what was said. The fills of one account would go to
            different partitions on both sides, and not be found there.
    """
    topic, found = next(iter(counts.items()))
    for other, count in counts.items():
        if count != found:
            raise PartitionsError(
                f"{topic} has {found} partitions, and {other} has {count}: `stream-recon topics verify` says what to do"
            )
    if said is not None and said != found:
        raise PartitionsError(
            f"{topic} has {found} partitions, not {said}: set STREAM_RECON_PARTITIONS={found} or --partitions {found} "
            f"(from Python TopicPlan(partitions={found})), as its workers have"
        )
    return found


class TopicPlan(Struct, frozen=True, kw_only=True):
    """All topics of one deployment: `<prefix><role>.v1` unless `names` says otherwise."""

    prefix: str = "recon."
    partitions: int = 4
    replication: int | None = None
    """Copies of each partition; None: three, or as many as there are nodes."""
    names: dict[Role, str] = {}

    def __post_init__(self) -> None:
        """Refuse a plan in which two topics are one.

        Raises:
            ValueError: an unknown role, a name Kafka refuses, a count below 1, or one name for two roles.
        """
        if unknown := self.names.keys() - SHAPES.keys():
            raise ValueError(f"no such topic: {', '.join(sorted(unknown))}; there are {', '.join(SHAPES)}")
        if self.partitions < 1 or self.replication == 0:
            raise ValueError("partitions and replication must be at least 1")
        names = [self.name(role) for role in SHAPES]
        if wrong := [name for name in names if not _NAME.fullmatch(name)]:
            raise ValueError(f"not a name for a topic (1 to 249 of a-z A-Z 0-9 . _ -): {', '.join(wrong)}")
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"one name for two topics: {', '.join(doubled)}")

    def name(self, role: Role) -> str:
        """What the topic of that role is called."""
        return self.names.get(role) or f"{self.prefix}{role}.v1"

    def source(self, origin: Origin, stream: Stream) -> str:
        """What the topic of one origin's stream is called."""
        return self.name(_SOURCE_ROLES[origin, stream])

    def topic(self, role: Role) -> Topic:
        """The topic of that role."""
        shape = SHAPES[role]
        return Topic(role, self.name(role), self.partitions if shape.divided else 1, self.replication, shape)

    def topics(self) -> tuple[Topic, ...]:
        """All of them, sources first."""
        return tuple(self.topic(role) for role in SHAPES)

    def consumed(self) -> tuple[str, ...]:
        """The topics of which a worker reads the partition numbers that it owns: the sources, and the work items."""
        return (*self.sources(), self.name("work"))

    def sources(self) -> dict[str, tuple[Origin, Stream]]:
        """The source topics by name, and what each carries."""
        return {self.name(role): carried for carried, role in _SOURCE_ROLES.items()}


_SOURCE_ROLES: dict[tuple[Origin, Stream], Role] = {
    (origin, stream): f"{origin}.{stream}"  # type: ignore[misc]  # mypy does not multiply literals out
    for origin in ORIGINS
    for stream in STREAMS
}
