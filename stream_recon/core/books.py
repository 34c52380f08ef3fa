"""The books of accounts: orders, positions, balances and ledgers, judged when all that they rest on has come.

An account's records gather here until a *barrier* has passed them: the lowest watermark of the topics that a conclusion
reads. What is due is judged in the order in which it fell due, causes before what follows from them: fills (`trades`),
then ledger entries, orders, positions and balances. A record that comes later than its contract allows has what rests
on it judged anew, at once.

Each conclusion is a function of what is kept and of the time it is due at, so neither batches nor restarts change it:
after a restart everything kept is judged again, and says nothing new.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from decimal import localcontext
from functools import partial
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Literal, NamedTuple

from stream_recon.core.causes import Cause, MovesByKey, residual_in, split, subjects_of
from stream_recon.core.describe import published_form
from stream_recon.core.findings import Finding, Told, Verdict
from stream_recon.core.keeping import BookState, PartsState, take
from stream_recon.core.ledger import Entries, Entry
from stream_recon.core.movements import Move, move_of, posting_of
from stream_recon.core.newest import Packed
from stream_recon.core.orders import Orders
from stream_recon.core.promises import Promises
from stream_recon.core.states import End, States, told_snapshot
from stream_recon.core.tell_drift import Contribution
from stream_recon.core.watermarks import NEVER_US, UNKNOWN_US
from stream_recon.core.window_books import entry_key
from stream_recon.domain.amounts import EXACT, plain, to_decimal
from stream_recon.domain.discrepancies import FieldDifference, Kind, alert_id
from stream_recon.domain.events import ORIGINS, STREAMS, Balance, Fill, Ledger, Order, Position, SnapshotEnd, Stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream_recon.core.accounts import Account, Directory
    from stream_recon.core.conditions import Conditions
    from stream_recon.core.findings import Subject, Unknown
    from stream_recon.core.movements import Key
    from stream_recon.core.orders import OrderKey
    from stream_recon.core.promises import Class
    from stream_recon.core.states import Snapshot
    from stream_recon.core.tell_drift import Span
    from stream_recon.core.trades import Rules, TradeBook
    from stream_recon.core.watermarks import Clock
    from stream_recon.domain.discrepancies import Discrepancy, SplitPart
    from stream_recon.domain.instruments import Instrument

EntriesOf = tuple[Entry | None, Entry | None]
FillsOf = Callable[[str], tuple[Move | None, Move | None]]
MovesOf = Callable[[str], tuple[list[Move], list[Move]]]
Agenda = Literal["ledger", "orders", "states"]
AGENDAS: dict[Agenda, tuple[Class, ...]] = {
    "ledger": ("ledger",),
    "orders": ("fill", "order"),
    "states": ("fill", "position", "balance", "ledger"),
}
"""What is judged, causes first, and the classes of records that it waits for."""
_CLASS_OF: dict[type, Class] = {
    Fill: "fill", Order: "order", Position: "position", Balance: "balance", Ledger: "ledger",
}  # fmt: skip
JUDGED_KINDS: frozenset[Kind] = frozenset({
    "order_mismatch", "position_mismatch", "balance_mismatch", "ledger_missing", "duplicate_conflict",
})  # fmt: skip
FOLD: Subject = ("fold",)
TAPE_LIMIT = 2_000
"""Fills that wait to be counted; more are counted before anything is due."""


class Said(NamedTuple):
    """What was published of a finding: to say it again only if that says more."""

    event_us: int
    known_us: int
    """Up to which time all has to be known to say so."""
    content: int


class AccountBook:
    """What is kept of one account beside its fills."""

    def __init__(  # noqa: PLR0915 - all that is kept of an account, once
        self, account: Account, promises: Promises, books: Books
    ) -> None:
        self.account = account
        self._unsettled = books.unsettled
        self.promises = promises
        self._touched = books.touched
        self._fills_of = books.fills_of
        self._causes_changed = books.causes_changed
        self._post = books.post
        venue = account.name.split("|", 1)[0]
        self._instruments: dict[str, Instrument | None] = {}
        self._lookup = partial(books.rules.instruments.of, venue)
        doubted = books.conditions.doubted(account)
        self.states = States(promises, self.instrument_of, doubted, self)
        self.orders = Orders(promises, doubted)
        self.entries = Entries(promises, doubted)
        self.parts: dict[tuple[int, str], PartsState] = {}
        """By origin and asset, the newest balance that tells what is free and what is locked."""
        self.seqs = [0, 0]
        """Of records, by origin."""
        self.tape: tuple[list[Move], list[Move]] = ([], [])
        """Fills that have not been counted yet."""
        self.counted = [0, 0]
        """By origin, the place of the newest record whose fill is among its order's."""
        kept = books.rules.idle_fills_kept
        self.is_idle = kept is not None and not promises.anything_but_fills()
        """Nobody has promised or sent anything that fills could be held against."""
        self._idle: tuple[list[Fill | Move], list[Fill | Move]] = ([], [])
        """Meanwhile the newest fills, and the places of their records."""
        self._idle_seqs: tuple[list[int], list[int]] = ([], [])
        self._idle_limit = 2 * (kept or 0)
        self.idle_since_us = UNKNOWN_US
        """What lies before that time was known to nobody but a worker that is gone."""
        self.agendas: dict[Agenda, list[tuple[int, Subject]]] = {name: [] for name in AGENDAS}
        self.waits: dict[Agenda, int] = {}
        """Until when each agenda has been left to a clock."""
        self.fold_us = NEVER_US
        """When the fills on the tape are to be counted."""
        self.scheduled_orders: set[OrderKey] = set()
        """Orders on the agenda."""
        self.judged_us: dict[Subject, int] = {}
        """Up to which time each subject has been judged."""
        self.reached_us = UNKNOWN_US
        """The newest of these times, of positions and balances."""
        self.again: set[Subject] = set()
        """To be judged anew at once."""
        self.late: set[Subject] = set()
        """Of which a record came later than its contract allows, since they were judged last."""
        self.said: dict[Subject, dict[str, Said]] = {}
        """By subject, by alert id, what stands."""
        self.unknown: dict[Subject, list[Unknown]] = {}
        self.causes: dict[str, tuple[int, str, EntriesOf]] = {}
        """By alert id: time, key of the case or nothing, what each side has as a ledger entry."""
        self.touched = False
        """Something was put in since the last drain."""
        self.rewrite = False
        """Old records were summed up: the whole has to be written again."""
        self.begin_changes()

    def touch(self) -> None:
        """Something was put in."""
        if not self.touched:
            self.touched = True
            self._touched.append(self.account)

    def begin_changes(self) -> None:
        """Gather anew what is put in."""
        self.changes = BookState(self.account.name, (0, 0))
        self.touched_orders: dict[OrderKey, None] = {}

    def instrument_of(self, name: str) -> Instrument | None:
        """What is known of an instrument of this venue."""
        try:
            return self._instruments[name]
        except KeyError:
            what = self._instruments[name] = self._lookup(name)
            return what

    def next_seq(self, o: int) -> int:
        """The place of a further record."""
        self.seqs[o] += 1
        return self.seqs[o]

    def barrier(self, agenda: Agenda) -> int:
        """The time that all that a kind of conclusion reads has passed (us)."""
        clocks = self.promises.waited_for(AGENDAS[agenda])
        return min((clock.watermark_us for clock in clocks), default=UNKNOWN_US)

    # -- fills --------------------------------------------------------------------------------------------------------

    def fill(self, o: int, fill: Fill) -> int:
        """A trade counts from its own time on; gives the place of its record."""
        self.seqs[o] = seq = self.seqs[o] + 1
        if self.is_idle:
            idle = self._idle[o]
            idle.append(fill)
            self._idle_seqs[o].append(seq)
            if not self.touched:
                self.touch()
            if len(idle) > self._idle_limit:
                self._shorten(o)
        else:
            self.count(o, move_of(fill, seq))
        return seq

    def count(self, o: int, move: Move) -> None:
        """One more movement, to be counted when something is due."""
        self._put(o, move)
        due_us = move.ts_us + self.promises.wait_us
        if due_us < self.fold_us:
            self.fold_us = due_us
            self.push("orders", due_us, FOLD)
        if move.ts_us - self.promises.within_us <= self.reached_us or len(self.tape[o]) > TAPE_LIMIT:
            self.fold()

    def _put(self, o: int, move: Move) -> None:
        self.tape[o].append(move)
        self.changes.moves.append((o, move))
        if not self.touched:
            self.touch()

    def _shorten(self, o: int) -> None:
        """Nobody sends what fills could be held against: only the newest are kept, should somebody begin to."""
        idle, seqs = self._idle[o], self._idle_seqs[o]
        gone = len(idle) - self._idle_limit // 2
        self.know_since(max(kept.ts_us for kept in idle[:gone]) + 1)
        del idle[:gone], seqs[:gone]

    def know_since(self, ts_us: int) -> None:
        """What moved before that time is not known."""
        self.orders.since_us = max(self.orders.since_us, ts_us)
        self.states.since_us = max(self.states.since_us, ts_us)

    def idle_until_us(self) -> int:
        """Just after the newest of the fills that nobody would know after a restart."""
        times_us = [kept.ts_us + 1 for idle in self._idle for kept in idle]
        return max(times_us, default=self.idle_since_us) if self.is_idle else UNKNOWN_US

    def promises_changed(self) -> None:
        """Something was heard for the first time."""
        self.promises.changed()
        if self.is_idle and self.promises.anything_but_fills():
            self.is_idle = False
            for o in (0, 1):
                for kept, seq in zip(self._idle[o], self._idle_seqs[o], strict=True):
                    self.count(o, kept if isinstance(kept, Move) else move_of(kept, seq))
                self._idle[o].clear()
                self._idle_seqs[o].clear()

    def fold(self) -> None:
        """Count the fills on the tape."""
        track_orders = any(contract.orders != "absent" for contract in self.promises.contracts)
        with localcontext(EXACT):
            for o in (0, 1):
                moves, self.tape[o][:] = sorted(self.tape[o], key=_order), []
                counted = self.counted[o]
                for move in moves:
                    self.states.move(o, move)
                    if track_orders and move.sign and move.seq > counted:
                        self.order_due(self.orders.move(o, move))
                if moves:
                    self.counted[o] = self.seqs[o]
                    self.touch()

    def restore_move(self, o: int, move: Move) -> None:
        """A movement that was counted before a restart, or waited to be."""
        self.is_idle = False
        self.tape[o].append(move)
        self.push("orders", move.ts_us + self.promises.wait_us, FOLD)

    def recount(self, o: int, moves: list[Move]) -> None:
        """What some records count for is not what it was: so many movements more, that may have places of before."""
        if self.is_idle:
            self._idle[o].extend(moves)
            self._idle_seqs[o].extend(move.seq for move in moves)
            return
        self.fold()
        for move in moves:
            self._put(o, move)
        self.counted[o] = 0
        self.fold()

    def moved(self, kind: str, key: Key, ts_us: int) -> int:
        """A position or balance moved for the first time, or late: what was judged may have seen that.

        Gives the time up to which further movements are of interest.
        """
        subject = (kind, *key)
        judged_us = self.judged_us.setdefault(subject, UNKNOWN_US)
        if subject in self.states.fresh:
            self.states.fresh.discard(subject)
            self.push("states", ts_us + self.promises.wait_us + self.promises.patience_us, subject)
        if ts_us - self.promises.within_us <= judged_us:
            self.states.key_state(kind, key).stale = True
            self.late.add(subject)
            self.judge_again(subject)
        return judged_us + self.promises.within_us

    def reached(self, subject: Subject, until_us: int) -> None:
        """A position or balance is judged up to that time."""
        self.reached_us = max(self.reached_us, until_us)
        self.states.watch(subject[0], subject[1:], until_us + self.promises.within_us)

    def anchored(self, kind: str, key: Key, ts_us: int) -> None:
        """A fill of that time came that snapshots of a position or balance are anchored to."""
        subject, due_us = (kind, *key), ts_us + self.promises.wait_us
        self.push("states", due_us, subject)
        if due_us <= self.barrier("states"):
            self.late.add(subject)

    # -- orders -------------------------------------------------------------------------------------------------------

    def order(self, o: int, event: Order, offset: int | None, value: bytes) -> None:
        """An update of an order."""
        key = self.orders.update(o, event, self.next_seq(o), Told(o, "orders", offset, value))
        self.order_due(key)

    def order_due(self, key: OrderKey) -> None:
        """Something came about an order: it is judged when all that belongs to it has come."""
        if key in self.touched_orders and key in self.scheduled_orders and not self.orders.renamed:
            return
        self.touched_orders |= dict.fromkeys((key, *self.orders.renamed))
        self.touch()
        if key not in self.scheduled_orders:
            due_us = self.orders.known[key].newest_us + self.promises.wait_us
            self.scheduled_orders.add(key)
            subject = ("order", *key)
            self.push("orders", due_us, subject)
            if subject in self.judged_us and due_us <= self.barrier("orders"):
                self.late.add(subject)

    # -- states -------------------------------------------------------------------------------------------------------

    def snapshot(self, o: int, event: Position | Balance, offset: int | None, value: bytes) -> None:
        """A reported position or balance."""
        told = Told(o, "balances", offset, value)
        seq = self.next_seq(o)
        kind, key, snapshot = told_snapshot(event, seq, told)
        self.put_snapshot(o, kind, key, snapshot, event.snapshot_id)
        self.changes.snapshots.append((o, kind, list(key), snapshot, event.snapshot_id))
        self.touch()
        if isinstance(event, Balance) and event.free is not None and event.locked is not None:
            parts = PartsState(o, event.asset, event.ts_us, seq, event.free, event.locked, event.total, told)
            self.put_parts(parts)
            self.changes.parts.append(parts)

    def put_snapshot(self, o: int, kind: str, key: Key, snapshot: Snapshot, snapshot_id: str | None) -> None:
        """Keep a reported state until it is due."""
        if self.states.snapshot(o, kind, key, snapshot, snapshot_id):
            self.end_due(o, snapshot.ts_us)
        self._state_due((kind, *key), snapshot.ts_us)

    def put_parts(self, parts: PartsState) -> None:
        """The newest balance tells whether its parts add up."""
        known = self.parts.get((parts.origin, parts.asset))
        if known is None or (known.ts_us, known.seq) <= (parts.ts_us, parts.seq):
            self.parts[parts.origin, parts.asset] = parts
            self._state_due(("parts", str(parts.origin), parts.asset), parts.ts_us)

    def end(self, o: int, event: SnapshotEnd) -> None:
        """The end of a complete snapshot."""
        end = self.states.end(o, event)
        self.changes.ends.append((o, event.snapshot_id, End(end.ts_us, end.count)))
        self.touch()
        self.end_due(o, event.ts_us)

    def end_due(self, o: int, ts_us: int) -> None:
        """What a complete snapshot proves is concluded when all of it must have come."""
        self._state_due(("snapshot", str(o)), ts_us)

    def _state_due(self, subject: Subject, ts_us: int) -> None:
        judged_us = self.judged_us.setdefault(subject, UNKNOWN_US)
        if ts_us <= judged_us:
            self.late.add(subject)
            self.judge_again(subject)
        self.push("states", ts_us + self.promises.wait_us, subject)
        # What the other side reported near by is compared with it a little later.
        self.push("states", ts_us + self.promises.within_us + self.promises.wait_us, subject)

    # -- ledger -------------------------------------------------------------------------------------------------------

    def entry(self, o: int, event: Ledger, offset: int | None, value: bytes) -> None:
        """An entry of the ledger."""
        told = Told(o, "balances", offset, value)
        entry = Entry(
            event.ts_us, self.next_seq(o), event.ledger_id, event.asset, event.delta, event.reason, event.ref_id, told
        )
        if self.put_entry(o, entry) and self.entries.nets(entry):
            self._post(self.account, o, entry)
        self.changes.entries.append((o, entry))
        self.touch()

    def put_entry(self, o: int, entry: Entry) -> bool:
        """Keep an entry until it is due, and let it move its balance. False: it is a copy of one that is known."""
        news = self.entries.add(o, entry)
        subject = ("ledger",)
        if entry.ts_us <= self.judged_us.get(subject, UNKNOWN_US):
            self.late.add(subject)
            self.judge_again(subject)
        else:
            self.push("ledger", entry.ts_us + self.promises.wait_us, subject)
        if news:
            self.states.entry(o, entry.seq, entry)
        return news

    # -- what is due --------------------------------------------------------------------------------------------------

    def push(self, agenda: Agenda, due_us: int, subject: Subject) -> None:
        """Put something on an agenda."""
        heappush(self.agendas[agenda], (due_us, subject))
        if due_us < self.waits.get(agenda, NEVER_US):
            self.waits.pop(agenda, None)
            self.unsettle()

    def judge_again(self, subject: Subject) -> None:
        """Let a subject be judged anew at once."""
        self.again.add(subject)
        self.unsettle()

    def unsettle(self) -> None:
        """Something is due, or waits for nothing yet."""
        self.account.unsettled = True
        self._unsettled[self.account] = None

    def step_back(self) -> None:
        """A feed counts now for which nobody waited: what it has not passed yet will be judged again when it has."""
        wait_us = self.promises.wait_us
        until_us = {agenda: max(self.barrier(agenda) - wait_us, UNKNOWN_US) for agenda in AGENDAS}
        for subject, judged_us in self.judged_us.items():
            agenda = _agenda_of(subject)
            if judged_us > until_us[agenda]:
                self.judged_us[subject] = until_us[agenda]
                if agenda == "orders":
                    self._order_again(subject, until_us[agenda])
        for side in self.entries.left:
            for entry in side.values():
                if entry.ts_us > until_us["ledger"]:
                    self.push("ledger", entry.ts_us + wait_us, ("ledger",))
        self.reached_us = min(self.reached_us, until_us["states"])
        for subject, ts_us in self._told():
            if ts_us > until_us["states"] - self.promises.within_us:
                self._state_due(subject, ts_us)

    def _order_again(self, subject: Subject, until_us: int) -> None:
        key = (subject[1], subject[2])
        known = self.orders.known.get(key)
        if known is not None and key not in self.scheduled_orders and known.newest_us > until_us:
            self.judged_us[subject] = UNKNOWN_US
            self.scheduled_orders.add(key)
            self.push("orders", known.newest_us + self.promises.wait_us, subject)

    def _told(self) -> Iterator[tuple[Subject, int]]:
        """All that is kept of states, and its times."""
        for subject, state in self.states.keys.items():
            yield from ((subject, snapshot.ts_us) for side in state.snapshots for snapshot in side)
        for o in (0, 1):
            yield from ((("snapshot", str(o)), end.ts_us) for end in self.states.ends[o].values() if end.count >= 0)
        yield from ((("parts", str(parts.origin), parts.asset), parts.ts_us) for parts in self.parts.values())

    # -- causes -------------------------------------------------------------------------------------------------------

    def add_cause(self, name: str, ts_us: int, key: str, entries: EntriesOf = (None, None)) -> None:
        """A discrepancy of a trade or a ledger entry stands that others may follow from."""
        if self.causes.get(name) != (ts_us, key, entries) or key:
            self.causes[name] = (ts_us, key, entries)
            self._affected(name)

    def drop_cause(self, name: str) -> None:
        """It no longer stands."""
        if name in self.causes:
            self._affected(name)
            del self.causes[name]

    def cause(self, name: str) -> Cause:
        """What stands, with what each side counts for it."""
        ts_us, key, entries = self.causes[name]
        return Cause(name, ts_us, self._fills_of(key) if key else (None, None), entries)

    def causes_in(self, from_us: int, to_us: int) -> list[Cause]:
        """Those that were in that time."""
        return [self.cause(name) for name, (ts_us, _, _) in self.causes.items() if from_us <= ts_us <= to_us]

    def _affected(self, name: str) -> None:
        self._causes_changed(self.account)
        if self.said:
            for subject in subjects_of(self.cause(name), self.instrument_of):
                if subject in self.said:
                    self.judge_again(subject)


