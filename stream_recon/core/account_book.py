"""The book of one account: what is kept of it beside the cases of its fills, and what of that waits for what.

Fills lie on a *tape* until something is due, and are then counted into positions, balances and orders. Whatever comes
is put on an *agenda* for the time at which all that it has to be judged with must have come (`core.books` takes it from
there); what comes late has what rests on it judged again.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import deque
from collections.abc import Callable
from decimal import localcontext
from functools import partial
from heapq import heappush
from operator import attrgetter
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from stream_recon.core.causes import Cause, subjects_of
from stream_recon.core.findings import Told
from stream_recon.core.keeping import BookState, PartsState
from stream_recon.core.ledger import Entries, Entry
from stream_recon.core.movements import Move, move_of
from stream_recon.core.orders import Orders
from stream_recon.core.states import States
from stream_recon.core.tracks import End, told_snapshot
from stream_recon.core.watermarks import NEVER_US, UNKNOWN_US
from stream_recon.domain.amounts import EXACT
from stream_recon.domain.decode import decode_pack
from stream_recon.domain.events import ORIGINS, Balance, Fill, Ledger, Order, Position, SnapshotEnd

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stream_recon.core.accounts import Account
    from stream_recon.core.books import Books
    from stream_recon.core.findings import Subject, Unknown
    from stream_recon.core.movements import Key
    from stream_recon.core.orders import OrderKey
    from stream_recon.core.promises import Class, Promises
    from stream_recon.core.tracks import Snapshot
    from stream_recon.core.window_books import Matter
    from stream_recon.domain.discrepancies import Kind
    from stream_recon.domain.instruments import Instrument

EntriesOf = tuple[Entry | None, Entry | None]
FillsOf = Callable[[str], tuple[Move | None, Move | None]]
HeldOf = Callable[[str], tuple[int, list[str]]]
MovesOf = Callable[[str], tuple[list[Move], list[Move]]]
Agenda = Literal["ledger", "orders", "states"]
AGENDAS: dict[Agenda, tuple[Class, ...]] = {
    "ledger": ("ledger",),
    "orders": ("fill", "order"),
    "states": ("fill", "position", "balance", "ledger"),
}
"""What is judged, causes first, and the classes of records that it waits for."""
CLASS_OF: dict[type, Class] = {
    Fill: "fill", Order: "order", Position: "position", Balance: "balance", Ledger: "ledger",
}  # fmt: skip
JUDGED_KINDS: frozenset[Kind] = frozenset({
    "order_mismatch", "position_mismatch", "balance_mismatch", "ledger_missing", "duplicate_conflict",
})  # fmt: skip
FOLD: Subject = ("fold",)
PARTS_KEPT = 1_000
"""Balances of one asset that tell their parts and can be judged anew."""
SHORT_BYTES = 1_024
"""A record of that length is kept as it was sent."""
TAPE_LIMIT = 2_000
"""Fills that wait to be counted; more are counted before anything is due."""


class Said(NamedTuple):
    """What was published of a finding: to say it again only if that says more."""

    event_us: int
    known_us: int
    """Up to which time all has to be known to say so."""
    content: int
    of_both: bool
    """Whether it is how the snapshots of both differ."""


class _Idle(NamedTuple):
    """Fills that nothing is held against."""

    fills: Sequence[bytes | Move]
    """As they were sent: a third of what they take when they are decoded; long ones without what we do not know."""
    first_seq: int
    """The place of the first; of moves each says its own."""
    until_us: int
    """Just after the newest."""


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
        self._held_of = books.held_of
        self._cause_changed = books.cause_changed
        self._post = books.post
        venue = account.name.split("|", 1)[0]
        self._instruments: dict[str, Instrument | None] = {}
        self._lookup = partial(books.rules.instruments.of, venue)
        doubted = books.conditions.doubted(account)
        self.states = States(promises, self.instrument_of, doubted, self)
        self.orders = Orders(promises, doubted)
        self.entries = Entries(promises, doubted)
        self.parts: dict[tuple[int, str], list[PartsState]] = {}
        """By origin and asset, the balances that tell what is free and what is locked, in order."""
        self.seqs = [0, 0]
        """Of records, by origin."""
        self.tape: tuple[list[Move], list[Move]] = ([], [])
        """Fills that have not been counted yet."""
        self.counted = [0, 0]
        """By origin, the place of the newest record whose fill is among its order's."""
        kept = books.rules.idle_fills_kept
        self.is_idle = kept is not None and not promises.anything_but_fills()
        """Nobody has promised or sent anything that fills could be held against."""
        self._idle_fresh: tuple[list[bytes], list[bytes]] = ([], [])
        """Meanwhile the newest fills, which have no places yet."""
        self._idle_fresh_us = [UNKNOWN_US, UNKNOWN_US]
        """The newest time of these."""
        self._idle: tuple[deque[_Idle], deque[_Idle]] = (deque(), deque())
        """And those before them."""
        self._idle_counts = [0, 0]
        self._idle_kept = kept or 0
        self._idle_until_us = UNKNOWN_US
        """Just after the newest that there ever was of them."""
        self.idle_since_us = UNKNOWN_US
        """What lies before that time was known to nobody but a worker that is gone."""
        self.agendas: dict[Agenda, list[tuple[int, bool, Subject]]] = {name: [] for name in AGENDAS}
        """By due time; of one time, what complete snapshots prove comes first, for it says what others are."""
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
        self.causes: dict[str, tuple[int, EntriesOf]] = {}
        """Of ledger entries, by alert id: time, and what each side has. Those of trades are held by their book."""
        self.order_causes: dict[Subject, Cause] = {}
        """By order, what it tells of fills that nobody sent."""
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
        self.gather()
        self.seqs[o] += 1
        return self.seqs[o]

    def barrier(self, agenda: Agenda) -> int:
        """The time that all that a kind of conclusion reads has passed (us)."""
        clocks = self.promises.waited_for(AGENDAS[agenda])
        return min((clock.watermark_us for clock in clocks), default=UNKNOWN_US)

    # -- fills --------------------------------------------------------------------------------------------------------

    def fill(self, o: int, fill: Fill, value: bytes) -> int:
        """A trade counts from its own time on; gives the place of its record."""
        if self.is_idle:
            fresh = self._idle_fresh[o]
            fresh.append(value if len(value) <= SHORT_BYTES else _ENCODE(fill))
            if fill.ts_us > self._idle_fresh_us[o]:  # noqa: PLR1730 - the hot path
                self._idle_fresh_us[o] = fill.ts_us
            if not self.touched:
                self.touch()
            return self.seqs[o] + len(fresh)
        self.seqs[o] = seq = self.seqs[o] + 1
        self.count(o, move_of(fill, seq))
        return seq

    def gather(self) -> None:
        """Give those fills their places that came while nobody sends what they could be held against."""
        for o, fresh in enumerate(self._idle_fresh):
            if fresh:
                self._put_idle(o, _Idle(list(fresh), self.seqs[o] + 1, self._idle_fresh_us[o] + 1))
                self.seqs[o] += len(fresh)
                fresh.clear()
                self._idle_fresh_us[o] = UNKNOWN_US

    def _put_idle(self, o: int, pack: _Idle) -> None:
        """Only the newest are kept, should somebody begin to send what they could be held against."""
        fills, until_us = pack.fills, pack.until_us
        self._idle_until_us = max(self._idle_until_us, until_us)
        idle = self._idle[o]
        idle.append(pack)
        self._idle_counts[o] += len(fills)
        while idle and self._idle_counts[o] - len(idle[0].fills) >= self._idle_kept:
            gone = idle.popleft()
            self._idle_counts[o] -= len(gone.fills)
            self.know_since(gone.until_us)

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

    def know_since(self, ts_us: int) -> None:
        """What moved before that time is not known."""
        self.orders.since_us = max(self.orders.since_us, ts_us)
        self.states.since_us = max(self.states.since_us, ts_us)

    def idle_until_us(self) -> int:
        """Just after the newest of the fills that nobody would know after a restart."""
        if not self.is_idle:
            return UNKNOWN_US
        return self._idle_until_us if any(self._idle) else self.idle_since_us

    def promises_changed(self) -> None:
        """Something was heard for the first time."""
        self.gather()
        self.promises.changed()
        if self.is_idle and self.promises.anything_but_fills():
            self.is_idle = False
            for o in (0, 1):
                for pack in self._idle[o]:
                    for move in _moves_of(o, pack):
                        self.count(o, move)
                self._idle[o].clear()

    def fold(self) -> None:
        """Count the fills on the tape."""
        track_orders = any(contract.orders != "absent" for contract in self.promises.contracts)
        with localcontext(EXACT):
            for o in (0, 1):
                moves, self.tape[o][:] = sorted(self.tape[o], key=_order), []
                counted = self.counted[o]
                for move in moves:
                    self.states.move(o, move)
                    if track_orders and move.seq > counted:
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
            self.gather()
            if moves:
                self._put_idle(o, _Idle(moves, 0, max(map(_ts_us, moves)) + 1))
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
        """A fill came that snapshots are anchored to, the first of which is judged as of that time."""
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
        """A balance tells whether its parts add up, until a newer one is due."""
        told = self.parts.setdefault((parts.origin, parts.asset), [])
        insort(told, parts, key=_place)
        if len(told) > PARTS_KEPT:
            del told[0]
        self._state_due(("parts", str(parts.origin), parts.asset), parts.ts_us)

    def parts_by(self, o: int, asset: str, until_us: int) -> PartsState | None:
        """The newest that were told by that time."""
        told = self.parts[o, asset]
        count = bisect_right(told, until_us, key=_time)
        return told[count - 1] if count else None

    def trim_parts(self, before_us: int) -> None:
        """Let go of what newer balances of before that time tell."""
        for told in self.parts.values():
            del told[: max(0, bisect_right(told, before_us, key=_time) - 1)]

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
        heappush(self.agendas[agenda], (due_us, subject[0] != "snapshot", subject))
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
        before_us = dict(self.judged_us)
        for subject, judged_us in before_us.items():
            agenda = agenda_of(subject)
            if judged_us > until_us[agenda]:
                self.judged_us[subject] = until_us[agenda]
                if agenda == "orders":
                    self._order_again(subject, until_us[agenda])
        for side in (*self.entries.left, *self.entries.copies):
            for entry in side.values():
                if entry.ts_us > until_us["ledger"]:
                    self.push("ledger", entry.ts_us + wait_us, ("ledger",))
        self._states_step_back(until_us["states"], before_us)

    def _states_step_back(self, until_us: int, before_us: dict[Subject, int]) -> None:
        """Positions and balances know nothing beyond that time any more, as they would not after a restart."""
        self.reached_us = min(self.reached_us, until_us)
        for state in self.states.keys.values():
            state.stale = True
        for subject, ts_us in self._told():
            if ts_us > until_us - self.promises.within_us:
                self._state_due(subject, ts_us)
        for axis in [axis for axes in self.states.axes.values() for axis in axes.values() if axis.marks]:
            subject, patient_us = (axis.kind, *axis.key), axis.marks[0][0] + self.promises.patience_us
            if until_us < patient_us <= before_us.get(subject, UNKNOWN_US):  # as when it moved for the first time
                self.push("states", patient_us + self.promises.wait_us, subject)

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
        yield from ((("parts", str(o), asset), each.ts_us) for (o, asset), told in self.parts.items() for each in told)

    # -- causes -------------------------------------------------------------------------------------------------------

    def add_cause(self, name: str, ts_us: int, entries: EntriesOf) -> None:
        """A discrepancy of a ledger entry stands that others may follow from."""
        if self.causes.get(name) != (ts_us, entries):
            self.drop_cause(name)
            self.causes[name] = (ts_us, entries)
            self._affected("ledger", Cause(name, ts_us, entries=entries))

    def drop_cause(self, name: str) -> None:
        """It no longer stands."""
        if name in self.causes:
            ts_us, entries = self.causes.pop(name)
            self._affected("ledger", Cause(name, ts_us, entries=entries))

    def trade_changed(self, key: str, ts_us: int) -> None:
        """What is held to be wrong with a trade that was told last at that time is another, or is about to be."""
        self._affected("fills", Cause("", ts_us, self._fills_of(key) if self.said else (None, None)))

    def causes_in(self, from_us: int, to_us: int) -> list[Cause]:
        """What is held to be wrong with trades and ledger entries of that time, with what each side counts for it.

        Also with orders whose fills may have been then.
        """
        found = [
            Cause(name, ts_us, entries=entries)
            for name, (ts_us, entries) in self.causes.items()
            if from_us <= ts_us <= to_us
        ]
        for key in self.account.held.between(from_us, to_us):
            ts_us, names = self._held_of(key)
            if from_us <= ts_us <= to_us:
                fills = self._fills_of(key)
                found += [Cause(name, ts_us, fills) for name in names]
        return found + [c for c in self.order_causes.values() if c.began_us <= to_us and from_us <= c.ts_us]

    def set_order_cause(self, subject: Subject, cause: Cause | None) -> None:
        """What others may follow from of an order; None: nothing."""
        known = self.order_causes.pop(subject, None)
        if cause is not None:
            self.order_causes[subject] = cause
        if cause != known:
            for each in (known, cause):
                if each is not None:
                    self._effects_again(each)

    def _affected(self, matter: Matter, cause: Cause) -> None:
        """Have judged again what may follow from it."""
        self._cause_changed(self.account, matter, cause.ts_us)
        if self.said:
            self._effects_again(cause)

    def _effects_again(self, cause: Cause) -> None:
        for subject in subjects_of(cause, self.instrument_of):
            if subject in self.said:
                self.judge_again(subject)


_ts_us = attrgetter("ts_us")
_ENCODE = msgspec.json.Encoder().encode


def _moves_of(o: int, pack: _Idle) -> list[Move]:
    moves = [fill for fill in pack.fills if isinstance(fill, Move)]
    values = [fill for fill in pack.fills if isinstance(fill, bytes)]
    events = enumerate(decode_pack(values, None, None, ORIGINS[o], "fills"), start=pack.first_seq)
    return moves + [move_of(event, seq) for seq, event in events if isinstance(event, Fill)]  # as when it was accepted


def _order(move: Move) -> tuple[int, int]:
    return move.ts_us, move.seq


def _place(parts: PartsState) -> tuple[int, int]:
    return parts.ts_us, parts.seq


def _time(parts: PartsState) -> int:
    return parts.ts_us


def agenda_of(subject: Subject) -> Agenda:
    """On which agenda a subject is."""
    return "orders" if subject[0] == "order" else "ledger" if subject[0] == "ledger" else "states"
