"""The lane: everything that is known of one partition number, and what follows from each further record.

A lane is fed batches of decoded records in log order (`step`), and what the shell sees of silence (`tick`); it never
reads a clock. What it concluded and what changed in it since the last time is taken out by `drain`: the transitions to
publish, and one `Changes` to write to recon.state.v1. Folding all `Changes` ever drained, in order, into a new lane
(`restore`) gives the same lane; `snapshot` gives the same in few, large `Changes`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from msgspec import Struct

from stream_recon.core.accounts import Directory
from stream_recon.core.books import Books
from stream_recon.core.conditions import Conditions
from stream_recon.core.errands import Errands
from stream_recon.core.memory import Changes, restore, snapshot, take_changes
from stream_recon.core.register import Published, Register
from stream_recon.core.trades import Rules, TradeBook
from stream_recon.core.watermarks import NEVER_US, UNKNOWN_US
from stream_recon.core.windows import Windows
from stream_recon.domain.decode import Rejected
from stream_recon.domain.discrepancies import Discrepancy
from stream_recon.domain.events import ORIGINS, Event, Fill, Heartbeat, Origin, Stream, default_source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal

    from stream_recon.core.watermarks import Clock, Source
    from stream_recon.domain.commands import AlertCommand, Refused
    from stream_recon.domain.contracts import Contracts
    from stream_recon.domain.discrepancies import Alert


class Batch(Struct):
    """Consecutive records of one topic-partition; the lists are parallel."""

    origin: Origin
    stream: Stream
    topic: str | None
    offsets: list[int]
    times_us: list[int]
    """Kafka's time of each record; for files a time no event is ahead of."""
    values: list[bytes]
    events: list[Event | Rejected]


class Drained(Struct):
    """What `drain` takes out."""

    published: list[Published]
    retired: list[str]
    """Ids of alerts closed so long ago that their newest state may go."""
    changes: Changes


