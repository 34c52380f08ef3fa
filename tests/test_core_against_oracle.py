"""The core argues with the oracle: drawn worlds, interleavings, batches, restarts, crashes and zombies."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_recon.core import cases, trades
from stream_recon.core.memory import Changes
from stream_recon.domain.events import ORIGINS
from tests.simulation import Entry, Kafka, Worker, argue_all, check, live, world

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from stream_recon.domain.events import Origin
    from tests.simulation import World

SEEDS = range(800)
FOUND = (100853,)
"""A root that came after its correction, and the other side late."""
randoms = st.randoms(use_true_random=False)


def test_a_life_with_crashes_and_zombies_ends_as_the_oracle_says() -> None:
    argue_all((*SEEDS, *FOUND))


@settings(max_examples=150, deadline=None)
@given(randoms)
def test_any_world_ends_as_the_oracle_says(rng: random.Random) -> None:
    kafka = Kafka(world(rng))
    check(kafka, live(rng, kafka))


def turns(rng: random.Random, one: World) -> list[Origin]:
    """Some order in which the records of both logs are read."""
    order = [origin for origin in ORIGINS for _ in one.logs[origin]]
    rng.shuffle(order)
    return order


def read(one: World, order: list[Origin], cuts: set[int], between: Callable[[Worker], Worker] = lambda w: w) -> Kafka:
    """Read records in that order, in as large batches as `cuts` allow, and let `between` happen at each cut."""
    kafka = Kafka(one)
    worker = Worker(kafka)
    begin = 0
    for end in range(1, len(order) + 1):
        if end == len(order) or order[end] != order[begin] or end in cuts:
            worker.read(order[begin], end - begin)
            if end in cuts:
                worker.write()
                worker = between(worker)
            begin = end
    worker.write()
    return kafka


def published(kafka: Kafka) -> list[bytes]:
    """Every transition, byte by byte; which of those that fall due together comes first means nothing."""
    return sorted({msgspec.json.encode(alert) for _, alert in kafka.alerts})


@settings(max_examples=100, deadline=None)
@given(randoms)
def test_where_a_batch_ends_changes_nothing(rng: random.Random) -> None:
    one = world(rng)
    order = turns(rng, one)
    cuts = set(rng.sample(range(len(order)), len(order) // 4))
    assert published(read(one, order, cuts)) == published(read(one, order, set()))
    assert published(read(one, order, set(range(len(order))))) == published(read(one, order, set()))


@settings(max_examples=100, deadline=None)
@given(randoms)
def test_a_restored_lane_goes_on_as_if_nothing_had_happened(rng: random.Random) -> None:
    one = world(rng)
    order = turns(rng, one)
    cuts = set(rng.sample(range(len(order)), len(order) // 4))

    def snapshot_and_restart(worker: Worker) -> Worker:
        worker.write_snapshot(rng.choice((1, 4, 1000)))
        return Worker(worker.kafka)

    unharmed = published(read(one, order, set()))
    assert published(read(one, order, cuts, lambda worker: Worker(worker.kafka))) == unharmed
    assert published(read(one, order, cuts, snapshot_and_restart)) == unharmed


# -- the harness bites -----------------------------------------------------------------------------------------------


class ReadsAgain(Worker):
    """A restarted worker that believes committed offsets more than its state, and so applies records twice."""

    def __init__(self, kafka: Kafka) -> None:
        super().__init__(kafka)
        self.next = {origin: max(offset - 3, 0) for origin, offset in self.next.items()}


class AcknowledgesTooEarly(Worker):
    """A worker whose offsets are safe before its state is."""

    def write(self, *, publishes: bool = True) -> None:
        """Lose the changes of a pack after which the worker died, but not its offsets."""
        super().write(publishes=publishes)
        if not publishes:
            last = self.kafka.state[-1]
            self.kafka.state[-1] = last._replace(changes=msgspec.msgpack.encode(Changes()), alerts=[])


class Fenceless(Worker):
    """A worker that also believes what a zombie wrote after its successor's claim."""

    def __init__(self, kafka: Kafka) -> None:
        log, newest = kafka.state, len(kafka.state)
        kafka.state = [Entry(newest, *entry[1:]) for entry in log]
        super().__init__(kafka)
        kafka.state = [*log, kafka.state[-1]]


class Unfolded(Worker):
    """A worker that restores from the last record of state alone."""

    def __init__(self, kafka: Kafka) -> None:
        log, pointer = kafka.state, kafka.pointer
        kafka.state, kafka.pointer = [Entry(0, b"", {}, []), *log[-1:]], 0
        super().__init__(kafka)
        self.epoch = len(log)
        kafka.state, kafka.pointer = [*log, Entry(self.epoch, b"", {}, [])], pointer


class Blind(NamedTuple):
    """A rule of the core that is taken away."""

    module: object
    name: str
    instead: object


def without_the_late_rule(case: cases.Case, watermarks_us: tuple[int, int], terms: cases.Terms) -> cases.Judgement:
    """What stands now, and nothing of what a late record closed again."""
    return cases.judge(case, watermarks_us, terms)._replace(passed=[])


def without_duplicates(_: str, __: str) -> bool:
    """No copy is the same as another."""
    return False


@pytest.mark.parametrize("broken", [ReadsAgain, AcknowledgesTooEarly, Fenceless, Unfolded])
def test_the_harness_bites_a_worker_without(broken: type[Worker]) -> None:
    with pytest.raises(AssertionError, match="seed"):
        argue_all(SEEDS, broken)


@pytest.mark.parametrize(
    "blind",
    [Blind(trades, "judge", without_the_late_rule), Blind(trades, "agree", without_duplicates)],
    ids=["the late rule", "de-duplication"],
)
def test_the_harness_bites_a_core_without(blind: Blind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blind.module, blind.name, blind.instead)
    with pytest.raises(AssertionError, match="seed"):
        argue_all(SEEDS)


@settings(max_examples=60, deadline=None)
@given(randoms)
def test_a_restored_lane_counts_as_the_one_that_lived(rng: random.Random) -> None:
    kafka = Kafka(world(rng))
    worker = live(rng, kafka)
    assert Worker(kafka).lane.counts == worker.lane.counts
