"""Full runs over a real broker: what is taken out in columns changes neither partials nor checkpoints, and verifies."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from stream_recon.core.memory import Changes
from stream_recon.domain.contracts import Contracts, FeedContract
from stream_recon.domain.events import ORIGINS
from stream_recon.domain.results import Scope
from stream_recon.domain.topics import TopicPlan
from stream_recon.domain.work import ReplayItem
from stream_recon.shell import replaying
from stream_recon.shell.clients import new_reader, opened
from stream_recon.shell.settings import WorkerSettings
from stream_recon.shell.topics import create
from stream_recon.strategies.registry import registry
from tests.test_columnar_worlds import START_US, agreeing
from tests.told import recorded

if TYPE_CHECKING:
    from stream_recon.broker import Broker
    from stream_recon.domain.events import Origin

SECOND_US = 1_000_000
FULL = registry().of("full")
ALONE = Contracts(contracts=tuple(
    FeedContract(origin=origin, orders="absent", positions="absent", balances="absent", ledger="absent")
    for origin in ORIGINS
))  # fmt: skip
STREAMS: dict[str, Any] = {"fill": "fills", "order": "orders"}


class Watch:
    """Lets everything pass."""

    async def step(self, stage: str, records: int, of: int) -> None:
        """As `replaying.Oversight`."""

    async def aside(self, seconds: float) -> None:
        """As `replaying.Oversight`."""
        await asyncio.sleep(seconds)


async def written(settings: WorkerSettings, told: list[tuple[Origin, bytes]]) -> None:
    """Make the topics, and write events to them."""
    await create(settings.bootstrap, settings.plan)
    async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap) as producer:
        for origin, text in told:
            event = json.loads(text)
            topic = settings.plan.source(origin, STREAMS.get(event["type"], "balances"))
            key = f"{event['venue']}|{event['account_id']}".encode()
            await producer.send(topic, text, key, 0)


def replayed(
    settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch, *, columns: bool, **more: Any
) -> tuple[Any, int | None]:  # fmt: skip
    """What a full run comes to, and how many records were taken out."""
    monkeypatch.setattr(replaying, "COLUMNS_FROM", 0 if columns else 1 << 62)
    scope = Scope(identities=FULL.identities, from_us=0, to_us=START_US + 10**12)
    item = ReplayItem(
        run_id="r", type="full", strategy="full", deadline_us=0, config={"batch_size": 100}, scope=scope,
        keep_checkpoint=True, **more,
    )  # fmt: skip
    replay = replaying.Replay(settings, FULL, 0, item, Watch())

    async def run_it() -> replaying.Replayed:
        async with opened(new_reader(settings)) as reader:
            return await replay.run(reader)

    done = asyncio.run(run_it())
    done.partial.seconds = {}
    pieces = [msgspec.msgpack.decode(part.changes, type=Changes) for part in done.checkpoint]
    return (done.partial, pieces), replay._pass.taken_out if replay._pass is not None else None


def settings_of(broker: Broker, contracts: Contracts) -> WorkerSettings:
    plan = TopicPlan(prefix=f"columns-{uuid4().hex[:8]}.", partitions=1)
    return WorkerSettings(bootstrap=broker.bootstrap_servers, plan=plan, contracts=contracts)


def test_a_full_run_of_many_fills_is_the_same_and_verifies(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(broker, ALONE)
    told: list[tuple[Origin, bytes]] = []
    for origin in ORIGINS:
        for n, text in enumerate(agreeing(3_000, accounts=7)[origin]):
            if n % 500 == 250 and origin == "exchange":
                continue
            wrong = origin == "internal" and n % 700 == 300
            spread = text.replace(b"%d" % (START_US + n * 10_000), b"%d" % (START_US + n * 10 * SECOND_US))
            told.append((origin, spread.replace(b'"price":"100"', b'"price":"101"') if wrong else spread))
    asyncio.run(written(settings, told))
    alone, none = replayed(settings, monkeypatch, columns=False)
    found, taken_out = replayed(settings, monkeypatch, columns=True)
    assert found == alone
    assert none is None
    assert taken_out is not None
    assert 2 * 3_000 > taken_out > 2 * 2_500
    assert len(found[0].discrepancies) >= 9
    ends = {cut.topic: cut.end_offset for cut in found[0].topics}
    starts = {cut.topic: cut.first_offset for cut in found[0].topics}
    again, by_the_core = replayed(settings, monkeypatch, columns=True, starts=starts, ends=ends)  # as verify does
    assert by_the_core is None
    assert again == found


@pytest.mark.parametrize("name", ["hyperliquid", "binance_usdm"])
def test_full_runs_of_recordings_are_the_same(name: str, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(broker, Contracts())
    lines = [(json.loads(text), text) for text in recorded(name).lines]
    told: list[tuple[Origin, bytes]] = [(event["origin"], text) for event, text in lines if "account_id" in event]
    asyncio.run(written(settings, told))
    alone, _ = replayed(settings, monkeypatch, columns=False)
    assert replayed(settings, monkeypatch, columns=True)[0] == alone
    fills = settings_of(broker, ALONE)
    asyncio.run(written(fills, [(origin, text) for origin, text in told if json.loads(text)["type"] == "fill"]))
    alone, _ = replayed(fills, monkeypatch, columns=False)
    assert replayed(fills, monkeypatch, columns=True)[0] == alone
