"""The trade identity of one key, as a pure function: what both origins said of it, and what follows.

A *case* is a key (account, instrument, root trade id, side) that is not simply agreed: its records on both sides, each
with the watermark its own feed had when it arrived. What was open at any time follows from these alone, in the
*canonical merge*: both sides' records ordered by that watermark. So neither the order in which the two topics happened
to be read nor the borders of batches can change which discrepancies there were, those included that a late record
closed again.

When something is due:

- missing: the side that has nothing at all owes it until its watermark passes the newest event + its grace; where it
  has records, but none in effect (a bust seen by one side), both watermarks have to pass, for either may still answer;
- mismatch: likewise both, for a correction of either side may be on its way;
- conflicting copies of one side: at once, for its own log says so.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Literal, NamedTuple

from msgspec import Struct

from stream_recon.domain.amounts import difference, to_decimal
from stream_recon.domain.discrepancies import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream_recon.domain.contracts import FeedContract
    from stream_recon.domain.events import Fill

Exec = Literal["trade", "correction", "bust"]
AMOUNT_FIELDS = ("qty", "price", "fee")
CONTENT_FIELDS = ("qty", "price", "fee", "fee_asset", "position_side", "side")
_OPTIONAL = frozenset({"fee", "fee_asset"})
_SEPARATOR = "\x1f"


def content_of(fill: Fill) -> str:
    """The fields of a fill that its counterpart must agree with, as one text; what was not sent is empty."""
    return (
        f"{fill.qty}\x1f{fill.price}\x1f{fill.fee or ''}\x1f{fill.fee_asset or ''}"
        f"\x1f{fill.position_side or 'net'}\x1f{fill.side}"
    )


class Tolerance(NamedTuple):
    """Within what two amounts agree."""

    absolute: dict[str, str]
    venue_precision: int | None

    def allows(self, field: str, asset: str, one: str, other: str) -> bool:
        """Whether two amounts of a field agree."""
        gap = abs(difference(one, other))
        if not gap:
            return True
        limit = self.absolute.get(f"{field}:{asset}", self.absolute.get(field))
        if limit is not None and gap <= to_decimal(limit):
            return True
        if self.venue_precision is None:
            return False
        largest = max(abs(to_decimal(one)), abs(to_decimal(other)))
        return gap <= Decimal((0, (2,), largest.adjusted() - self.venue_precision + 1))


EXACTLY = Tolerance({}, None)


def differing_fields(internal: str, exchange: str, tolerance: Tolerance) -> list[str]:
    """The names of the content fields in which both sides disagree; an optional field that one did not send is not."""
    ours, theirs = internal.split(_SEPARATOR), exchange.split(_SEPARATOR)
    found = []
    for field, a, b in zip(CONTENT_FIELDS, ours, theirs, strict=True):
        if a == b or (field in _OPTIONAL and (not a or not b)):
            continue
        if field in AMOUNT_FIELDS and tolerance.allows(field, ours[3] or theirs[3], a, b):
            continue
        found.append(field)
    return found


def agree(one: str, other: str) -> bool:
    """Whether two contents are exactly the same amounts: what makes a copy a duplicate, and agrees outright."""
    return one == other or not differing_fields(one, other, EXACTLY)


class Seen(Struct, array_like=True, gc=False):
    """One accepted record of one side."""

    content: str
    exec: Exec
    trade_id: str
    ts_us: int
    arrived_us: int
    """The watermark of its own feed just before it."""
    offset: int | None = None
    value: bytes | None = None
    seq: int = 0
    """The place of its record among those of its account and origin."""
    realized_pnl: str | None = None


class Case(Struct, array_like=True):
    """All that both sides said of one key; `sides[0]` is internal."""

    key: str
    sides: tuple[list[Seen], list[Seen]]
    opened: list[tuple[Kind, int]] = []
    """What has ever been published of it: kind and the side concerned."""
    beyond_horizon: bool = False
    """It came too late to say what its counterpart's absence means."""

    @property
    def newest_us(self) -> int:
        """Time of its newest event."""
        return max(seen.ts_us for side in self.sides for seen in side)


class Face(NamedTuple):
    """What one side's records come to."""

    live: tuple[Seen, ...]
    """The copies in effect: none if never seen or busted, more than one where copies conflict."""
    amended: bool
    """A correction or bust decides."""
    rootless: bool
    """Only corrections and busts have been seen, not what they refer to."""


_NOTHING = Face((), amended=False, rootless=False)


def fold(side: Sequence[Seen]) -> Face:
    """Fold corrections and busts into what they refer to: the newest (by time, then by the log) decides."""
    if not side:
        return _NOTHING
    if len(side) == 1 and side[0].exec == "trade":  # as most are
        return Face((side[0],), amended=False, rootless=False)
    roots: list[Seen] = []
    newest: Seen | None = None
    for seen in side:
        if seen.exec == "trade":
            if not any(agree(root.content, seen.content) for root in roots):
                roots.append(seen)
        elif newest is None or seen.ts_us >= newest.ts_us:
            newest = seen
    if newest is not None:
        return Face(() if newest.exec == "bust" else (newest,), amended=True, rootless=not roots)
    return Face(tuple(roots), amended=False, rootless=False)


class Terms(NamedTuple):
    """What the contracts of an account say about its fills."""

    grace_us: tuple[int, int]
    tolerance: Tolerance


