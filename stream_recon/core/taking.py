"""Work items as a lane takes them: what each changes, and what is answered.

Items are applied in the order of their log. A lane answers at once what it can, and keeps what waits for records
(`core.errands`); so an item is applied and answered once, whatever restarts come between.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from stream_recon.core import live
from stream_recon.core.adopting import Disagreement, check, take_part
from stream_recon.core.errands import Tuned
from stream_recon.domain.commands import Refused
from stream_recon.domain.config import ReconciliationConfig
from stream_recon.domain.work import AlertAnswer, AlertItem, ConfigItem, FindingsItem, LiveItem, Partial

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stream_recon.core.lane import Lane
    from stream_recon.domain.work import Answer

LaneItem = LiveItem | AlertItem | FindingsItem | ConfigItem
"""The work items that are for the stream lane."""


class Taken(NamedTuple):
    """What came of one item at once."""

    answers: list[Answer]
    disagreements: tuple[Disagreement, ...] = ()


def take(lane: Lane, item: LaneItem, time_us: int, reached: Mapping[str, int]) -> Taken:
    """Apply an item; `time_us` is Kafka's time of it, `reached` the first offset of each topic that is not applied.

    Raises:
        ValueError: it says what cannot be; nothing was changed.
    """
    lane.settle_restored()
    if isinstance(item, AlertItem):
        return Taken([_command(lane, item, time_us)])
    if isinstance(item, LiveItem):
        return Taken([] if lane.errands.wait(item) else [_too_many(lane, item)])
    if isinstance(item, ConfigItem):
        tune(lane, item, time_us)
        return Taken([])
    check(item)
    lane.register.trigger_us = time_us
    answers, disagreements = take_part(lane, item, reached)
    return Taken([*answers], tuple(disagreements))


def _command(lane: Lane, item: AlertItem, time_us: int) -> AlertAnswer:
    done = lane.command(item.command, time_us)
    told = AlertAnswer(run_id=item.run_id, partition=lane.partition or 0)
    if isinstance(done, Refused):
        told.reason, told.detail = done.reason, done.detail
    else:
        told.done = done
    return told


def _too_many(lane: Lane, item: LiveItem) -> Partial:
    waiting = len(lane.errands.live)
    said = f"partition {lane.partition}: {waiting} questions about the live state wait already; ask again later"
    return Partial(run_id=item.run_id, partition=lane.partition or 0, errors=[said])


def tune(lane: Lane, item: ConfigItem, time_us: int) -> None:
    """Let a configuration hold from here on, unless a later one does.

    Raises:
        ValueError: it is no configuration.
    """
    config = ReconciliationConfig.model_validate(item.config)
    before = lane.errands.tuned
    if before is not None and item.version < before.version:
        return
    tuned = Tuned(
        item.version, str(config.max_discrepancy_threshold), str(config.auto_resolve_threshold), config.enable_alerts
    )
    lane.errands.tune(tuned)
    lane.register.trigger_us = time_us
    lane.tune(Decimal(tuned.critical), Decimal(tuned.warning), enable_alerts=tuned.enable_alerts)


def answers(lane: Lane, topics: live.Topics, reached: Mapping[str, int], now_us: int | None = None) -> list[Answer]:
    """Answer what waits no longer: whose ends are reached, or whose deadline has passed by the clock, if it is told."""
    found: list[Answer] = []
    for item in list(lane.errands.live.values()):
        if not live.not_reached(item, reached) or (now_us is not None and now_us >= item.deadline_us):
            lane.settle_restored()
            found += live.answer(lane, item, topics, reached)
            lane.errands.answered(item.run_id)
    return found
