"""Work items from the log to a lane, and its answers as records: what cannot be read is skipped, and stops nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import structlog

from stream_recon.core.taking import answers, take
from stream_recon.domain.work import CancelItem, LiveItem, ReplayItem, WorkItem
from stream_recon.shell import metrics
from stream_recon.shell.state_log import Output

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from stream_recon.core.adopting import Disagreement
    from stream_recon.core.lane import Lane
    from stream_recon.core.live import Topics
    from stream_recon.core.taking import LaneItem
    from stream_recon.domain.work import Answer
    from stream_recon.shell.fetching import Chunk

ITEM_BYTES = 900_000
"""What an item makes is published with a little more around it, and has to fit into a record too."""
_LOGGED = 20
"""So many ids of each direction a line of the log names."""
_log = structlog.get_logger()
_DECODER: msgspec.json.Decoder[WorkItem] = msgspec.json.Decoder(WorkItem)
_ENCODE = msgspec.json.Encoder().encode


def apply_items(lane: Lane, chunk: Chunk, topics: Topics, reached: Mapping[str, int]) -> list[Output]:
    """Apply the work items of a chunk that are for the stream lane; gives what is answered at once.

    `topics`: what each source topic carries; `reached`: the first offset of each that is not applied.
    """
    outputs: list[Output] = []
    for offset, time_us, value in zip(chunk.offsets, chunk.times_us, chunk.values, strict=True):
        try:
            item = _read(value)
            if isinstance(item, ReplayItem | CancelItem):
                continue
            outputs += _apply(lane, item, time_us, reached)
            if isinstance(item, LiveItem):  # before what comes after it changes anything
                outputs += outputs_of(answers(lane, topics, reached))
        except ValueError as error:
            metrics.WORK.labels("unreadable").inc()
            _log.warning(
                "no work item", topic=chunk.topic, partition=chunk.partition, offset=offset, reason=str(error)[:500]
            )
    return outputs


def _read(value: bytes | None) -> WorkItem:
    """The item in a record.

    Raises:
        ValueError: there is none.
    """
    if value is None or len(value) > ITEM_BYTES:
        raise ValueError("it is empty" if value is None else f"{len(value)} bytes are more than an item may have")
    return _DECODER.decode(value)


def _apply(lane: Lane, item: LaneItem, time_us: int, reached: Mapping[str, int]) -> list[Output]:
    taken = take(lane, item, time_us, reached)
    metrics.WORK.labels(str(item.__struct_config__.tag)).inc()
    for disagreement in taken.disagreements:
        metrics.DISAGREEMENTS.labels(disagreement.direction).inc()
    if taken.disagreements:
        _log.error(
            "a run and the stream disagree", run_id=getattr(item, "run_id", ""), partition=lane.partition,
            **_ids(taken.disagreements),
        )  # fmt: skip
    return outputs_of(taken.answers)


def _ids(disagreements: Iterable[Disagreement]) -> dict[str, list[str]]:
    """By direction, the ids of the first of them."""
    found: dict[str, list[str]] = {}
    for each in disagreements:
        found.setdefault(each.direction, []).append(each.alert_id)
    return {direction: ids[:_LOGGED] for direction, ids in found.items()}


def outputs_of(answers: Iterable[Answer]) -> list[Output]:
    """Answers as they are published."""
    return [Output("partials", answer.run_id.encode(), _ENCODE(answer), []) for answer in answers]
