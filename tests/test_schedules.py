"""When scheduled runs are due: cron in its time zone, across changes of the clocks, and after nobody looked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_recon.strategies.schedules import SECOND_US, Schedule, due, times_of

BERLIN = "Europe/Berlin"


def us(text: str, zone: str = "UTC") -> int:
    """A time, in microseconds."""
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()) * SECOND_US


def local(times: list[int], zone: str) -> list[str]:
    """Times as clocks in that zone show them."""
    return [datetime.fromtimestamp(each // SECOND_US, ZoneInfo(zone)).isoformat() for each in times]


def test_a_schedule_fires_at_its_local_time_through_the_year() -> None:
    daily = Schedule("0 18 * * *", BERLIN)
    times = times_of(daily, us("2026-03-27T12:00:00"), us("2026-03-30T23:00:00"))
    assert local(times, BERLIN) == [
        "2026-03-27T18:00:00+01:00", "2026-03-28T18:00:00+01:00", "2026-03-29T18:00:00+02:00",
        "2026-03-30T18:00:00+02:00",
    ]  # fmt: skip


def test_a_time_that_a_day_does_not_have_fires_once_that_day() -> None:
    night = Schedule("30 2 * * *", BERLIN)
    times = times_of(night, us("2026-03-28T12:00:00"), us("2026-03-30T12:00:00"))
    assert [each[:10] for each in local(times, BERLIN)] == ["2026-03-29", "2026-03-30"]


def test_a_time_that_a_day_has_twice_fires_once() -> None:
    night = Schedule("30 2 * * *", BERLIN)
    times = times_of(night, us("2026-10-24T12:00:00"), us("2026-10-26T12:00:00"))
    assert [each[:10] for each in local(times, BERLIN)] == ["2026-10-25", "2026-10-26"]


def test_what_nobody_started_is_caught_up_once_for_the_newest_time() -> None:
    hourly = Schedule("0 * * * *", type="incremental", accounts=("v|a",), params={"batch_size": 5})
    [one] = due([hourly], us("2026-05-01T00:30:00"), us("2026-05-01T04:10:00"))
    assert (one.at_us, one.missed, one.type, one.accounts) == (
        us("2026-05-01T04:00:00"), 3, "incremental", ("v|a",),
    )  # fmt: skip
    assert one.notes == (
        "caught up: it was due at 2026-05-01T04:00:00+00:00, when nobody was there to start it",
        "3 earlier times of this schedule were missed and are not made up for",
    )
    assert due([hourly], us("2026-05-01T04:10:00"), us("2026-05-01T04:50:00")) == []


def test_a_run_that_starts_in_time_says_nothing_of_it() -> None:
    [one] = due([Schedule("* * * * *")], us("2026-05-01T00:00:30"), us("2026-05-01T00:01:01"))
    assert (one.missed, one.notes) == (0, ())


def test_the_id_of_a_run_is_that_of_its_schedule_and_time_whoever_computes_it() -> None:
    one, other = Schedule("0 18 * * *", BERLIN), Schedule("0 18 * * *", BERLIN, "trade_only")
    window = us("2026-05-01T00:00:00"), us("2026-05-01T20:00:00")
    alone, [first, second] = due([one], *window), due([other, one], *window)
    assert alone == [second]
    assert first.command_id != second.command_id


def test_a_schedule_that_never_fires_gives_nothing_and_ends() -> None:
    assert times_of(Schedule("0 0 29 2 *"), us("2026-03-01T00:00:00"), us("2027-03-01T00:00:00")) == []


@pytest.mark.parametrize("zone", ["UTC", BERLIN, "America/New_York", "Asia/Kathmandu"])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_looking_often_or_seldom_starts_the_same_newest_run(zone: str, data: st.DataObject) -> None:
    schedule = Schedule(data.draw(st.sampled_from(["*/7 * * * *", "15 3 * * *", "0 0 * * 1", "59 23 31 * *"])), zone)
    start = datetime(2026, data.draw(st.integers(1, 12)), 1, tzinfo=UTC)
    looks = sorted(data.draw(st.lists(st.integers(0, 40 * 24 * 60), min_size=1, max_size=6)))
    times = [int((start + timedelta(minutes=each)).timestamp()) * SECOND_US for each in looks]
    began = int(start.timestamp()) * SECOND_US
    fired: list[str] = []
    before = began
    for now_us in times:
        fired += [each.command_id for each in due([schedule], before, now_us)]
        before = now_us
    at_once = due([schedule], began, times[-1])
    assert fired[-1:] == [each.command_id for each in at_once]
    assert len(set(fired)) == len(fired)