class Lane:
    """The state of one partition number."""

    def __init__(self, partition: int | None, contracts: Contracts, rules: Rules | None = None) -> None:
        self.partition = partition
        self.tallies: Counter[str] = Counter()
        self.directory = Directory(contracts)
        rules = rules or Rules()
        self.register = Register(rules.age_limit_us, enable_alerts=rules.enable_alerts)
        self.conditions = Conditions(partition, self.directory, self.register)
        self.book = TradeBook(partition, self.directory, self.conditions, rules, self.tallies)
        self.books = Books(partition, self.directory, self.conditions, rules, self.book)
        self.directory.opened = self.books.open
        self.windows = Windows(self.directory, self.register, rules)
        self.book.windows = self.windows
        self.windows.in_doubt = self.conditions.in_doubt
        self.windows.causes = self.books.causes_of_drift
        self.books.post = self.windows.post
        self.books.cause_changed = self.windows.cause_changed
        self.newest_us: dict[tuple[Origin, Stream], int] = {}
        """Kafka's time of the newest record of each topic."""
        self.errands = Errands()

    def step(self, batch: Batch) -> None:  # noqa: C901, PLR0912, PLR0915 - the hot path
        """Apply the records of a batch, one by one: each first takes its place, then lifts its source's watermark."""
        self.settle_restored()
        o = ORIGINS.index(batch.origin)
        origin, stream = batch.origin, batch.stream
        self.books.topics[o, stream] = batch.topic
        if stream == "fills":
            self.book.topics[o] = batch.topic
        accounts, register, add = self.directory.accounts, self.register, self.book.add
        if self.books.restored:
            register.trigger_us = batch.times_us[0] if batch.times_us else 0
            self.books.settle_all()
        sources = self.directory.sources[origin, stream]
        conditions = self.conditions
        records = zip(batch.events, batch.times_us, batch.offsets, batch.values, strict=True)
        for event, time_us, offset, value in records:
            register.trigger_us = time_us
            if isinstance(event, Rejected):
                self._reject(o, stream, event)
                continue
            if isinstance(event, Heartbeat):
                self._heartbeat(origin, stream, event, time_us)
                continue
            venue, ts_us = event.venue, event.ts_us
            account = accounts.get((venue, event.account_id)) or self.directory.account(venue, event.account_id)
            if conditions.unread_open and conditions.close_unread(o, stream, account, ts_us):
                self.books.reconsider(account)
                self.windows.judge_again(account)
            if isinstance(event, Fill):
                if "fill" not in account.heard[o]:
                    self.books.hear(account, o, "fill")
                add(account, o, event, offset, value)
            else:
                self.tallies["stated"] += 1
                self.books.add(account, o, event, offset, value)
            name = event.source or account.default_source[o]
            source = sources.get(name)
            joins = source is None or venue not in source.venues
            if source is None or joins:
                source = self.directory.source(origin, stream, name, venue)
            if event.feed_seq is not None and conditions.number(account, o, name, event):
                self.book.judge_again(account)
                self.books.reconsider(account)
                self.windows.judge_again(account)
            delivered_us = ts_us - account.within_us[o]
            if delivered_us > time_us:
                conditions.ahead(origin, stream, source, (time_us, ts_us))
                delivered_us = time_us
            self._lift(source, delivered_us, time_us, joins=joins)
            if conditions.unconfirmed:
                self._doubt(origin, name)
            if account.unsettled:
                self.books.settle(account)
        self.tallies["consumed"] += len(batch.events)
        if batch.times_us:
            self.newest_us[origin, stream] = batch.times_us[-1]

    def _lift(  # noqa: C901 - the hot path
        self, source: Source, to_us: int, time_us: int, *, joins: bool = False
    ) -> None:
        """Note that `source` has spoken; one that joins a clock may have vouched for more than this record does."""
        if source.ahead_until_us:
            clock = source.clocks[0] if source.clocks else None
            if clock is not None:
                self.conditions.caught_up(clock.origin, clock.stream, source, time_us)
        source.heard_us = time_us
        lifts = to_us > source.watermark_us
        if lifts:
            source.watermark_us = to_us
        lifts = lifts or joins
        for clock in source.clocks:
            if clock.silent:
                self.conditions.heard(clock, source)
            before_us = clock.watermark_us
            if lifts and clock.refresh():
                if before_us == UNKNOWN_US:
                    self.books.first_heard(clock)
                if clock.watermark_us >= clock.deadlines.next_us:
                    self.book.fall_due(clock)  # fills first: they may explain what follows from them
                    self.books.settle_unsettled()
                if clock.watermark_us >= clock.evaluations.next_us:
                    self.books.fall_due(clock)
                if clock.watermark_us >= clock.ends.next_us:
                    self.windows.fall_due(clock)

    def _heartbeat(self, origin: Origin, stream: Stream, event: Heartbeat, time_us: int) -> None:
        self.tallies["control"] += 1
        source = self.directory.source(origin, stream, event.source, event.venue)
        if event.through_us > time_us:
            self.conditions.ahead(origin, stream, source, (time_us, event.through_us))
        self._lift(source, min(event.through_us, time_us), time_us, joins=True)
        if self.conditions.unconfirmed:
            self._doubt(origin, event.source)

    def _doubt(self, origin: Origin, source: str) -> None:
        """A source has moved on: some records may be known now to be lost."""
        for name in self.conditions.confirmed(origin, source):
            account = self.directory.by_name[name]
            self.book.doubt(account)
            self.books.doubt(account)

    def _reject(self, o: int, stream: Stream, rejected: Rejected) -> None:
        self.tallies["rejected"] += 1
        self.conditions.reject(o, stream, rejected.account, rejected.reason)

    def wakes_at_us(self, origin: Origin, stream: Stream, source: str) -> int:
        """Up to where a known source may deliver without any fill falling due, whatever the others do."""
        clocks = self.directory.sources[origin, stream][source].clocks
        return min((clock.deadlines.next_us for clock in clocks), default=NEVER_US)

    def pass_over(self, origin: Origin, stream: Stream, source: str, delivered_us: int, time_us: int) -> None:
        """Let a known source have spoken, and delivered up to a time, of what has been compared elsewhere."""
        known = self.directory.sources[origin, stream][source]
        known.heard_us = time_us
        if delivered_us > known.watermark_us:
            self._lift(known, delivered_us, time_us)

    def tick(self, at_end_us: dict[tuple[Origin, Stream], int]) -> None:
        """Say for how long (us, by the shell's clock) each topic has had nothing new while read to its very end.

        Topics that have not been read to their end are left out: of those, silence says nothing.
        """
        self.books.settle_all()
        for feeds in self.directory.feeds.values():
            for clock, other in (feeds.clocks, feeds.clocks[::-1]):
                idle_us = at_end_us.get((clock.origin, clock.stream))
                if idle_us is not None:
                    ahead_us = other.watermark_us - clock.watermark_us
                    self.conditions.silent(clock, self._silent_us(clock, idle_us), ahead_us, clock.owed)
                    if not clock.owed and clock.slowest() is None and idle_us >= clock.contract.stale_after_us:
                        self._never_heard(clock, idle_us)
        for clock in self.directory.clocks.values():
            idle_us = at_end_us.get((clock.origin, clock.stream))
            if idle_us is not None and clock.stream != "fills" and idle_us >= clock.contract.stale_after_us:
                owed = self.books.waiting_for(clock)
                if owed:
                    self.conditions.silent(clock, self._silent_us(clock, idle_us), 0, owed)
        self.conditions.confirm_gaps()
        self.windows.settle()

    def _never_heard(self, clock: Clock, idle_us: int) -> None:
        """Positions and balances wait for fills too; the other side need not send any that would be missed."""
        accounts = self.books.waiting_for(clock)
        if accounts:
            self.conditions.silent(clock, idle_us, 0, accounts)

    def _silent_us(self, clock: Clock, idle_us: int) -> int:
        """How long a feed has been silent by Kafka's time, the topic having been read to its end."""
        newest_us = self.newest_us.get((clock.origin, clock.stream))
        slowest = clock.slowest()
        heard_us = slowest.heard_us if slowest is not None else UNKNOWN_US
        if newest_us is None:
            return idle_us
        if heard_us == UNKNOWN_US:
            if clock.stream != "fills":
                return idle_us
            return idle_us + max(0, newest_us - clock.owed_since_us) if clock.owed else 0
        return newest_us - heard_us + idle_us

    def command(self, command: AlertCommand, time_us: int) -> Alert | Refused:
        """Do what a person asks about one alert; `time_us` is Kafka's time of the command."""
        self.register.trigger_us = time_us
        answer = self.register.command(command)
        if isinstance(answer, Discrepancy):
            self.book.handled(answer)
        return answer

    def tune(self, critical: Decimal, warning: Decimal, *, enable_alerts: bool) -> None:
        """Let other limits of severity hold from here on, for what stands too, and say whether anybody is notified."""
        if self.restore_tuned(critical, warning, enable_alerts=enable_alerts):
            self.book.say_again()
            self.books.say_again()
            for account in list(self.directory.accounts.values()):
                self.windows.say_again(account)

    def restore_tuned(self, critical: Decimal, warning: Decimal, *, enable_alerts: bool) -> bool:
        """The same, while what stands is still to be judged again anyway; gives whether the limits are others."""
        rules = self.books.rules
        thresholds = rules.thresholds._replace(critical=critical, warning=warning)
        self.register.enable_alerts = enable_alerts
        self.book.thresholds = thresholds
        self.windows.rules = self.books.rules = rules._replace(thresholds=thresholds)
        return thresholds != rules.thresholds

    def trusted_heartbeats(self, at_end_us: dict[tuple[Origin, Stream], int]) -> list[tuple[Origin, Stream, Heartbeat]]:
        """The heartbeats that `silence: trust` allows: an idle feed follows the other one, never beyond it."""
        found: list[tuple[Origin, Stream, Heartbeat]] = []
        for pair in self.directory.pairs:
            for clock, other in (pair, pair[::-1]):
                idle_us = at_end_us.get((clock.origin, clock.stream), -1)
                if clock.contract.silence != "trust" or idle_us < clock.contract.idle_after_us:
                    continue
                if other.watermark_us <= clock.watermark_us:
                    continue
                names = [source.name for source in clock.sources] or [default_source(clock.origin, clock.venue)]
                found += [
                    (
                        clock.origin,
                        clock.stream,
                        Heartbeat(origin=clock.origin, source=name, venue=clock.venue, through_us=other.watermark_us),
                    )
                    for name in names
                ]
        return found

    def drain(self) -> Drained:
        """Take out what has been concluded and changed since the last call."""
        self.settle_restored()
        self.book.forget()
        self.books.forget()
        self.windows.forget()
        published, self.register.published = self.register.published, []
        known_us = max((feeds.known_us() for feeds in self.directory.feeds.values()), default=UNKNOWN_US)
        retired = self.register.retire(known_us)
        return Drained(published, retired, take_changes(self, published))

    def settle_restored(self) -> None:
        """Once all that was remembered has been restored: draw its conclusions again, which may explain others."""
        self.books.settle_all()
        self.windows.settle_restored()

    def shorten(self, horizon_us: int) -> None:
        """Remember what agrees for no longer than that from now on; forgets at once what is older."""
        self.book.horizon_us = horizon_us
        self.books.rules = self.books.rules._replace(horizon_us=horizon_us)
        self.windows.rules = self.windows.rules._replace(horizon_us=horizon_us)

    def hold_nothing_against_fills(self) -> None:
        """Nothing but fills will ever come: none is kept for what it could be held against."""
        self.books.rules = self.books.rules._replace(idle_fills_kept=0)

    def restore(self, changes: Changes) -> None:
        """Fold one drained `Changes` into this lane."""
        restore(self, changes)

    def snapshot(self, limit: int) -> Iterator[Changes]:
        """The whole state as `Changes` of at most about `limit` entries each. Nothing may be left undrained."""
        return snapshot(self, limit)

    @property
    def counts(self) -> dict[str, int]:
        """Records by what became of them; consumed is the sum of all the others."""
        counts = Counter(self.tallies)
        counts["open"] += len(self.book.waiting[0]) + len(self.book.waiting[1])
        counts.update(self.book.cases.counts)
        return dict(counts)
