"""What tests share: real brokers, started once and only when a test asks for one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings

from stream_recon.broker import open_broker
from stream_recon.data import hyperliquid_instruments
from stream_recon.domain.topics import TopicPlan
from tests.databases import Postgres
from tests.deployment import Deployment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from stream_recon.broker import Broker


# How long an example takes says nothing on a busy machine.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """One real broker for all tests, whichever the ladder finds first; tests keep apart by their topics' prefix."""
    with open_broker() as found:
        yield found


@pytest.fixture(scope="session")
def three_brokers() -> Iterator[Broker]:
    """Three nodes that tests may kill, stop and start again, and leave running."""
    with open_broker("embedded", nodes=3) as found:
        yield found


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One real PostgreSQL for all tests that leave it running; each takes a database of its own."""
    server = Postgres()
    yield server
    server.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an audit store may be made: nothing is there yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'audit.db'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.database()


@pytest.fixture
def topic_plan() -> TopicPlan:
    """Topics no other test uses; not made yet."""
    return TopicPlan(prefix=f"test-{uuid4().hex[:12]}.")


@pytest.fixture
def deploy(broker: Broker, tmp_path: Path) -> Iterator[Callable[..., Deployment]]:
    """Makes deployments under the contracts and with the instruments given, or the files of them, and ends them."""
    made: list[Deployment] = []

    def make(contracts: Any, instruments: Any = None) -> Deployment:
        made.append(Deployment(broker.bootstrap_servers, tmp_path, contracts, instruments or hyperliquid_instruments()))
        return made[-1]

    yield make
    for each in made:
        each.close()
