"""Feed conditions: why something cannot be known yet, said once for all that it holds up.

Two of them put absence in doubt: a hole in a source's numbering (SEQ_GAP) and a record that could not be read
(SCHEMA_ERROR). Either may be the very record that seems to be missing. By the feed's own contract its time lies between
the watermark before it and the next record's time + order_within; only what is absent in that span is in doubt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from stream_recon.core.watermarks import NEVER_US, UNKNOWN_US
from stream_recon.domain.discrepancies import FeedCondition, alert_id
from stream_recon.domain.events import ORIGINS, default_source

if TYPE_CHECKING:
    from stream_recon.core.accounts import Account, Directory
    from stream_recon.core.register import Register
    from stream_recon.core.tell_drift import Span
    from stream_recon.core.watermarks import Clock, Source
    from stream_recon.domain.discrepancies import Reason, Severity
    from stream_recon.domain.events import AccountEvent, Origin, Stream

NAMED_LIMIT = 1_000
"""Accounts with unreadable records that are told apart; of further ones only the number is known."""
HOLES_LIMIT = 1_000
"""Holes, or spans of unreadable records, kept by account; beyond that the oldest are taken together."""

_SEVERITY: dict[Reason, Severity] = {
    "STALE": "critical",
    "NEVER_SENT": "warning",
    "SEQ_GAP": "critical",
    "CLOCK_SKEW": "warning",
    "SCHEMA_ERROR": "warning",
    "LATE_BEYOND_HORIZON": "warning",
    "UNMAPPED_INSTRUMENT": "warning",
    "LOOKBACK_TRUNCATED": "info",
    "PARTIAL": "info",
    "ANCHOR_MISSING": "warning",
    "AMBIGUOUS_OPENING": "info",
    "INCOMPLETE_SNAPSHOT": "warning",
}
_CANNOT_KNOW: dict[Reason, str] = {
    "UNMAPPED_INSTRUMENT": "fills of {source} are in instruments of an unknown kind: name them in the instruments",
    "LOOKBACK_TRUNCATED": "it began before the records of {source} that can be read",
    "PARTIAL": "{source} does not promise to send all that would explain the difference",
    "ANCHOR_MISSING": "{source} has not sent fills that snapshots are tied to",
    "AMBIGUOUS_OPENING": "the first snapshot is so near to a fill that nobody can tell whether {source} had seen it",
    "INCOMPLETE_SNAPSHOT": "a snapshot of {source} counts more or fewer records than came",
    "LATE_BEYOND_HORIZON": "it is no longer known what {source} sent at that time",
    "NEVER_SENT": "nobody sends the movements that would explain the difference",
}
"""What is said of positions, balances and orders that cannot be judged; other reasons have conditions of their own."""


class Named(NamedTuple):
    """What tells one feed condition from another."""

    reason: Reason
    origin: Origin
    source: str
    stream: Stream
    account: str | None = None


class Hole(Struct, array_like=True):
    """Numbers never seen, `first` to `last`, and the time that their records must have."""

    first: int
    last: int
    from_us: int
    to_us: int
    before_us: int
    """The time of the record with the number before them."""
    after_us: int
    """The time of the record with the number after them."""


class Numbering(Struct, array_like=True):
    """The gapless counter of one source for one account.

    Its records may lie on several topics that are read in any order: which holes are left, and which times they span,
    depends on the records alone.
    """

    epoch: str | None
    next: int
    newest_us: int
    first: int
    """The lowest number seen."""
    first_us: int
    """The time of its record."""
    holes: list[Hole] = []

    @property
    def lost(self) -> int:
        """How many numbers were never seen."""
        return sum(hole.last - hole.first + 1 for hole in self.holes)

    def see(self, number: int, epoch: str | None, ts_us: int, within_us: int) -> bool:
        """Count a record. True where that changed the holes."""
        if epoch != self.epoch:
            self.epoch = epoch
            self.next = self.first = number
            self.newest_us = self.first_us = ts_us
        if number == self.next:
            self.next += 1
            self.newest_us = ts_us
            return False
        if number > self.next:
            self.holes += _hole(self.next, number - 1, self.newest_us, ts_us, within_us)
            self.next = number + 1
            self.newest_us = ts_us
        elif number < self.first:
            holes = _hole(number + 1, self.first - 1, ts_us, self.first_us, within_us)
            self.holes[:0] = holes
            self.first, self.first_us = number, ts_us
            if not holes:
                return False
        else:
            at = next((at for at, hole in enumerate(self.holes) if hole.first <= number <= hole.last), None)
            if at is None:
                return False
            hole = self.holes[at]
            self.holes[at : at + 1] = [
                *_hole(hole.first, number - 1, hole.before_us, ts_us, within_us),
                *_hole(number + 1, hole.last, ts_us, hole.after_us, within_us),
            ]
        if len(self.holes) > HOLES_LIMIT:
            one, two = self.holes[0], self.holes.pop(1)
            self.holes[0] = Hole(
                one.first,
                two.last,
                min(one.from_us, two.from_us),
                max(one.to_us, two.to_us),
                one.before_us,
                two.after_us,
            )
        return True


def _hole(first: int, last: int, before_us: int, after_us: int, within_us: int) -> list[Hole]:
    """The hole between two records, if there is any."""
    if first > last:
        return []
    from_us, to_us = min(before_us, after_us) - within_us, max(before_us, after_us) + within_us
    return [Hole(first, last, from_us, to_us, before_us, after_us)]


class Unread(Struct, array_like=True):
    """Records of one account and topic that could not be read: how many, and when their events must have been."""

    count: int
    spans_us: list[tuple[int, int]] = []
    """An end of NEVER_US is not known yet."""


_PROMISED = "are of what {source} promises to report, and never did"


class Doubted(NamedTuple):
    """What is known to be lost of one account."""

    conditions: Conditions
    account: Account

    def has_hole(self, o: int, from_us: int, to_us: int) -> bool:
        """Whether numbered records of that time are missing on side `o`."""
        name = self.account.name
        return any(
            hole.from_us <= to_us and hole.to_us >= from_us
            for source in self.conditions.gaps.get((o, name), ())
            for hole in self.conditions.numberings[o, name, source].holes
        )

    def has_unread(self, o: int, stream: Stream, from_us: int, to_us: int) -> bool:
        """Whether records of that time could not be read."""
        unread = self.conditions.unread.get((o, stream, self.account.name))
        return unread is not None and any(start <= to_us and end >= from_us for start, end in unread.spans_us)


class Conditions:
    """What is wrong with the feeds of one partition number."""

    def __init__(self, partition: int | None, directory: Directory, register: Register) -> None:
        self.partition = partition if partition is not None else 0
        self.directory = directory
        self.register = register
        self.numberings: dict[tuple[int, str, str], Numbering] = {}
        """By (origin, account, source)."""
        self.gaps: dict[tuple[int, str], set[str]] = {}
        """Sources with holes, by (origin, account)."""
        self.unconfirmed: dict[tuple[Origin, str], set[str]] = {}
        """By origin and source, the accounts with holes that a slower topic may fill yet."""
        self.unread: dict[tuple[int, Stream, str], Unread] = {}
        self.unread_open: set[tuple[int, Stream, str]] = set()
        """Those whose newest span has no end yet."""
        self.unsaid: dict[str, FeedCondition] = {}
        """What stands, by id, as it would be said now: it changed by too little to be worth it."""
        self.beyond: dict[tuple[int, str], int] = {}
        self.unknown: dict[Named, int] = {}
        """How many positions, balances, orders and ledger entries cannot be judged, by why."""
        self.touched_numberings: set[tuple[int, str, str]] = set()
        self.touched_unread: set[tuple[int, Stream, str]] = set()

    def doubted(self, account: Account) -> Doubted:
        """What is known to be lost of an account."""
        return Doubted(self, account)

    def cannot_know(  # noqa: PLR0913, PLR0917 - what, whose, why, and how much of it
        self, account: Account, o: int, stream: Stream, reason: Reason, change: int, example: str
    ) -> None:
        """So many more conclusions about an account cannot be drawn, that example among them."""
        if reason == "NEVER_SENT":  # nobody sends the movements: by contract, not because a feed is silent
            reason = "PARTIAL"
        said = _PROMISED if (reason, stream) == ("LOOKBACK_TRUNCATED", "balances") else _CANNOT_KNOW.get(reason)
        if said is None:
            return
        named = Named(reason, ORIGINS[o], account.default_source[o], stream)
        count = self.unknown[named] = self.unknown.get(named, 0) + change
        if count > 0:
            what = "1 comparison" if count == 1 else f"{count} comparisons"
            clock = self.directory.clock(stream, *_parts(account.name), account.contracts[o])
            self._say(
                named,
                clock.watermark_us,
                count,
                f"{what} cannot be made ({example}): {said.format(source=named.source)}",
            )
        else:
            del self.unknown[named]
            self._clear(named)

    def clear_unheld(self) -> None:
        """After a restart: clear what was said of conclusions that can be drawn now."""
        for known in list(self.register.newest.feed_conditions()):
            named = Named(known.reason, known.origin, known.source, known.stream)
            is_ours = known.reason in _CANNOT_KNOW and known.reason != "NEVER_SENT"
            if known.reason == "LATE_BEYOND_HORIZON":
                is_ours = known.stream != "fills"
            if is_ours and named not in self.unknown:
                self._clear(named)

    # -- absence in doubt ---------------------------------------------------------------------------------------------

    def absence_proven(self, account: Account, o: int, ts_us: int, *, stands: bool = False) -> bool:
        """Whether nothing known to be lost on side `o` may be the fill of that time that is absent there.

        What stands is not taken back for numbers that a slower topic may fill yet.
        """
        for source in self.gaps.get((o, account.name), ()):
            holes = self.numberings[o, account.name, source].holes
            passed_us = self._passed_us(o, source) if stands else NEVER_US
            if any(hole.from_us <= ts_us <= hole.to_us <= passed_us for hole in holes):
                return False
        unread = self.unread.get((o, "fills", account.name))
        return unread is None or not any(start <= ts_us <= end for start, end in unread.spans_us)

    def in_doubt(self, span: Span) -> bool:
        """Whether a record that a window sums, of either side, is known to be lost."""
        stream: Stream = "fills" if span.matter == "fills" else "balances"
        holes = [
            (hole.from_us, hole.to_us)
            for o in (0, 1)
            for source in self.gaps.get((o, span.account), ())
            for hole in self.numberings[o, span.account, source].holes
        ]
        unread = [self.unread.get((o, stream, span.account)) for o in (0, 1)]
        lost = holes + [one for each in unread if each is not None for one in each.spans_us]
        return any(start <= span.to_us and span.from_us <= end for start, end in lost)

    def number(self, account: Account, o: int, source: str, event: AccountEvent) -> bool:
        """Count a numbered record. True where it was missing, so that what is parked should be judged again."""
        key = (o, account.name, source)
        number, epoch, ts_us = event.feed_seq or 0, event.feed_epoch, event.ts_us
        self.touched_numberings.add(key)
        numbering = self.numberings.get(key)
        if numbering is None:
            self.numberings[key] = Numbering(epoch, number + 1, ts_us, number, ts_us)
            return False
        before = numbering.lost
        if not numbering.see(number, epoch, ts_us, account.within_us[o]):
            return False
        if numbering.holes:
            self.gaps.setdefault((o, account.name), set()).add(source)
            self.unconfirmed.setdefault((ORIGINS[o], source), set()).add(account.name)
        else:
            self.gaps[o, account.name].discard(source)
            self._clear(Named("SEQ_GAP", ORIGINS[o], source, "fills", account.name))
        return numbering.lost < before

    def _passed_us(self, o: int, source: str) -> int:
        """What every topic that a source speaks on has passed."""
        return min(
            (
                known[source].watermark_us
                for (origin, _), known in self.directory.sources.items()
                if origin == ORIGINS[o] and source in known and known[source].heard_us != UNKNOWN_US
            ),
            default=UNKNOWN_US,
        )

    def may_be_filled(self, account: Account) -> bool:
        """Whether a slower topic may fill a hole of an account yet: what stands is not taken back for such."""
        return any(
            hole.to_us > self._passed_us(o, source)
            for o in (0, 1)
            for source in self.gaps.get((o, account.name), ())
            for hole in self.numberings[o, account.name, source].holes
        )

    def confirmed(self, origin: Origin, source: str) -> list[str]:
        """The accounts of which records are known now to be lost, a source having moved on."""
        names = self.unconfirmed.get((origin, source))
        if names is None:
            return []
        o = ORIGINS.index(origin)
        passed_us = self._passed_us(o, source)
        found = [
            name
            for name in sorted(names)
            if all(hole.to_us <= passed_us for hole in self.numberings[o, name, source].holes)
        ]
        names.difference_update(found)
        if not names:
            del self.unconfirmed[origin, source]
        return found

    def confirm_gaps(self) -> None:
        """Publish the holes that every topic the source speaks on has passed: no slower topic will fill them."""
        for (o, name), sources in self.gaps.items():
            account = self.directory.account(*_parts(name))
            for source in sources:
                numbering = self.numberings[o, name, source]
                passed_us = self._passed_us(o, source)
                holes = [hole for hole in numbering.holes if hole.to_us <= passed_us]
                if not holes and not account.parked:
                    continue
                lost = numbering.lost
                self._say(
                    Named("SEQ_GAP", ORIGINS[o], source, "fills", name),
                    numbering.holes[0].from_us,
                    max(lost, len(account.parked)),
                    f"{source} left out {lost} of its numbers for {name}, the first {numbering.holes[0].first}: "
                    "what seems missing there may be among them",
                )

    def reject(self, o: int, stream: Stream, account_name: str | None, reason: str) -> None:
        """Note a record that could not be read."""
        origin = ORIGINS[o]
        name = account_name or ""
        known = self.unread.get((o, stream, name))
        if known is None and len(self.unread) >= NAMED_LIMIT:
            name = ""
            known = self.unread.get((o, stream, name))
        if known is None:
            known = self.unread[o, stream, name] = Unread(0)
        known.count += 1
        self.touched_unread.add((o, stream, name))
        source: str = origin
        from_us = UNKNOWN_US
        if name:
            account = self.directory.account(*_parts(name))
            clock = self.directory.clock(stream, *_parts(name), account.contracts[o])
            source, from_us = account.default_source[o], clock.watermark_us
            if (o, stream, name) not in self.unread_open:
                known.spans_us.append((from_us, NEVER_US))
                if len(known.spans_us) > HOLES_LIMIT:
                    (start, _), (_, end) = known.spans_us[:2]
                    known.spans_us[:2] = [(start, end)]
                self.unread_open.add((o, stream, name))
        whose = name or "accounts they do not name"
        number = "1 record" if known.count == 1 else f"{known.count} records"
        self._say(
            Named("SCHEMA_ERROR", origin, source, stream, name or None),
            from_us,
            known.count,
            f"{number} of {origin} {stream} of {whose} could not be read (the newest: {reason})"
            + (": what seems missing at that time may be among them" if name else ", and put nothing in doubt"),
        )

    def close_unread(self, o: int, stream: Stream, account: Account, ts_us: int) -> bool:
        """A good record followed: what could not be read before it cannot be newer than its time + order_within.

        True where that was not known before.
        """
        key = (o, stream, account.name)
        if key not in self.unread_open:
            return False
        self.unread_open.discard(key)
        self.touched_unread.add(key)
        spans = self.unread[key].spans_us
        start, _ = spans[-1]
        spans[-1] = (start, ts_us + account.within_us[o])
        return True

    # -- clocks -------------------------------------------------------------------------------------------------------

    def ahead(self, origin: Origin, stream: Stream, source: Source, span_us: tuple[int, int]) -> None:
        """A record's event time is ahead of Kafka's: (Kafka's, its own)."""
        time_us, ts_us = span_us
        source.ahead_until_us = max(source.ahead_until_us, ts_us)
        self._say(
            Named("CLOCK_SKEW", origin, source.name, stream),
            time_us,
            0,
            f"the clock of {source.name} is {(ts_us - time_us) / 1e6:.3f} s ahead: its {stream} count only up to "
            "the time Kafka received them",
        )

    def caught_up(self, origin: Origin, stream: Stream, source: Source, time_us: int) -> None:
        """Kafka's time passed the time that a source was ahead by."""
        if time_us >= source.ahead_until_us:
            source.ahead_until_us = 0
            self._clear(Named("CLOCK_SKEW", origin, source.name, stream))

    def heard(self, clock: Clock, source: Source) -> None:
        """A source spoke that had been silent."""
        for name in (source.name, default_source(clock.origin, clock.venue)):
            self._clear(Named("STALE", clock.origin, name, clock.stream))
            self._clear(Named("NEVER_SENT", clock.origin, name, clock.stream))
        clock.silent = False

    def silent(self, clock: Clock, silent_us: int, ahead_us: int, owed: int) -> None:
        """Nothing came from a feed for `silent_us`, though its topic was read as far as it goes.

        The other side is `ahead_us` further, and `owed` records or accounts wait.
        """
        if silent_us < clock.contract.stale_after_us or not (owed or ahead_us > clock.contract.stale_after_us):
            return
        clock.silent = True
        if not _owes(clock):
            return
        slowest = clock.slowest()
        source = slowest.name if slowest is not None else default_source(clock.origin, clock.venue)
        never = clock.watermark_us == UNKNOWN_US
        said = "has never sent" if never else f"has been silent for {silent_us // 1_000_000} s on"
        self._say(
            Named("NEVER_SENT" if never else "STALE", clock.origin, source, clock.stream),
            clock.watermark_us,
            owed,
            f"{source} {said} {clock.stream}" + (f": {_waits(clock, owed)} for it" if owed else ""),
        )

    def beyond_horizon(self, account: Account, o: int, example: str) -> None:
        """A record came too late to be told from a duplicate, or amends what is not known; `example` names it."""
        key = (o, account.default_source[o])
        self.beyond[key] = count = self.beyond.get(key, 0) + 1
        self._say(
            Named("LATE_BEYOND_HORIZON", ORIGINS[o], key[1], "fills"),
            account.clocks[o].watermark_us,
            count,
            f"{count} {'fill' if count == 1 else 'fills'} of {key[1]} cannot be judged; the newest: {example}",
        )

    # -- publishing ---------------------------------------------------------------------------------------------------

    def _id(self, named: Named) -> str:
        account = named.account or ""
        return alert_id("feed_condition", *named[:4], str(self.partition), account)

    def _say(self, named: Named, since_us: int, waiting: int, cause: str) -> None:
        name = self._id(named)
        condition = FeedCondition(
            alert_id=name,
            version=0,
            transition="OPENED",
            status="OPEN",
            reason=named.reason,
            severity=_SEVERITY[named.reason],
            origin=named.origin,
            source=named.source,
            stream=named.stream,
            partition=self.partition,
            account=named.account,
            since_us=since_us,
            waiting=waiting,
            cause=cause,
        )
        known = self.register.newest.get(name)
        if isinstance(known, FeedCondition) and self.register.stands(name) and waiting < 2 * max(known.waiting, 1):
            self.unsaid[name] = condition  # said already; again only when it holds up twice as much
            return
        self.unsaid.pop(name, None)
        self.register.assert_open(condition)

    def say_exactly(self) -> None:
        """Say what has changed since of what was said: there will be no more."""
        for name, condition in self.unsaid.items():
            if self.register.stands(name):
                self.register.assert_open(condition)
        self.unsaid = {}

    def _clear(self, named: Named) -> None:
        self.unsaid.pop(self._id(named), None)
        self.register.clear(self._id(named))


def _waits(clock: Clock, owed: int) -> str:
    if clock.owed:
        return f"{owed} of the other side wait"
    return "1 account waits" if owed == 1 else f"{owed} accounts wait"


def _owes(clock: Clock) -> bool:
    """Whether a feed that says nothing breaks a promise."""
    contract = clock.contract
    if clock.stream == "fills":
        return contract.fills not in {"partial", "absent"}
    if clock.stream == "orders":
        return contract.orders == "complete"
    return "complete" in {contract.positions, contract.balances, contract.ledger}


def _parts(account: str) -> tuple[str, str]:
    venue, account_id = account.split("|", 1)
    return venue, account_id
