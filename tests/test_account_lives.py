"""Whole accounts through crashes, replacements and zombies: they end as the oracle says."""

from __future__ import annotations

import pytest

from tests.account_lives import Entry, Partition, Worker, argue_all
from tests.account_worlds import THEMES

SEEDS = range(100)


@pytest.mark.parametrize("theme", THEMES)
def test_accounts_that_zombies_write_of_end_as_the_oracle_says(theme: str) -> None:
    assert argue_all(SEEDS, theme) > len(SEEDS), "hardly any worker became a zombie"


# -- the harness bites -----------------------------------------------------------------------------------------------


class Fenceless(Worker):
    """A worker that also believes what a zombie wrote after its successor's claim."""

    def folded(self, log: list[Entry]) -> list[Entry]:
        """All that was written."""
        return [entry for entry in log if entry.changes]


class Unfolded(Worker):
    """A worker that restores from the last record of state alone."""

    def folded(self, log: list[Entry]) -> list[Entry]:
        """The last."""
        return super().folded(log)[-1:]


class ReadsOn(Worker):
    """A worker that believes committed offsets more than its state, and so misses what was read and not written."""

    def __init__(self, partition: Partition) -> None:
        super().__init__(partition)
        self.next = {
            topic: min(offset + 1, len(partition.world.logs[topic])) if offset else 0
            for topic, offset in self.next.items()
        }


@pytest.mark.parametrize("broken", [Fenceless, Unfolded, ReadsOn])
def test_the_harness_bites_a_worker_without(broken: type[Worker]) -> None:
    with pytest.raises(AssertionError, match="seed"):
        argue_all(SEEDS, worker_type=broken)
