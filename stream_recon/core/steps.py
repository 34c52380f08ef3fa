"""A residual that changed from one snapshot to the next, as a finding."""

from __future__ import annotations

from bisect import bisect_right
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from stream_recon.core.findings import OF_BOTH, Finding
from stream_recon.core.tracks import Snapshot, Track
from stream_recon.domain.amounts import plain, to_decimal
from stream_recon.domain.discrepancies import FieldDifference, Interval

if TYPE_CHECKING:
    from decimal import Decimal

    from stream_recon.core.sights import Gap, Sight
    from stream_recon.domain.discrepancies import Kind
    from stream_recon.domain.events import Anchor

AMOUNT = {"position": "qty", "balance": "total"}
MISMATCH: dict[str, Kind] = {"position": "position_mismatch", "balance": "balance_mismatch"}


class Step(NamedTuple):
    """The residual changed from one snapshot to the next."""

    before: Sight
    after: Sight
    from_us: int
    to_us: int
    """What the later one rests on lies between these times."""
    residual: Decimal
    gap: Gap | None = None
    """Where the snapshots of both origins are held against each other: whose the later one is, and against which."""


def finding_of(track: Track, step: Step, within_us: int, wait_us: int) -> Finding:
    """The break that a step is, where all movements are known."""
    compared, before, after, residual = track.compared, step.before, step.after, step.residual
    known_us = after.ts_us + (within_us if compared == OF_BOTH else 0)
    kind, key = track.kind, track.key
    snapshot = after.snapshot
    assert isinstance(snapshot, Snapshot)
    told = [end.snapshot for end in (before, after)]
    value = to_decimal(snapshot.value)
    explained, reported = value - residual, value
    from_us = step.from_us
    if step.gap is not None:
        other = step.gap.other.snapshot
        assert isinstance(other, Snapshot)
        ours, theirs = (snapshot, other) if step.gap.origin == 0 else (other, snapshot)
        explained, reported = to_decimal(ours.value), to_decimal(theirs.value)
        told = [ours, theirs]
        from_us = before.ts_us or step.from_us
    names = {"instrument": key[0], "position_side": key[1]} if kind == "position" else {"asset": key[0]}
    source = track.sources.fills if track.sources.fills is not None else track.sources.ledger
    what = key[0] if kind == "balance" or key[1] == "net" else f"{key[0]} {key[1]}"
    return Finding(
        kind=MISMATCH[kind],
        identity="position" if kind == "position" else "balance",
        compared=compared,
        key=(
            *key,
            after.label,
            *_moment(snapshot.anchor),
            *(("internal",) if step.gap is not None and step.gap.origin == 0 else ()),
        ),
        names=names,
        event_us=after.ts_us,
        due_us=max(step.to_us, known_us) + wait_us,
        cause=_sentence(kind, what, compared, source, plain(residual)),
        fields=[FieldDifference(AMOUNT[kind], plain(explained), plain(reported), plain(explained - reported))],
        evidence=[each.told for each in told if isinstance(each, Snapshot) and each.told is not None],
        interval=Interval(from_us, step.to_us, before.label, after.label),
        residual=residual,
        tolerance=before.tolerance + after.tolerance,
        span_us=(min(step.from_us, before.ts_us) - within_us, step.to_us + within_us),
        wide_us=_ambiguous_since(track, before),
        signs=(1, -1) if source == 1 and compared != OF_BOTH else (-1, 1),
    )


def _ambiguous_since(track: Track, before: Sight) -> int:
    """Since when each snapshot up to that one may have seen several states: what changed then may show only now."""
    at = bisect_right(track.sights, before.ts_us, key=attrgetter("ts_us"))
    while at > 0 and len(track.sights[at - 1].drifts) > 1:
        at -= 1
    return track.sights[at - 1].ts_us if at > 0 else 0


def _moment(anchor: Anchor | None) -> tuple[str, ...]:
    """What tells snapshots that are anchored to fills of one id apart."""
    return (anchor.instrument, anchor.side, anchor.when) if anchor is not None else ()


def _sentence(kind: str, what: str, compared: str, source: int | None, residual: str) -> str:
    """What is wrong, in one sentence."""
    if compared == OF_BOTH:
        return f"the {kind} of {what} at the exchange and in our books moved apart by {residual}"
    whose = {0: "our", 1: "the exchange's own", None: "no"}[source]
    teller = "the exchange" if compared.startswith("exchange") else "our books"
    return f"the {kind} of {what} that {teller} reported moved by {residual} more than {whose} movements explain"