def terms_of(internal: FeedContract, exchange: FeedContract) -> Terms:
    """The terms under which two feeds are compared: the wider of two tolerances holds."""
    absolute: dict[str, str] = {}
    for contract in (internal, exchange):
        for field, limit in contract.tolerance.items():
            if field not in absolute or to_decimal(absolute[field]) < to_decimal(limit):
                absolute[field] = limit
    digits = [c.venue_precision for c in (internal, exchange) if c.venue_precision is not None]
    return Terms((internal.grace_us, exchange.grace_us), Tolerance(absolute, min(digits, default=None)))


class Claim(NamedTuple):
    """That a discrepancy is there, once the clocks named have passed `due_us`."""

    kind: Kind
    origin: int
    """For missing and conflict the side that lacks or repeats; for a mismatch 0."""
    due_us: int
    clocks: tuple[int, ...]
    sides: tuple[tuple[Seen, ...], tuple[Seen, ...]]
    """The records it rests on."""


_ALWAYS_US = -1


def claims(sides: tuple[tuple[Seen, ...], tuple[Seen, ...]], terms: Terms) -> list[Claim]:
    """What would have to be said of these records if nothing further came."""
    faces = fold(sides[0]), fold(sides[1])
    found = [
        Claim("duplicate_conflict", o, _ALWAYS_US, (), sides)
        for o in (0, 1)
        if len(faces[o].live) > 1 and not faces[o].amended
    ]
    newest_us = max((seen.ts_us for side in sides for seen in side), default=0)
    both_due_us = newest_us + max(terms.grace_us)
    here = [o for o in (0, 1) if faces[o].live]
    if len(here) == 1:
        lacking = 1 - here[0]
        if sides[lacking]:
            found.append(Claim(_missing(lacking), lacking, both_due_us, (0, 1), sides))
        else:
            found.append(Claim(_missing(lacking), lacking, newest_us + terms.grace_us[lacking], (lacking,), sides))
    elif len(here) == 2 and not any(  # noqa: PLR2004 - both sides
        not differing_fields(a.content, b.content, terms.tolerance) for a in faces[0].live for b in faces[1].live
    ):
        found.append(Claim("fill_mismatch", 0, both_due_us, (0, 1), sides))
    elif not here and bool(sides[0]) != bool(sides[1]) and (faces[0].rootless or faces[1].rootless):
        lacking = 1 if sides[0] else 0  # a bust of what is not known, which the other side does not know of
        found.append(Claim(_missing(lacking), lacking, newest_us + terms.grace_us[lacking], (lacking,), sides))
    return found


def _missing(lacking: int) -> Kind:
    return "missing_exchange" if lacking else "missing_internal"


class Judgement(NamedTuple):
    """What is to be said of a case now."""

    standing: list[Claim]
    """Due and true."""
    pending: list[Claim]
    """True, not due yet: no reason to open it, and none to close it."""
    passed: list[Claim]
    """Were due and true until a record that came too late; final."""
    ahead: list[Claim]
    """Not due yet, of what is true now or was true before."""


def judge(case: Case, watermarks_us: tuple[int, int], terms: Terms) -> Judgement:
    """Say what is wrong with a case, and what was until a late record came."""

    def is_due(claim: Claim) -> bool:
        return all(watermarks_us[o] >= claim.due_us for o in claim.clocks)

    arrivals = sorted(
        ((seen.arrived_us, o, n) for o in (0, 1) for n, seen in enumerate(case.sides[o])),
    )
    counts = [0, 0]
    former: dict[tuple[Kind, int, tuple[int, ...], bool], Claim] = {}
    for number, (arrived_us, o, _) in enumerate(arrivals):
        before = (tuple(case.sides[0][: counts[0]]), tuple(case.sides[1][: counts[1]]))
        # What one record alone says is due a grace after it.
        may_be = number > 1 or (number == 1 and arrived_us >= min(terms.grace_us) + (before[0] or before[1])[0].ts_us)
        for claim in claims(before, terms) if may_be else ():
            if claim.due_us <= arrived_us or not claim.clocks:
                rootless = any(fold(side).rootless for side in before)  # what is said of it proves nothing
                former.setdefault((claim.kind, claim.origin, claim.clocks, rootless), claim)
        counts[o] += 1
    now = claims((tuple(case.sides[0]), tuple(case.sides[1])), terms)
    standing = [claim for claim in now if is_due(claim)]
    pending = [claim for claim in now if not is_due(claim)]
    named = {(claim.kind, claim.origin) for claim in standing}
    others = [claim for claim in former.values() if (claim.kind, claim.origin) not in named]
    passed = [claim for claim in others if is_due(claim)]
    return Judgement(standing, pending, passed, [*pending, *(claim for claim in others if not is_due(claim))])


def categories(case: Case, *, standing: bool) -> dict[str, int]:
    """How the records of a case count: matched, open, discrepant (where anything stands) or superseded."""
    faces = [fold(side) for side in case.sides]
    agreed = all(case.sides) and not standing and bool(faces[0].live) == bool(faces[1].live)
    kind = "discrepant" if standing else "matched" if agreed else "open"
    found = {kind: 0, "superseded": 0}
    for side, face in zip(case.sides, faces, strict=True):
        in_effect = 1 if face.amended else len(face.live)
        found[kind] += in_effect
        found["superseded"] += len(side) - in_effect
    return found
