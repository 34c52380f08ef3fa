"""Makes the planned topics in a broker, and says what is wrong with those that are there."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import NoError, TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code
from msgspec import Struct

from stream_recon.domain.topics import DAY_MS, FOREVER_MS, agreed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

    from stream_recon.domain.topics import Topic, TopicPlan

    Partitions = list[dict[str, Any]]

COPIES = 3
SETTLE_S = 0.05
SETTLE_TRIES = 600
NEEDED_MS = 3 * DAY_MS
"""A lookback of 24 h, and two days of outage to survive."""


class TopicsError(Exception):
    """The broker refused to make or remove topics; the text says which, and why."""


class Finding(Struct, frozen=True):
    """What is wrong with one topic, and the command that mends it."""

    topic: str
    problem: str
    mend: str
    fatal: bool = True
    """A worker must not run with it."""

    def __str__(self) -> str:
        """In one line."""
        return f"{self.topic}: {self.problem}; to mend it: {self.mend}"


class Found(Struct, frozen=True):
    """A topic as the broker describes it."""

    partitions: int
    config: dict[str, str]


async def create(servers: str, plan: TopicPlan) -> list[str]:
    """Make the topics that are not there, wait until each partition has a leader; gives the names of those made.

    Raises:
        TopicsError: the broker refuses one.
        KafkaError: it does not answer.
    """
    async with _admin(servers) as admin:
        there = set(await admin.list_topics())
        wanted = [topic for topic in plan.topics() if topic.name not in there]
        if wanted:
            nodes = len((await admin.describe_cluster())["brokers"])
            answer = await admin.create_topics(
                [
                    NewTopic(t.name, t.partitions, t.replication or min(nodes, COPIES), topic_configs=t.config)
                    for t in wanted
                ]
            )
            known = _raise_refusals("create", answer.topic_errors, TopicAlreadyExistsError)
            wanted = [topic for topic in wanted if topic.name not in known]  # somebody else was faster
        names = [topic.name for topic in plan.topics()]
        await _until(
            admin, lambda found: all(_led(found.get(name)) for name in names), "each partition to have a leader"
        )
    return [topic.name for topic in wanted]


async def delete(servers: str, plan: TopicPlan) -> None:
    """Remove the topics of the plan, with all that is in them.

    Raises:
        TopicsError: the broker refuses one.
        KafkaError: it does not answer.
    """
    async with _admin(servers) as admin:
        there = set(await admin.list_topics())
        doomed = [topic.name for topic in plan.topics() if topic.name in there]
        if doomed:
            answer = await admin.delete_topics(doomed)
            _raise_refusals("delete", answer.topic_error_codes, UnknownTopicOrPartitionError)
            await _until(admin, lambda found: found.keys().isdisjoint(doomed), f"{', '.join(doomed)} to be gone")


async def verify(servers: str, plan: TopicPlan, needed_ms: int = NEEDED_MS) -> list[Finding]:
    """What is wrong with the topics, in the order of the plan; `needed_ms`: how long records must at least be kept.

    Raises:
        KafkaError: the broker does not answer, or does not let us look.
    """
    async with _admin(servers) as admin:
        found = await _describe(admin, plan)
    return [finding for topic in plan.topics() for finding in judge(topic, found.get(topic.name), servers, needed_ms)]


async def counted(servers: str, plan: TopicPlan, said: int | None) -> int:
    """How many partitions the source topics have.

    Raises:
        PartitionsError: they differ from each other, or from what was said.
        UnknownTopicOrPartitionError: one of them is not there.
        KafkaError: the broker does not answer.
    """
    async with _admin(servers) as admin:
        # All topics are asked for: to ask for one that is missing may create it.
        there = {found["topic"]: len(found["partitions"]) for found in await admin.describe_topics()}
    for name in plan.sources():
        if name not in there:
            raise UnknownTopicOrPartitionError(f"there is no topic {name}; `stream-recon topics create` makes it")
    return agreed({name: there[name] for name in plan.sources()}, said)


def judge(topic: Topic, found: Found | None, servers: str, needed_ms: int = NEEDED_MS) -> Iterator[Finding]:
    """Compare one topic with what it is to be."""
    if found is None:
        yield Finding(topic.name, "does not exist", "stream-recon topics create")
        return
    if found.partitions != topic.partitions:
        yield _wrong_count(topic, found.partitions, servers)
    wrong: dict[str, str] = {}
    if found.config.get("cleanup.policy") != topic.shape.cleanup:
        wrong["cleanup.policy"] = topic.shape.cleanup
    if topic.shape.cleanup == "delete":
        least = FOREVER_MS if topic.shape.retention_ms == FOREVER_MS else min(needed_ms, topic.shape.retention_ms)
        kept = int(found.config.get("retention.ms", FOREVER_MS))
        if kept != FOREVER_MS and (least == FOREVER_MS or kept < least):
            wrong["retention.ms"] = str(topic.shape.retention_ms)
        if int(found.config.get("retention.bytes", FOREVER_MS)) != FOREVER_MS:
            wrong["retention.bytes"] = str(FOREVER_MS)
    if wrong:
        yield _wrong_config(topic, found, wrong, servers, fatal=True)
    stamped = "message.timestamp.type"
    if found.config.get(stamped) != topic.config[stamped]:
        yield _wrong_config(topic, found, {stamped: topic.config[stamped]}, servers, fatal=False)


def _wrong_count(topic: Topic, partitions: int, servers: str) -> Finding:
    problem = f"has {partitions} partitions, not {topic.partitions}"
    if partitions < topic.partitions:
        mend = f"while it is empty: kafka-topics.sh --bootstrap-server {servers} --alter --topic {topic.name} "
        return Finding(topic.name, problem, mend + f"--partitions {topic.partitions}")
    if not topic.shape.divided:
        mend = f"kafka-topics.sh --bootstrap-server {servers} --delete --topic {topic.name}, then "
        return Finding(topic.name, problem, mend + "stream-recon topics create")
    return Finding(topic.name, problem, f"run with --partitions {partitions}, if every such topic has that many")


def _wrong_config(topic: Topic, found: Found, wrong: dict[str, str], servers: str, *, fatal: bool) -> Finding:
    problem = ", ".join(f"{key} is {found.config.get(key)}, not {value}" for key, value in wrong.items())
    settings = ",".join(f"{key}={value}" for key, value in wrong.items())
    return Finding(
        topic.name,
        problem,
        f"kafka-configs.sh --bootstrap-server {servers} --alter --entity-type topics --entity-name {topic.name} "
        f"--add-config {settings}",
        fatal,
    )


async def _describe(admin: AIOKafkaAdminClient, plan: TopicPlan) -> dict[str, Found]:
    # All topics are asked for: to ask for one that is missing may create it.
    counts = {found["topic"]: len(found["partitions"]) for found in await admin.describe_topics()}
    names = [topic.name for topic in plan.topics() if topic.name in counts]
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    answers = await admin.describe_configs(resources) if resources else []
    described = {}
    for answer in answers:
        for code, message, _, name, entries in answer.resources:
            if code:
                raise for_code(code)(f"{name}: {message}")
            described[name] = Found(counts[name], {entry[0]: entry[1] for entry in entries})
    return described


async def _until(admin: AIOKafkaAdminClient, holds: Callable[[dict[str, Partitions]], bool], what: str) -> None:
    for _ in range(SETTLE_TRIES):
        if holds({found["topic"]: found["partitions"] for found in await admin.describe_topics()}):
            return
        await asyncio.sleep(SETTLE_S)
    raise TopicsError(f"waited {SETTLE_S * SETTLE_TRIES:.0f} s in vain for {what}")


def _led(partitions: Partitions | None) -> bool:
    return bool(partitions) and all(partition["leader"] >= 0 for partition in partitions or [])


def _raise_refusals(what: str, errors: Iterable[tuple[Any, ...]], forgiven: type[Exception]) -> set[str]:
    """Say what the broker refused; gives the names of what was forgiven."""
    refused, passed = [], set()
    for name, code, *message in errors:
        kind = for_code(code)
        if kind is forgiven:
            passed.add(name)
        elif kind is not NoError:
            refused.append(f"{name}: {message[0] if message and message[0] else kind.__name__}")
    if refused:
        raise TopicsError(f"the broker refuses to {what} {'; '.join(refused)}")
    return passed


@asynccontextmanager
async def _admin(servers: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()