def _order(move: Move) -> tuple[int, int]:
    return move.ts_us, move.seq


class Books:
    """The books of all accounts of one partition number, and what was published of them."""

    def __init__(
        self, partition: int | None, directory: Directory, conditions: Conditions, rules: Rules, trades: TradeBook
    ) -> None:
        self.fills_of: FillsOf = trades.fills_of
        self.moves_of: MovesOf = trades.moves_of
        self.post: Callable[[Account, int, Entry], None] = _nobody
        """Who is told of ledger entries that are news."""
        self.causes_changed: Callable[[Account], None] = _not_concerned
        """Who is told that an account's discrepancies of trades or ledger entries are others."""
        self.partition = partition
        self.directory = directory
        self.conditions = conditions
        self.register = conditions.register
        self.rules = rules
        self.topics: dict[tuple[int, Stream], str | None] = {}
        self.touched: list[Account] = []
        """Into whose books something was put since the last drain."""
        self.unsettled: dict[Account, None] = {}
        """In whose books something may be due."""
        self.fresh_heard: list[tuple[str, int, Class]] = []
        """(venue, origin, class) first heard since the last drain."""
        self._looked_us = UNKNOWN_US
        """How far the feeds were when something was last forgotten."""
        self.restored = False
        """A state was restored, and its conclusions have not been drawn again yet."""

    def open(self, account: Account) -> None:
        """Keep the books of a new account, unless both sides have said that there is nothing to keep them by."""
        if all(
            promise == "absent"
            for contract in account.contracts
            for promise in (contract.orders, contract.positions, contract.balances, contract.ledger)
        ):
            return
        venue, account_id = account.name.split("|", 1)
        clocks = {
            (o, stream): self.directory.clock(stream, venue, account_id, account.contracts[o])
            for o in (0, 1)
            for stream in STREAMS
        }
        self.directory.pairs |= {(clocks[0, stream], clocks[1, stream]): None for stream in STREAMS}
        promises = Promises(account.contracts, clocks, account.heard)
        account.book = AccountBook(account, promises, self)

    def causes_of_drift(self, span: Span) -> list[Contribution]:
        """The discrepancies of single trades, or ledger entries, that left something residual in a window.

        What is newer than the next window is not looked at: its twins or amendments came too late to tell it apart.
        """
        account = self.directory.by_name.get(span.account)
        if account is None or account.book is None:
            return []
        book, until_us, found = account.book, 2 * span.to_us - span.from_us, []
        for name, (ts_us, key, entries) in book.causes.items():
            if not span.from_us <= ts_us < until_us or (key == "") != (span.matter == "ledger"):
                continue
            moves = self._moves_of_trade(key) if key else self._moves_of_entries(book, name, entries)
            residual = residual_in(span, moves, account.terms.tolerance)
            if residual:
                found.append(Contribution(name, residual))
        return found

    def _moves_of_trade(self, key: str) -> MovesByKey:
        ours, theirs = self.moves_of(key)
        return {key: ours}, {key: theirs}

    def _moves_of_entries(self, book: AccountBook, name: str, entries: EntriesOf) -> MovesByKey:
        known = self.register.newest.kept(name)
        if isinstance(known, Packed) and known.kind == "duplicate_conflict":
            return {}, {}  # the first copy counts, whatever the others say
        ours, theirs = (
            {entry_key(book.account.name, entry): [posting_of(entry)]} if entry and book.entries.nets(entry) else {}
            for entry in entries
        )
        return ours, theirs

    # -- what is heard ------------------------------------------------------------------------------------------------

    def hear(self, account: Account, o: int, kind: Class) -> None:
        """A class of records came for the first time of this venue: what nobody promised is sent after all."""
        account.heard[o].add(kind)
        self.fresh_heard.append((account.name.split("|", 1)[0], o, kind))
        self._changed(account.name.split("|", 1)[0])

    def first_heard(self, clock: Clock) -> None:
        """A feed spoke for the first time."""
        self._changed(clock.venue)

    def _changed(self, venue: str) -> None:
        for (of_venue, _), account in self.directory.accounts.items():
            if of_venue == venue and account.book is not None:
                account.book.promises_changed()
                account.book.step_back()
                self.reconsider(account)
                self.settle(account)

    def reconsider(self, account: Account) -> None:
        """Something is known now that puts all conclusions about an account in another light."""
        book = account.book
        if book is not None:
            book.waits.clear()
            for subject in book.judged_us:
                book.judge_again(subject)
            account.unsettled = True

    def doubt(self, account: Account) -> None:
        """Records turned out to be lost: what stands may not be known any more."""
        if account.book is not None:
            for subject in account.book.said:
                account.book.judge_again(subject)
            self.settle(account)

    def waiting_for(self, clock: Clock) -> int:
        """How many accounts are held up by a clock."""
        return sum(
            1
            for account in self.directory.accounts.values()
            if account.book is not None
            for agenda, due_us in account.book.waits.items()
            if clock.watermark_us < due_us and clock in account.book.promises.waited_for(AGENDAS[agenda])
        )

    def add(self, account: Account, o: int, event: object, offset: int | None, value: bytes) -> None:
        """Apply a record that is no fill."""
        book = account.book
        if book is None:
            return
        kind = _CLASS_OF.get(type(event))
        if kind is not None and kind not in account.heard[o]:
            self.hear(account, o, kind)
        if isinstance(event, Order):
            book.order(o, event, offset, value)
        elif isinstance(event, Ledger):
            book.entry(o, event, offset, value)
        elif isinstance(event, SnapshotEnd):
            book.end(o, event)
        else:
            book.snapshot(o, event, offset, value)  # type: ignore[arg-type]  # what is left are Position and Balance

    def fall_due(self, clock: Clock) -> None:
        """Judge what the watermark of a clock has passed."""
        accounts = self.directory.by_name
        for name in clock.evaluations.pop_due(clock.watermark_us, lambda name: name in accounts):
            book = accounts[name].book
            if book is not None:
                for agenda in [agenda for agenda, due_us in book.waits.items() if due_us <= clock.watermark_us]:
                    del book.waits[agenda]
                self.settle(accounts[name])

    def settle_all(self) -> None:
        """Draw the conclusions of a restored state again: what stands is known from what was published."""
        if not self.restored:
            return
        self.restored = False
        for alert in self.register.newest.standing_of(JUDGED_KINDS):
            account = self.directory.named(alert.account)
            book = account.book
            if book is not None and alert.identity in {"order", "position", "balance"}:
                book.said.setdefault(subject_of(alert), {})[alert.alert_id] = Said(
                    alert.event_us, alert.due_us - book.promises.wait_us, 0
                )
        for account in self.directory.accounts.values():
            book = account.book
            if book is not None:
                book.know_since(book.idle_since_us)
                book.causes = {name: cause for name, cause in book.causes.items() if self.register.stands(name)}
                self._catch_up(book)
            self.settle(account)
        self.conditions.clear_unheld()

    def settle_unsettled(self) -> None:
        """Judge what follows from what was found of fills."""
        for account in list(self.unsettled):
            self.settle(account)

    def settle(self, account: Account) -> None:
        """Judge what is due, and let clocks wake up what is not."""
        self.unsettled.pop(account, None)
        book = account.book
        if book is None:
            account.unsettled = False
            return
        with localcontext(EXACT):
            account.unsettled = True
            while account.unsettled:
                account.unsettled = False
                self._settle(account, book)
        self.unsettled.pop(account, None)

    def _settle(self, account: Account, book: AccountBook) -> None:
        for agenda in AGENDAS:
            heap = book.agendas[agenda]
            if not heap and not book.again:
                continue
            barrier_us = book.barrier(agenda)
            if any(book.tape) and (book.again or heap[0][0] <= barrier_us):
                book.fold()
            while heap and heap[0][0] <= barrier_us:
                due_us, subject = heappop(heap)
                self._due(account, book, due_us, subject)
            self._judge_again(account, book, agenda)
            if heap:
                self._wait(account, book, agenda, heap[0][0])
        for agenda in AGENDAS:
            self._judge_again(account, book, agenda)  # what was found may explain what was judged before

    def _wait(self, account: Account, book: AccountBook, agenda: Agenda, due_us: int) -> None:
        """Leave an agenda to one of the clocks that hold it up."""
        if book.waits.get(agenda, due_us + 1) <= due_us:
            return
        lagging = [c for c in book.promises.waited_for(AGENDAS[agenda]) if c.watermark_us < due_us]
        if lagging:
            lagging[0].evaluations.add(due_us, account.name)
            book.waits[agenda] = due_us

    def _due(self, account: Account, book: AccountBook, due_us: int, subject: Subject) -> None:
        if self._reach(book, due_us, subject):
            self._judge(account, book, subject, book.judged_us[subject])

    @staticmethod
    def _reach(book: AccountBook, due_us: int, subject: Subject) -> bool:
        """Note up to when a subject is judged. False where there is nothing to judge, or not yet."""
        wait_us = book.promises.wait_us
        if subject == FOLD:
            book.fold_us = NEVER_US
            return False
        if subject[0] == "order":
            book.scheduled_orders.discard((subject[1], subject[2]))
            known = book.orders.known.get((subject[1], subject[2]))
            if known is not None and known.newest_us + wait_us > due_us:
                book.scheduled_orders.add((subject[1], subject[2]))
                book.push("orders", known.newest_us + wait_us, subject)
                return False
        until_us = max(book.judged_us.get(subject, UNKNOWN_US), due_us - wait_us)
        book.judged_us[subject] = until_us
        if subject[0] in {"position", "balance"}:
            book.reached(subject, until_us)
        return True

    def _catch_up(self, book: AccountBook) -> None:
        """Let all that was due before a restart be judged once, as it stood then."""
        book.promises_changed()
        book.fold()
        for subject, said in book.said.items():
            book.judged_us.setdefault(subject, UNKNOWN_US)
            if subject[0] == "order" and (subject[1], subject[2]) not in book.orders.known:  # it has another name now
                book.judged_us[subject] = max(each.event_us for each in said.values())
                book.judge_again(subject)
        for agenda, heap in book.agendas.items():
            barrier_us = book.barrier(agenda)
            while heap and heap[0][0] <= barrier_us:
                due_us, subject = heappop(heap)
                if self._reach(book, due_us, subject):
                    book.judge_again(subject)

    def _judge_again(self, account: Account, book: AccountBook, agenda: Agenda) -> None:
        """Judge anew what a late record, or a new cause, touched."""
        found = [subject for subject in book.again if _agenda_of(subject) == agenda]
        for subject in sorted(found, key=lambda each: (each[0] != "snapshot", each)):  # it says what others are
            book.again.discard(subject)
            judged_us = book.judged_us.get(subject, UNKNOWN_US)
            if judged_us != UNKNOWN_US:
                self._judge(account, book, subject, judged_us)

    def _judge(self, account: Account, book: AccountBook, subject: Subject, until_us: int) -> None:
        kind = subject[0]
        if kind == "order":
            self._publish(account, book, subject, book.orders.judge((subject[1], subject[2])))
            self._judge_renamed(account, book)
        elif kind == "ledger":
            self._publish(account, book, subject, book.entries.judge(until_us), until_us)
        elif kind == "parts":
            self._publish(account, book, subject, judge_parts(book.parts[int(subject[1]), subject[2]], book.promises))
        elif kind == "snapshot":
            unknown, touched = book.states.judge_ends(int(subject[1]), until_us)
            self._hold(account, book, subject, unknown)
            for other in touched:  # after all other complete snapshots that are due
                book.judged_us[other] = max(book.judged_us.get(other, UNKNOWN_US), until_us)
                book.reached(other, book.judged_us[other])
                book.judge_again(other)
        else:
            self._publish(account, book, subject, book.states.judge(kind, subject[1:], until_us), until_us)
            for ts_us, other in book.states.ahead:
                book.push("states", ts_us + book.promises.wait_us, other)
            book.states.ahead.clear()

    def _judge_renamed(self, account: Account, book: AccountBook) -> None:
        """What was said of an order by its client's id is said by the venue's now."""
        for key in book.orders.renamed:
            self._publish(account, book, ("order", *key), book.orders.judge(key))
        book.orders.renamed.clear()

    # -- publishing ---------------------------------------------------------------------------------------------------

    def _publish(
        self, account: Account, book: AccountBook, subject: Subject, verdict: Verdict, until_us: int = NEVER_US
    ) -> None:
        """Say what is wrong with a subject, and that what was wrong before, up to that time, is no longer so."""
        before = book.said.get(subject, {})
        late = subject in book.late
        book.late.discard(subject)
        now: dict[str, Said] = {}
        for finding in verdict.breaks:
            name = finding_id(account.name, finding)
            parts, explained_by = split(finding, book.causes_in(*_causes_span(finding)), book.instrument_of)
            records = [(told.origin, told.stream, told.offset) for told in finding.evidence]
            content = hash(
                (finding.cause, finding.residual, finding.interval, *finding.fields, *records, *explained_by)
            )
            now[name] = Said(finding.event_us, finding.due_us - book.promises.wait_us, content)
            if before.get(name) != now[name]:
                self._open(account, name, finding, parts, explained_by)
            if finding.identity == "balance" and "ledger_id" in finding.names:
                book.add_cause(name, finding.event_us, "", finding.entries)
        summed_up_us = book.states.summed_up_us(subject)
        for name, said in before.items():
            if name in now:
                continue
            if said.event_us < summed_up_us or said.known_us > until_us:
                now[name] = said  # what it was concluded from is no longer kept, or not known yet: it stands
                continue
            self.register.clear(name, late=late)
            book.drop_cause(name)
        if now:
            book.said[subject] = now
        else:
            book.said.pop(subject, None)
        self._hold(account, book, subject, verdict.unknown)

    def _open(
        self, account: Account, name: str, finding: Finding, parts: list[SplitPart], explained_by: list[str]
    ) -> None:
        self.register.assert_open(
            published_form(
                account.name, name, finding, parts, explained_by, self.topics, self.partition, self.rules.thresholds
            )
        )

    def _hold(self, account: Account, book: AccountBook, subject: Subject, unknown: list[Unknown]) -> None:
        """Note what cannot be known of a subject."""
        before = book.unknown.get(subject, [])
        if before == unknown:
            return
        if unknown:
            book.unknown[subject] = unknown
        else:
            del book.unknown[subject]
        change = Counter((each.reason, each.origin, each.stream) for each in unknown)
        change.subtract((each.reason, each.origin, each.stream) for each in before)
        for (reason, o, stream), count in change.items():
            if count:
                self.conditions.cannot_know(account, o, stream, reason, count)

    def take_changes(self) -> list[BookState]:
        """What was put into books since this was last asked for."""
        accounts, self.touched[:] = list(self.touched), []
        found = [take(account) for account in accounts]
        return [state for state in found if state is not None]

    # -- forgetting ---------------------------------------------------------------------------------------------------

    def forget(self) -> None:
        """Let go of what all feeds have passed by the horizon."""
        horizon_us = self.rules.horizon_us
        newest_us = max((clock.watermark_us for clock in self.directory.clocks.values()), default=UNKNOWN_US)
        if newest_us < self._looked_us + horizon_us // 16:
            return
        self._looked_us = newest_us
        for account in self.directory.accounts.values():
            book = account.book
            if book is None:
                continue
            barrier_us = min(book.barrier("states"), book.barrier("orders"))
            if barrier_us - horizon_us < account.trimmed_us + horizon_us // 8:
                continue
            account.trimmed_us = barrier_us - horizon_us
            book.rewrite = True
            book.touch()
            with localcontext(EXACT):
                book.states.trim(account.trimmed_us)
                book.entries.trim(account.trimmed_us)
            for key in [
                key
                for key, known in book.orders.known.items()
                if known.newest_us < account.trimmed_us
                and ("order", *key) not in book.said
                and book.orders.is_over(key)
            ]:
                self._hold(account, book, ("order", *key), [])
                book.orders.forget(key)
                book.touched_orders[key] = None
                book.judged_us.pop(("order", *key), None)


