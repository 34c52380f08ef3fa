"""Whole accounts read by workers that do not last: they crash, are replaced, and write on as zombies.

What is believed is what the state log says when it is folded from its pointer on, each record of it by an owner who had
not been replaced when it was written. That has to end as the oracle of accounts says, as if nothing had happened.
"""

from __future__ import annotations

import random
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from stream_recon.core.memory import Changes
from stream_recon.domain.discrepancies import Discrepancy
from tests.account_worlds import THEMES, explained, world
from tests.oracles.accounts import truth
from tests.oracles.argument import (
    STATED,
    Reader,
    in_the_oracles_words,
    plainly,
    unknown_in_the_core,
    unknown_in_truth,
)
from tests.simulation import live_through

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stream_recon.domain.events import Origin, Stream
    from tests.account_worlds import World


class Entry(NamedTuple):
    """One record of the state log."""

    epoch: int
    changes: bytes
    """Empty in a claim."""
    next: dict[tuple[Origin, Stream], int]
    """The next offset of each source."""
    alerts: list[Discrepancy]
    """What follows, to be published once this record is safe."""


@dataclass
class Partition:
    """What outlives a worker: the sources, the state log, and the alerts."""

    world: World
    state: list[Entry] = field(default_factory=list)
    alerts: list[tuple[int, Discrepancy]] = field(default_factory=list)
    """Each with its writer's epoch."""
    pointer: int = 0
    """Where the last complete snapshot begins in the state log."""


def believed(log: Iterable[Entry]) -> list[Entry]:
    """What owners wrote who had not been replaced by then."""
    found, epoch = [], -1
    for entry in log:
        if not entry.changes:
            epoch = entry.epoch
        elif entry.epoch >= epoch:
            found.append(entry)
    return found


class Worker(Reader):
    """One owner of the partition: claims it, folds its state, reads packs, writes what follows."""

    def __init__(self, partition: Partition) -> None:
        one = partition.world
        super().__init__(one.logs, one.contracts, one.instruments)
        self.partition = partition
        self.epoch = len(partition.state)
        partition.state.append(Entry(self.epoch, b"", {}, []))
        unpublished: list[Discrepancy] = []
        for entry in self.folded(partition.state[partition.pointer :]):
            self.lane.restore(msgspec.msgpack.decode(entry.changes, type=Changes))
            self.next = dict(entry.next)
            unpublished = entry.alerts
        # The last owner may have died between its state record and its alerts.
        partition.alerts += [(self.epoch, alert) for alert in unpublished]

    def folded(self, log: list[Entry]) -> list[Entry]:
        """The records of state that a new owner restores from."""
        return believed(log)

    def write(self, *, publishes: bool = True) -> None:
        """Drain into Kafka: state first, and then, if it lives on, the alerts."""
        published = len(self.published)
        self.drain()
        alerts = [alert for alert in self.published[published:] if isinstance(alert, Discrepancy)]
        self.partition.state.append(Entry(self.epoch, self.changes[-1], dict(self.next), alerts))
        if publishes:
            self.partition.alerts += [(self.epoch, alert) for alert in alerts]

    def write_snapshot(self, limit: int, parts: int | None = None) -> None:
        """Write the whole state and point at it; a worker that dies meanwhile has written only so many parts."""
        self.write()
        pointer = len(self.partition.state)
        self.partition.state.append(Entry(self.epoch, b"", {}, []))
        for changes in list(self.lane.snapshot(limit))[:parts]:
            self.partition.state.append(Entry(self.epoch, msgspec.msgpack.encode(changes), dict(self.next), []))
        if parts is None:
            self.partition.pointer = pointer


def check(partition: Partition, worker: Worker, zombies: int) -> None:
    """Hold what is believed at the end, and what was published, against the oracle."""
    one = partition.world
    expected = truth(one.logs, one.contracts, one.instruments)
    story = [alert for entry in believed(partition.state) for alert in entry.alerts]
    stands = {alert.alert_id: alert for alert in story}
    stands = {name: alert for name, alert in stands.items() if alert.status == "OPEN"}
    found = Counter(plainly(in_the_oracles_words(each)) for each in stands.values() if each.identity in STATED)
    wanted = Counter(map(plainly, expected.breaks))
    assert found == wanted, f"breaks: core {found - wanted}, oracle {wanted - found}"
    held, in_truth = unknown_in_the_core(worker.lane), unknown_in_truth(expected)
    assert held == in_truth, f"not known: core {held - in_truth}, oracle {in_truth - held}"
    versions: dict[str, int] = defaultdict(int)
    for alert in story:
        versions[alert.alert_id] += 1
        assert alert.version == versions[alert.alert_id], f"versions grow by one: {alert}"
    told = {repr(alert) for _, alert in partition.alerts}
    assert told.issuperset(map(repr, story)), "what is believed was published"
    in_topic = {alert.alert_id: alert for _, alert in sorted(partition.alerts, key=_age)}
    assert zombies or in_topic.keys() == versions.keys(), "nobody else published anything"
    for name, alert in in_topic.items():
        if name in versions:
            assert (alert.status == "OPEN") == (name in stands), f"a zombie has the last word: {alert}"
        elif alert.status == "OPEN":  # a zombie read in another order, and died with what it had opened
            explained(one, alert)


def _age(one: tuple[int, Discrepancy]) -> tuple[int, int]:
    return one[0], one[1].version


def argue_all(seeds: Iterable[int], theme: str | None = None, worker_type: type[Worker] = Worker) -> int:
    """Many worlds, each lived through once; a failure names its seed. Gives how many workers became zombies."""
    count = 0
    for seed in seeds:
        rng = random.Random(seed)
        partition = Partition(world(rng, theme))
        try:
            worker, zombies = live_through(rng, partial(worker_type, partition))
            worker.lane.tick({})  # what came late is looked at
            worker.write()
            check(partition, worker, zombies)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        count += zombies
    return count


def main() -> None:
    """Go on after a failure, and tell which seeds failed, in a line each."""
    failed = zombies = 0
    for theme in THEMES if len(sys.argv) < 4 else sys.argv[3:]:
        for seed in range(int(sys.argv[1]), int(sys.argv[2])):
            try:
                zombies += argue_all([seed], theme)
            except Exception as error:  # noqa: BLE001 - whatever it is, the seed is what matters
                failed += 1
                print(f"{theme}: {type(error).__name__}: {error}"[:900])
    print(f"{failed} failed, {zombies} zombies")


if __name__ == "__main__":  # python -m tests.account_lives FIRST LAST [THEME...]
    main()
