"""When scheduled runs are due: cron expressions in their time zones, computed from what was looked at last.

A time that passed while nobody looked is caught up once, for the newest of them, and the run says how many there were.
Where clocks are set forward, a time that does not exist that day fires at the next one that does; where they are set
back, one that exists twice fires once.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

from cronsim import CronSim

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SECOND_US = 1_000_000
_LATE_US = 60 * SECOND_US
"""A run that fires so much after its time was missed, and is caught up."""
_LIMIT = 100_000


class Schedule(NamedTuple):
    """One line of `scheduled.runs`."""

    cron: str
    timezone: str = "UTC"
    type: str = "full"
    accounts: tuple[str, ...] | None = None
    params: Mapping[str, Any] = {}

    @property
    def name(self) -> str:
        """The same for the same schedule, whatever its place among others."""
        told = f"{self.cron}|{self.timezone}|{self.type}|{self.accounts}|{sorted(self.params.items())}"
        return blake2b(told.encode(), digest_size=6).hexdigest()


class Due(NamedTuple):
    """A run that is to begin."""

    command_id: str
    """A function of the schedule and its time: the same run is never started twice."""
    type: str
    accounts: tuple[str, ...] | None
    params: Mapping[str, Any]
    at_us: int
    """When it should have begun: the time of its cut."""
    missed: int
    """Times of the same schedule before it that nobody looked at."""
    notes: tuple[str, ...]


def due(schedules: Iterable[Schedule], after_us: int, now_us: int) -> list[Due]:
    """The runs whose time lies after `after_us`, and not after `now_us`; of each schedule only the newest."""
    found = []
    for schedule in schedules:
        times = times_of(schedule, after_us, now_us)
        if not times:
            continue
        at_us = times[-1]
        notes = []
        if at_us < now_us - _LATE_US:
            when = datetime.fromtimestamp(at_us // SECOND_US, UTC).isoformat()
            notes.append(f"caught up: it was due at {when}, when nobody was there to start it")
        if len(times) > 1:
            notes.append(f"{len(times) - 1} earlier times of this schedule were missed and are not made up for")
        found.append(
            Due(
                f"schedule:{schedule.name}:{at_us // SECOND_US}", schedule.type, schedule.accounts, schedule.params,
                at_us, len(times) - 1, tuple(notes),
            )
        )  # fmt: skip
    return found


def times_of(schedule: Schedule, after_us: int, until_us: int) -> list[int]:
    """Its times (us) after one and up to another, at most the first of many."""
    start = datetime.fromtimestamp(after_us // SECOND_US, ZoneInfo(schedule.timezone))
    times: list[int] = []
    for moment in CronSim(schedule.cron, start - timedelta(seconds=1)):
        at_us = int(moment.timestamp()) * SECOND_US
        if at_us > until_us or len(times) >= _LIMIT:
            break
        if at_us > after_us:
            times.append(at_us)
    return times