def _agenda_of(subject: Subject) -> Agenda:
    return "orders" if subject[0] == "order" else "ledger" if subject[0] == "ledger" else "states"


def finding_id(account: str, finding: Finding) -> str:
    """The id of a discrepancy: account, identity, kind, what is compared, business key."""
    return alert_id(account, finding.identity, finding.kind, finding.compared, *finding.key)


def subject_of(alert: Discrepancy) -> Subject:
    """What has to be judged to know whether it still stands."""
    if alert.identity == "order":
        return ("order", alert.instrument or "", alert.order_id or "")
    if alert.identity == "position":
        return ("position", alert.instrument or "", alert.position_side or "")
    if alert.ledger_id is not None:
        return ("ledger",)
    if alert.compared.endswith(":parts"):
        return ("parts", str(ORIGINS.index("internal" if alert.compared.startswith("internal") else "exchange")),
                alert.asset or "")  # fmt: skip
    return ("balance", alert.asset or "")


def judge_parts(parts: PartsState, promises: Promises) -> Verdict:
    """What is free and what is locked are the total."""
    gap = to_decimal(parts.free) + to_decimal(parts.locked) - to_decimal(parts.total)
    if abs(gap) <= promises.tolerance("total", parts.asset):
        return Verdict([], [])
    origin = ORIGINS[parts.origin]
    found = plain(to_decimal(parts.free) + to_decimal(parts.locked))
    finding = Finding(
        kind="balance_mismatch",
        identity="balance",
        compared=f"{origin}:parts",
        key=(parts.asset,),
        names={"asset": parts.asset},
        event_us=parts.ts_us,
        due_us=parts.ts_us + promises.wait_us,
        cause=f"{origin} reports {parts.total} {parts.asset} in total, but {found} free and locked together",
        fields=[FieldDifference("total", found, parts.total, plain(gap))],
        evidence=[parts.told],
        residual=-gap,
    )
    return Verdict([finding], [])


def _causes_span(finding: Finding) -> tuple[int, int]:
    """When what a finding follows from may have been."""
    first_us, last_us = finding.span_us
    return (first_us if finding.wide_us is None else min(first_us, finding.wide_us), last_us)


def _not_concerned(_: Account) -> None:
    pass


def _nobody(_account: Account, _o: int, _entry: Entry) -> None:
    """Nobody is told of ledger entries."""
