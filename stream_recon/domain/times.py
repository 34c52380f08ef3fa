"""When something is to happen again and again: cron expressions and time zones, checked as they are written down."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator

from stream_recon.domain.shapes import Allowed

_FIELDS = 5
_ANY_DAY = datetime(2024, 1, 1, tzinfo=UTC)
_FORM = "minute hour day-of-month month day-of-week, such as '30 4 * * 1-5'"


def _cron(text: str) -> str:
    if len(text.split()) != _FIELDS:
        raise ValueError(f"{text!r} is no cron expression: it must have five fields, {_FORM}")
    try:
        next(CronSim(text, _ANY_DAY))
    except CronSimError as error:
        field = str(error).removeprefix("Bad ")
        raise ValueError(
            f"{text!r} is no cron expression that ever comes: look at its {field}; the five fields are {_FORM}"
        ) from error
    except StopIteration:
        raise ValueError(f"{text!r} never comes: there is no such day; the five fields are {_FORM}") from None
    return text


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(
            f"{name!r} is no time zone that is known here; give UTC or a name such as Europe/London"
        ) from error
    return name


Cron = Annotated[str, Allowed(f"a cron expression: {_FORM}"), AfterValidator(_cron)]
"""Five fields, in the local time of its zone."""
Zone = Annotated[str, Allowed("a time zone such as UTC or Europe/London"), AfterValidator(_zone)]
