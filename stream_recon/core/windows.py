"""Net change per account and instrument or asset in tumbling windows of event time: the delta reconciliation.

A view over the moves of the trade book and over what is news to the ledgers: what counts, and from when on, is not
decided here again. Fills are summed by instrument and wait for the clocks of fills, entries of ledgers by asset for
those of balances; but for that they are treated alike, in two books of an account.

A move is put down as it comes, and taken in with others when somebody looks. It then waits (`halves`) for its twin, the
n-th move of the other origin with the same key, trade id and sign. Twins that say the same go into the sums of their
window, counted once for both. What has not found its twin when the window closes becomes residual, until a late twin
comes.

A window closes when both feeds have passed its end + order_within + grace; what its drift is then, is for `core.drift`.
A late record is looked at when both feeds next pass a full second. Beyond the horizon only what is known stays: drifts
that stand, with their nets, and the chain they belong to.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from stream_recon.core.accounts import Feeds
from stream_recon.core.drift import Chain, Window, follow
from stream_recon.core.movements import posting_of
from stream_recon.core.nets import Net, add, minus, net_of, subtract, sum_of, tolerated, total
from stream_recon.core.tell_drift import KIND, Contribution, Findings, Span, drift_alert_id, drift_of
from stream_recon.core.watermarks import NEVER_US
from stream_recon.core.window_books import Book, Half, Track, book_name, entry_key, same, unit_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from stream_recon.core.accounts import Account, Directory
    from stream_recon.core.ledger import Entry
    from stream_recon.core.movements import Move
    from stream_recon.core.register import Register
    from stream_recon.core.trades import Rules
    from stream_recon.core.watermarks import Clock
    from stream_recon.core.window_books import Matter
    from stream_recon.domain.discrepancies import Discrepancy
    from stream_recon.domain.events import Fill

SECOND_US = 1_000_000
MATTERS: tuple[Matter, ...] = ("fills", "ledger")


class Sight(NamedTuple):
    """What moved in a live window so far."""

    span: Span
    nets: tuple[Net, Net]
    """By origin."""
    drift: Net
    """What is told of it, by measure: exchange - internal; empty while there is nothing to tell."""


class Windows:
    """All windows of one partition number that may still matter."""

    def __init__(self, directory: Directory, register: Register, rules: Rules) -> None:
        self.directory = directory
        self.register = register
        self.length_us = rules.window_us
        self.rules = rules
        self.books: dict[str, Book] = {}
        self.ledger_feeds: dict[tuple[object, ...], Feeds] = {}
        """What the ledgers of accounts with the same clocks and promises are compared between."""
        self.expiry: dict[Feeds, dict[int, set[str]]] = {}
        """Books by feeds and window in which something moved, to be let go of one horizon later."""
        self.busy: dict[str, Book] = {}
        """Books with anything to take in or to write down."""
        self.late: set[str] = set()
        """Books to look at again because of what came late, or was found."""
        self.restored_us: int | None = None
        """The length of the windows that were restored last; None: nothing was, since `settle_restored`."""
        self.causes: Callable[[Span], list[Contribution]] = _nothing_known
        """The discrepancies of single trades or entries that stand, with what each leaves residual in a window."""
        self.in_doubt: Callable[[Span], bool] = _never
        """Whether a record of that time is known to be lost, so that no drift can be told there."""

    # -- records ------------------------------------------------------------------------------------------------------

    def add(self, account: Account, o: int, key: str, move: Move) -> None:
        """Put down one move of side `o` (0 internal, 1 exchange) of the trade `key`, as that side's log has them."""
        book = self.books.get(account.name)
        if book is None:
            if not self.length_us:
                return
            book = self._book(account)
        self._put_down(book, o, key, move)

    def post(self, account: Account, o: int, entry: Entry) -> None:
        """Put down one entry of the ledger of side `o` that is news, of two that both tell all."""
        if self.length_us:
            book = self.books.get(book_name(account.name, "ledger")) or self._book(account, "ledger")
            self._put_down(book, o, entry_key(account.name, entry), posting_of(entry))

    def _put_down(self, book: Book, o: int, key: str, move: Move) -> None:
        pending = book.pending
        if not pending:
            self.busy[book.name] = book
        pending.append((o, key, move))
        if not book.from_us <= move.ts_us < book.to_us or (book.halves and book.owes(key)):
            self.enter(book, key, move.ts_us)

    def pair(self, account: Account, fill: Fill | Move, ts_us: int) -> None:
        """Put down twins that say the same and that nobody put down before: one of them, and the earlier time.

        Most fills are such; so, where the trade book has paired them, they need not be paired again.
        """
        book = self.books.get(account.name)
        if book is None:
            if not self.length_us:
                return
            book = self._book(account)
        if not book.paired:
            self.busy[book.name] = book
        book.paired.append(fill)
        book.paired_us.append(ts_us)
        if not book.from_us <= ts_us < book.to_us:
            self.enter(book, "", ts_us)

    def _book(self, account: Account, matter: Matter = "fills") -> Book:
        feeds = account.feeds if matter == "fills" else self._feeds_of_ledgers(account)
        book = Book(account, matter, feeds)
        self.books[book.name] = book
        return book

    def _feeds_of_ledgers(self, account: Account) -> Feeds:
        internal, exchange = account.contracts
        venue, account_id = account.name.split("|", 1)
        ours, theirs = (self.directory.clock("balances", venue, account_id, each) for each in account.contracts)
        promises = internal.ledger or "absent", exchange.ledger or "absent"
        return self.ledger_feeds.setdefault((ours, theirs, *promises), Feeds((ours, theirs), promises))

    def enter(self, book: Book, key: str, ts_us: int) -> None:
        """See to it that the window of a move will be looked at; a late one soon."""
        number = ts_us // self.length_us
        if number not in book.ends:
            self.expire(book, number)
        if key and (ts_us <= book.settled_us or book.owes(key)):
            self._look_soon(book)
            self._look_at(book, 0)
        if ts_us > book.settled_us:
            book.from_us = max(number * self.length_us, book.settled_us + 1)
            book.to_us = (number + 1) * self.length_us
        # What lies just after a closed end belongs to a window that is not closed yet.
        if number not in book.ends and (number + 1) * self.length_us > book.settled_us:
            book.ends.add(number)
            book.changed = True
            self._look_at(book, self._due_us(book, number))

    def _look_soon(self, book: Book) -> None:
        """Something came late."""
        self.late.add(book.name)
        self.busy[book.name] = book
        book.changed = True

    def _due_us(self, book: Book, number: int) -> int:
        """What both feeds must pass for a window to close."""
        account = book.account
        return (number + 1) * self.length_us + max(account.within_us) + max(account.grace_us)

    def _within_us(self, book: Book) -> int:
        """How far from a window's end one looks: never so far that two ends meet."""
        return min(max(book.account.within_us), self.length_us // 2)

    def _look_at(self, book: Book, due_us: int) -> None:
        """Look at a book again when both feeds have passed `due_us`; if they have, at their next full second."""
        if not book.promised:
            return  # what one of them leaves out says nothing
        known_us = book.known_us()
        due_us = max(due_us, known_us - known_us % SECOND_US + SECOND_US)
        if due_us < book.due_us:
            book.due_us = due_us
            book.changed = True
            self.busy[book.name] = book
            self.wake(book)

    @staticmethod
    def wake(book: Book) -> None:
        """See to it that a book is looked at when it is due."""
        for clock in book.feeds.clocks:
            clock.ends.add(book.due_us, book.name)

    # -- taking in ----------------------------------------------------------------------------------------------------

    def take_in(self, book: Book) -> None:
        """Pair what has come, and sum what agrees."""
        if book.pending:
            pending, book.pending = book.pending, []
            for o, key, move in pending:
                self._match(book, o, key, move)
        if book.agreeing or book.paired:
            self._sum(book)

    def _match(self, book: Book, o: int, key: str, move: Move) -> None:
        """Pair a move, or let it wait."""
        halves, fresh = book.halves, book.fresh
        unit = unit_of(key, move)
        waiting = halves.take(unit)
        if not waiting or waiting[0][0] == o:
            if not book.promised:  # it will not be compared
                add(book.track(move.instrument).window(move.ts_us // self.length_us).own[o], net_of(move))
                return
            fresh.setdefault(unit, not waiting)
            halves.put(unit, [*waiting, (o, move)])
            if move.ts_us <= book.settled_us:
                self._residual(book, (o, move))
            return
        twin = waiting.pop(0)[1]
        if not waiting:
            halves.drop(unit)
        if not waiting and fresh.get(unit):
            del fresh[unit]
        else:
            fresh.setdefault(unit, False)
        if twin.ts_us <= book.settled_us:
            self._residual(book, (1 - o, twin), again=True)
        if same(twin, move):
            book.agreeing.append((min(twin.ts_us, move.ts_us), move.sign, move))
        else:
            self._pair(book, (twin, move) if o else (move, twin))

    def _sum(self, book: Book) -> None:
        """Take in twins that say the same."""
        length_us = self.length_us
        agreeing, book.agreeing = book.agreeing, []
        paired, paired_us, book.paired, book.paired_us = book.paired, book.paired_us, [], []
        places: dict[tuple[str, int, int], list[Move | Fill]] = {}
        if paired:
            number = min(paired_us) // length_us
            if max(paired_us) // length_us == number and len(set(map(_instrument, paired))) == 1:
                places[paired[0].instrument, number, 1] = paired  # as most are
            else:
                for fill, ts_us in zip(paired, paired_us, strict=True):
                    places.setdefault((fill.instrument, ts_us // length_us, 1), []).append(fill)
        for ts_us, sign, move in agreeing:
            places.setdefault((move.instrument, ts_us // length_us, sign), []).append(move)
        for (subject, number, sign), trades in places.items():
            track = book.track(subject)
            if number > track.base.end or number in track.windows:  # else nobody asks any more
                (add if sign > 0 else subtract)(track.window(number).agreed, sum_of(trades))

    def _pair(self, book: Book, twins: tuple[Move, Move]) -> None:
        """Take in twins that say different things, or the same in other digits: into the window of the earlier one."""
        ours, theirs = twins
        ts_us = min(ours.ts_us, theirs.ts_us)
        track = book.track(ours.instrument)
        window = track.window(ts_us // self.length_us)
        net, other = net_of(ours), net_of(theirs)
        if net == other:
            add(window.agreed, net)
            return
        add(window.own[0], net)
        add(window.own[1], other)
        gap = minus(other, net)
        passed = tolerated(ours, theirs, book.account.terms.tolerance)
        if passed:
            add(window.tolerated, passed)
            subtract(gap, passed)
        if gap:
            self._shift(book, track, ts_us, gap)

    def _residual(self, book: Book, half: Half, *, again: bool = False) -> None:
        """Count what has no twin in its window; or, where a twin has come, no longer."""
        o, move = half
        track = book.track(move.instrument)
        net = net_of(move)
        own = track.window(move.ts_us // self.length_us).own[o]
        (subtract if again else add)(own, net)
        self._shift(book, track, move.ts_us, net if (o == 1) != again else minus({}, net))

    def _shift(self, book: Book, track: Track, ts_us: int, gap: Net) -> None:
        """Let the residual change at a time by `gap`."""
        number = ts_us // self.length_us
        if number <= track.base.end:
            track.base.shift(number, gap)
            track.moved = True
            track.shown.pop(number, None)
            return
        within_us = self._within_us(book)
        for near in (number - 1, number):
            if abs(ts_us - (near + 1) * self.length_us) <= within_us and near > track.base.end:
                edge = track.window(near).edge
                held = edge.setdefault(ts_us, {})
                add(held, gap)
                if not held:
                    del edge[ts_us]

    # -- verdicts -----------------------------------------------------------------------------------------------------

    def fall_due(self, clock: Clock) -> None:
        """Look at the books whose time the watermark of a clock has passed."""
        for name in clock.ends.pop_due(clock.watermark_us, self.books.__contains__):
            book = self.books[name]
            if book.known_us() >= book.due_us:
                self._judge(book)

    def judge_again(self, account: Account) -> None:
        """Look at an account whose lost records have been found, or that came to nothing more."""
        for matter in MATTERS:
            book = self.books.get(book_name(account.name, matter))
            if book is not None:
                self._look_soon(book)
                self._look_at(book, 0)

    def cause_changed(self, account: Account, matter: Matter, ts_us: int) -> None:
        """Look again at drifts that may follow from something that stands, or stood, at that time."""
        book = self.books.get(book_name(account.name, matter))
        if book is not None:
            number = ts_us // self.length_us
            self._say_again(book, lambda told: told in {number - 1, number})

    def say_again(self, account: Account) -> None:
        """Look again at all drifts of an account: other limits hold."""
        for matter in MATTERS:
            book = self.books.get(book_name(account.name, matter))
            if book is not None:
                self._say_again(book, lambda _: True)

    def _say_again(self, book: Book, concerned: Callable[[int], bool]) -> None:
        found = False
        for track in book.tracks.values():
            for number in filter(concerned, track.said):
                track.shown.pop(number, None)
                found = True
        if found:
            self._look_soon(book)
            self._look_at(book, 0)

    def settle(self) -> None:
        """Look at once at what came late: the feeds fell silent, and may not pass another second."""
        for name in sorted(self.late & self.books.keys()):
            if self.books[name].promised:
                self._judge(self.books[name])
        self.late.clear()

    def _judge(self, book: Book) -> None:
        """Close what both feeds have passed, and say what follows."""
        self.take_in(book)
        self.busy[book.name] = book
        self.late.discard(book.name)
        closed = self._settle(book)
        unresolved = False
        for subject in sorted(book.tracks):
            track = book.tracks[subject]
            is_even = all(window.is_even for window in track.windows.values())
            if track.said or track.base.open or track.base.told or not is_even:
                chain = follow(track.base, track.windows, closed, self.length_us)
                unresolved = unresolved or bool(chain.open)
                self._say(book, subject, chain)
        waits = {closed + 1} | book.ends if unresolved else book.ends
        book.due_us = self._due_us(book, min(waits)) if waits else NEVER_US
        book.changed = True
        if waits:
            self.wake(book)

    def _closed(self, book: Book) -> int:
        """The newest window that both feeds have passed."""
        account = book.account
        passed_us = book.known_us() - max(account.within_us) - max(account.grace_us)
        return passed_us // self.length_us - 1

    def _settle(self, book: Book) -> int:
        """Make residual of what has no twin in windows that are closed; the newest of these."""
        closed = self._closed(book)
        settled_us = (closed + 1) * self.length_us + self._within_us(book)
        if settled_us > book.settled_us:
            loose = book.halves.loose
            for half in [half for waiting in loose.values() for half in waiting]:
                if book.settled_us < half[1].ts_us <= settled_us:
                    self._residual(book, half)
            book.settled_us = settled_us
            book.changed = True
            book.halves.pack(list(loose), settled_us)
            book.from_us = max(book.from_us, settled_us + 1)
        self._end(book, closed)
        return closed

    @staticmethod
    def _end(book: Book, closed: int) -> None:
        """Windows up to that one will not be looked at any more."""
        if book.ends and min(book.ends) <= closed:
            book.ends = {number for number in book.ends if number > closed}
            book.changed = True

    def _say(self, book: Book, subject: str, chain: Chain) -> None:
        """Publish what stands, and clear what does not."""
        track = book.tracks[subject]
        for number, drift in sorted(chain.told.items()):
            if track.shown.get(number) == drift:
                continue
            span = self._span(book, subject, number)
            if number not in track.said:
                if self.in_doubt(span):
                    continue
                track.said.add(number)
                track.moved = True
            self.register.assert_open(self._alert(book, span, drift))
            track.shown[number] = dict(drift)
        for number in sorted(track.said - chain.told.keys()):
            self._clear(book, subject, number)

    def _clear(self, book: Book, subject: str, number: int) -> None:
        """Publish that a drift is over."""
        track = book.tracks[subject]
        track.shown.pop(number, None)
        window = track.windows.get(number)
        late = window is None or not window.residual()
        self.register.clear(drift_alert_id(self._span(book, subject, number)), late=late)

    def _alert(self, book: Book, span: Span, drift: Net) -> Discrepancy:
        number = span.from_us // self.length_us
        window = book.tracks[span.subject].windows.get(number, Window())
        nets = (total((window.agreed, window.own[0])), total((window.agreed, window.own[1])))
        due_us = self._due_us(book, number + 1)
        return drift_of(span, Findings(nets, drift, due_us, self.causes(span)), self.rules.thresholds)

    def _span(self, book: Book, subject: str, number: int) -> Span:
        start_us = number * self.length_us
        return Span(book.account.name, subject, start_us, start_us + self.length_us, book.matter)

    # -- reading ------------------------------------------------------------------------------------------------------

    def live(self, not_told: Iterable[tuple[Account, int, Move]] = ()) -> Iterator[Sight]:
        """What moved in each window that is remembered, open ones included, and where nobody was told of it yet."""
        further: dict[str, list[Half]] = {}
        for account, o, move in not_told:
            further.setdefault(account.name, []).append((o, move))
            if account.name not in self.books:
                self._book(account)  # fills alone may be told to nobody for a while
        for name in sorted(self.books):
            book = self.books[name]
            self.take_in(book)
            open_nets: dict[tuple[str, int], tuple[Net, Net]] = {}
            halves = [half for held in book.halves.loose.values() for half in held if half[1].ts_us > book.settled_us]
            for o, move in halves + further.get(name, []):
                place = move.instrument, move.ts_us // self.length_us
                add(open_nets.setdefault(place, ({}, {}))[o], net_of(move))
            places = {(i, number) for i, track in book.tracks.items() for number in track.windows}
            closed = self._closed(book)
            for subject, number in sorted(places | open_nets.keys()):
                track = book.track(subject)
                window = track.windows.get(number, Window())
                waits = open_nets.get((subject, number), ({}, {}))
                nets = [total((window.agreed, window.own[o], waits[o])) for o in (0, 1)]
                told = follow(track.base, track.windows, closed, self.length_us).told
                yield Sight(self._span(book, subject, number), (nets[0], nets[1]), told.get(number, {}))

    # -- forgetting ---------------------------------------------------------------------------------------------------

    def forget(self) -> None:
        """Let go of windows that both feeds have passed by the horizon."""
        for feeds, numbers in self.expiry.items():
            known_us = feeds.known_us()
            limit_us = known_us - self.rules.horizon_us
            for number in sorted(number for number in numbers if (number + 1) * self.length_us <= limit_us):
                kept = set()
                for name in sorted(numbers.pop(number)):
                    book = self.books.get(name)
                    if book is not None and self._due_us(book, number) > known_us:
                        kept.add(name)
                    elif book is not None:
                        self._forget_until(book, number, known_us)
                if kept:
                    numbers[number] = kept

    def _forget_until(self, book: Book, number: int, known_us: int) -> None:
        self.take_in(book)
        self.busy[book.name] = book
        judged = number <= self._closed(book) and book.promised
        if judged:
            self._settle(book)
        for subject in sorted(book.tracks):
            track = book.tracks[subject]
            if judged:
                track.base = follow(track.base, track.windows, number, self.length_us)
            for old in [old for old in track.windows if old <= number and not track.base.holds(old)]:
                del track.windows[old]
                track.touched.add(old)
            for old in sorted(old for old in track.said if old <= number and not track.base.holds(old)):
                alert_id = drift_alert_id(self._span(book, subject, old))
                if self.register.stands(alert_id):  # what ended it came just now
                    self._clear(book, subject, old)
                self.register.forget(alert_id, known_us)
                track.said.discard(old)
                track.shown.pop(old, None)
            track.moved = True
        self._forget_halves(book, number)

    def _forget_halves(self, book: Book, number: int) -> None:
        for unit, waiting in list(book.halves.items()):
            move = waiting[-1][1]
            old = move.ts_us // self.length_us
            if old <= number and not book.track(move.instrument).base.holds(old):
                book.halves.drop(unit)
                book.fresh[unit] = False
        self._end(book, number)

    def settle_restored(self) -> None:
        """Clear what was said of windows that nobody looks at any more: of another length, or no longer compared.

        After a restart, once all that was remembered has been restored.
        """
        if self.restored_us is None:
            return
        self.restored_us = None
        said = set()
        for book in self.books.values():
            for subject, track in book.tracks.items():
                if book.promised:
                    said |= {drift_alert_id(self._span(book, subject, number)) for number in track.said}
                elif track.said:
                    track.said, track.base, track.moved = set(), Chain(track.base.end), True
                    self.busy[book.name] = book
        for alert in list(self.register.newest.standing_of({KIND})):
            if alert.alert_id not in said:
                self.register.clear(alert.alert_id)
                self.register.forget(alert.alert_id, alert.due_us)

    # -- memory -------------------------------------------------------------------------------------------------------

    def remembered(self, name: str) -> Book:
        """The book of that name, known or new."""
        book = self.books.get(name)
        if book is None:
            account, _, matter = name.partition("\x1f")
            book = self._book(self.directory.named(account), "ledger" if matter else "fills")
        return book

    def expire(self, book: Book, number: int) -> None:
        """Let a window go one horizon after it."""
        self.expiry.setdefault(book.feeds, {}).setdefault(number, set()).add(book.name)


_instrument = attrgetter("instrument")


def _nothing_known(_: Span) -> list[Contribution]:
    return []


def _never(_: Span) -> bool:
    return False
