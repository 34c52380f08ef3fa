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
from decimal import localcontext
from functools import partial
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Literal

from msgspec.structs import replace

from stream_recon.core.causes import Cause, split, subjects_of
from stream_recon.core.describe import published_form
from stream_recon.core.findings import Told
from stream_recon.core.ledger import Entries, Entry
from stream_recon.core.movements import Move
from stream_recon.core.orders import Orders
from stream_recon.core.promises import Promises
from stream_recon.core.states import States, told_snapshot
from stream_recon.core.watermarks import UNKNOWN_US
from stream_recon.domain.amounts import EXACT
from stream_recon.domain.discrepancies import alert_id
from stream_recon.domain.events import STREAMS, Balance, Fill, Ledger, Order, Position, SnapshotEnd, Stream

if TYPE_CHECKING:
    from stream_recon.core.accounts import Account, Directory
    from stream_recon.core.conditions import Conditions
    from stream_recon.core.findings import Finding, Subject, Unknown, Verdict
    from stream_recon.core.movements import Key
    from stream_recon.core.promises import Class
    from stream_recon.core.trades import Rules
    from stream_recon.core.watermarks import Clock
    from stream_recon.domain.instruments import Instrument, Instruments

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
FOLD: Subject = ("fold",)
TAPE_LIMIT = 2_000
"""Fills that wait to be counted; more are counted before anything is due."""


class AccountBook:
    """What is kept of one account beside its fills."""

    def __init__(self, account: Account, promises: Promises, conditions: Conditions, instruments: Instruments) -> None:
        self.account = account
        self.promises = promises
        venue = account.name.split("|", 1)[0]
        self._instruments: dict[str, Instrument | None] = {}
        self._lookup = partial(instruments.of, venue)
        doubted = conditions.doubted(account)
        self.states = States(promises, self.instrument_of, doubted)
        self.orders = Orders(promises, doubted)
        self.entries = Entries(promises, doubted)
        self.seqs = [0, 0]
        """Of records, by origin."""
        self.tape: tuple[list[Move], list[Move]] = ([], [])
        """Fills that have not been counted yet."""
        self.agendas: dict[Agenda, list[tuple[int, Subject]]] = {name: [] for name in AGENDAS}
        self.waits: dict[Agenda, int] = {}
        """Until when each agenda has been left to a clock."""
        self.scheduled: dict[Subject, int] = {}
        """Orders and folds on the agenda, with their due times."""
        self.judged_us: dict[Subject, int] = {}
        """Up to which time each subject has been judged."""
        self.reached_us = UNKNOWN_US
        """What is newer does not come late to any position or balance."""
        self.late: set[Subject] = set()
        """To be judged anew at once."""
        self.said: dict[Subject, dict[str, int]] = {}
        """By subject, what stands: alert id, time of its newest event."""
        self.unknown: dict[Subject, list[Unknown]] = {}
        self.causes: dict[str, Cause] = {}

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

    # -- what comes ---------------------------------------------------------------------------------------------------

    def fill(self, o: int, fill: Fill) -> int:
        """A trade counts from its time on; gives the place of its record."""
        seq = self.next_seq(o)
        self.count(
            o,
            Move(
                fill.ts_us, seq, 1, fill.instrument, fill.trade_id, fill.side, fill.qty, fill.price, fill.fee,
                fill.fee_asset, fill.position_side, fill.realized_pnl, fill.order_id, fill.client_order_id,
            ),
        )  # fmt: skip
        return seq

    def count(self, o: int, move: Move) -> None:
        """One more movement, to be counted when something is due."""
        tape = self.tape[o]
        tape.append(move)
        if FOLD not in self.scheduled:
            self.scheduled[FOLD] = move.ts_us
            self.push("orders", move.ts_us + self.promises.wait_us, FOLD)
        if move.ts_us - self.promises.within_us <= self.reached_us or len(tape) > TAPE_LIMIT:
            self.fold()

    def recount(self, o: int, before: list[Move], after: list[Move]) -> None:
        """What some records count for is not what it was."""
        for move in before:
            if move not in after:
                self.count(o, replace(move, sign=-move.sign))
        for move in after:
            if move not in before:
                self.count(o, move)

    def fold(self) -> None:
        """Count the fills on the tape."""
        for o in (0, 1):
            tape = self.tape[o]
            if not tape:
                continue
            moves, tape[:] = sorted(tape, key=_order), []
            track_orders = any(self.promises.of(x, "order") != "absent" for x in (0, 1))
            for move in moves:
                self.states.move(o, move, self._moved)
                if track_orders:
                    self._order_due(("order", *self.orders.move(o, move)), move.ts_us)

    def _moved(self, kind: str, key: Key, ts_us: int) -> None:
        """A position or balance moved: if what was judged may have seen that, it is judged anew."""
        subject = (kind, *key)
        judged_us = self.judged_us.get(subject)
        if judged_us is None:
            self.judged_us[subject] = UNKNOWN_US
            self.push("states", ts_us + self.promises.wait_us + self.promises.patience_us, subject)
        elif ts_us - self.promises.within_us <= judged_us:
            self.states.key_state(kind, key).stale = True
            self.judge_late(subject)

    def order(self, o: int, event: Order, offset: int | None, value: bytes) -> None:
        """An update of an order."""
        key = self.orders.update(o, event, self.next_seq(o), Told(o, "orders", offset, value))
        self._order_due(("order", *key), event.ts_us)

    def _order_due(self, subject: Subject, ts_us: int) -> None:
        known = self.orders.known[subject[1], subject[2]]
        due_us = known.newest_us + self.promises.wait_us
        if subject not in self.scheduled:
            self.scheduled[subject] = due_us
            self.push("orders", due_us, subject)
        if ts_us + self.promises.wait_us <= self.judged_us.get(subject, UNKNOWN_US):
            self.judge_late(subject)

    def snapshot(self, o: int, event: Position | Balance, offset: int | None, value: bytes) -> None:
        """A reported position or balance."""
        kind, key, snapshot = told_snapshot(event, self.next_seq(o), Told(o, "balances", offset, value))
        ended = self.states.snapshot(o, kind, key, snapshot, event.snapshot_id)
        subject = (kind, *key)
        self._state_due(subject, event.ts_us)
        if ended:
            self._state_due(("snapshot", str(o)), event.ts_us)
        if (
            kind == "balance"
            and getattr(event, "free", None) is not None
            and getattr(event, "locked", None) is not None
        ):
            self.push("states", event.ts_us + self.promises.wait_us, subject)

    def _state_due(self, subject: Subject, ts_us: int) -> None:
        judged_us = self.judged_us.setdefault(subject, UNKNOWN_US)
        if ts_us <= judged_us:
            self.judge_late(subject)
        else:
            self.push("states", ts_us + self.promises.wait_us, subject)
            # What the other side reported near by is compared with it a little later.
            self.push("states", ts_us + self.promises.within_us + self.promises.wait_us, subject)

    def end(self, o: int, event: SnapshotEnd) -> None:
        """The end of a complete snapshot."""
        self.states.end(o, event)
        self._state_due(("snapshot", str(o)), event.ts_us)

    def entry(self, o: int, event: Ledger, offset: int | None, value: bytes) -> None:
        """An entry of the ledger."""
        seq = self.next_seq(o)
        told = Told(o, "balances", offset, value)
        entry = Entry(event.ts_us, seq, event.ledger_id, event.asset, event.delta, event.reason, event.ref_id, told)
        news = self.entries.add(o, entry)
        subject = ("ledger",)
        if event.ts_us <= self.judged_us.get(subject, UNKNOWN_US):
            self.judge_late(subject)
        else:
            self.push("ledger", event.ts_us + self.promises.wait_us, subject)
        if news and self.states.entry(o, seq, event):
            self._moved("balance", (event.asset,), event.ts_us)

    def push(self, agenda: Agenda, due_us: int, subject: Subject) -> None:
        """Put something on an agenda."""
        heappush(self.agendas[agenda], (due_us, subject))
        if due_us < self.waits.get(agenda, due_us + 1):
            self.waits.pop(agenda, None)
            self.account.unsettled = True

    def judge_late(self, subject: Subject) -> None:
        """Let a subject be judged anew at once."""
        self.late.add(subject)
        self.account.unsettled = True

    # -- causes -------------------------------------------------------------------------------------------------------

    def add_cause(self, cause: Cause) -> None:
        """A discrepancy stands that others may follow from."""
        if self.causes.get(cause.alert_id) != cause:
            self.causes[cause.alert_id] = cause
            self._affected(cause)

    def drop_cause(self, name: str) -> None:
        """It no longer stands."""
        cause = self.causes.pop(name, None)
        if cause is not None:
            self._affected(cause)

    def _affected(self, cause: Cause) -> None:
        if self.said:
            for subject in subjects_of(cause, self.instrument_of):
                if self.said.get(subject):
                    self.judge_late(subject)


def _order(move: Move) -> tuple[int, int]:
    return move.ts_us, move.seq


class Books:
    """The books of all accounts of one partition number, and what was published of them."""

    def __init__(self, partition: int | None, directory: Directory, conditions: Conditions, rules: Rules) -> None:
        self.partition = partition
        self.directory = directory
        self.conditions = conditions
        self.register = conditions.register
        self.rules = rules
        self.topics: dict[tuple[int, Stream], str | None] = {}
        self.fresh_heard: list[tuple[str, int, Class]] = []
        """(venue, origin, class) first heard since the last drain."""
        self.restored = False
        """A state was restored, and its conclusions have not been drawn again yet."""

    def open(self, account: Account) -> None:
        """Keep the books of a new account, unless both sides have said that there is nothing to keep them by."""
        if all(
            promise == "absent"
            for contract in account.contracts
            for promise in (contract.orders, contract.positions, contract.balances)
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
        account.book = AccountBook(account, promises, self.conditions, self.rules.instruments)

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
                account.book.promises.changed()
                self.reconsider(account)
                self.settle(account)

    def reconsider(self, account: Account) -> None:
        """Something is known now that puts all conclusions about an account in another light."""
        book = account.book
        if book is not None:
            book.waits.clear()
            for subject in book.judged_us:
                book.judge_late(subject)
            account.unsettled = True

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
        """Judge what a restored state left unsaid."""
        if self.restored:
            self.restored = False
            for account in self.directory.accounts.values():
                self.settle(account)

    def settle(self, account: Account) -> None:
        """Judge what is due, and let clocks wake up what is not."""
        book = account.book
        account.unsettled = False
        if book is None:
            return
        with localcontext(EXACT):
            for agenda in AGENDAS:
                heap = book.agendas[agenda]
                if not heap and not book.late:
                    continue
                barrier_us = book.barrier(agenda)
                if any(book.tape) and (book.late or heap[0][0] <= barrier_us):
                    book.fold()
                while heap and heap[0][0] <= barrier_us:
                    due_us, subject = heappop(heap)
                    self._due(account, book, due_us, subject)
                self._judge_late(account, book, agenda)
                if heap:
                    self._wait(account, book, agenda, heap[0][0])
            for agenda in AGENDAS:  # what was found may explain what was judged before
                self._judge_late(account, book, agenda)

    def _wait(self, account: Account, book: AccountBook, agenda: Agenda, due_us: int) -> None:
        """Leave an agenda to one of the clocks that hold it up."""
        if book.waits.get(agenda, due_us + 1) <= due_us:
            return
        lagging = [c for c in book.promises.waited_for(AGENDAS[agenda]) if c.watermark_us < due_us]
        if lagging:
            lagging[0].evaluations.add(due_us, account.name)
            book.waits[agenda] = due_us

    def _due(self, account: Account, book: AccountBook, due_us: int, subject: Subject) -> None:
        wait_us = book.promises.wait_us
        if subject == FOLD:
            book.scheduled.pop(FOLD, None)
            return
        if subject[0] == "order":
            book.scheduled.pop(subject, None)
            known = book.orders.known.get((subject[1], subject[2]))
            if known is not None and known.newest_us + wait_us > due_us:
                book.scheduled[subject] = known.newest_us + wait_us
                book.push("orders", known.newest_us + wait_us, subject)
                return
        until_us = max(book.judged_us.get(subject, UNKNOWN_US), due_us - wait_us)
        book.judged_us[subject] = until_us
        if subject[0] in {"position", "balance"}:
            book.reached_us = max(book.reached_us, until_us)
        self._judge(account, book, subject, until_us)

    def _judge_late(self, account: Account, book: AccountBook, agenda: Agenda) -> None:
        """Judge anew what a late record, or a new cause, touched."""
        for subject in sorted(subject for subject in book.late if _agenda_of(subject) == agenda):
            book.late.discard(subject)
            judged_us = book.judged_us.get(subject, UNKNOWN_US)
            if judged_us != UNKNOWN_US:
                self._judge(account, book, subject, judged_us, late=True)

    def _judge(
        self, account: Account, book: AccountBook, subject: Subject, until_us: int, *, late: bool = False
    ) -> None:
        kind = subject[0]
        if kind == "order":
            self._publish(account, book, subject, book.orders.judge((subject[1], subject[2])), late=late)
            self._judge_renamed(account, book)
        elif kind == "ledger":
            verdict = book.entries.judge(until_us)
            self._publish(account, book, subject, verdict, late=late)
        elif kind == "snapshot":
            unknown, touched = book.states.judge_ends(int(subject[1]), until_us)
            self._hold(account, book, subject, unknown)
            for other in touched:
                book.judged_us[other] = max(book.judged_us.get(other, UNKNOWN_US), until_us)
                book.reached_us = max(book.reached_us, until_us)
                self._judge(account, book, other, book.judged_us[other], late=late)
        else:
            verdict = book.states.judge(kind, subject[1:], until_us)
            self._publish(account, book, subject, verdict, late=late)

    def _judge_renamed(self, account: Account, book: AccountBook) -> None:
        """What was said of an order by its client's id is said by the venue's now."""
        for key in book.orders.renamed:
            self._publish(account, book, ("order", *key), book.orders.judge(key), late=False)
        book.orders.renamed.clear()

    # -- publishing ---------------------------------------------------------------------------------------------------

    def _publish(self, account: Account, book: AccountBook, subject: Subject, verdict: Verdict, *, late: bool) -> None:
        """Say what is wrong with a subject, and that what was wrong before is no longer so."""
        before = book.said.get(subject, {})
        now: dict[str, int] = {}
        for finding in verdict.breaks:
            name = finding_id(account.name, finding)
            now[name] = finding.event_us
            parts, explained_by = split(finding, book.causes.values(), book.instrument_of)
            self.register.assert_open(
                published_form(
                    account.name, name, finding, parts, explained_by, self.topics, self.partition, self.rules.thresholds
                )
            )
            if finding.identity == "balance" and "ledger_id" in finding.names:
                book.add_cause(_ledger_cause(name, finding))
        summed_up_us = book.states.summed_up_us(subject)
        for name, event_us in before.items():
            if name in now:
                continue
            if event_us < summed_up_us:
                now[name] = event_us  # what it was concluded from is no longer kept: it stands
                continue
            self.register.clear(name, late=late)
            book.drop_cause(name)
        if now:
            book.said[subject] = now
        else:
            book.said.pop(subject, None)
        self._hold(account, book, subject, verdict.unknown)

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

    # -- forgetting ---------------------------------------------------------------------------------------------------

    def forget(self) -> None:
        """Let go of what all feeds have passed by the horizon."""
        horizon_us = self.rules.horizon_us
        for account in self.directory.accounts.values():
            book = account.book
            if book is None:
                continue
            barrier_us = min(book.barrier("states"), book.barrier("orders"))
            if barrier_us - horizon_us < account.trimmed_us + horizon_us // 8:
                continue
            account.trimmed_us = barrier_us - horizon_us
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
                book.judged_us.pop(("order", *key), None)


def _agenda_of(subject: Subject) -> Agenda:
    return "orders" if subject[0] == "order" else "ledger" if subject[0] == "ledger" else "states"


def finding_id(account: str, finding: Finding) -> str:
    """The id of a discrepancy: account, identity, kind, what is compared, business key."""
    return alert_id(account, finding.identity, finding.kind, finding.compared, *finding.key)


def _ledger_cause(name: str, finding: Finding) -> Cause:
    """What each side counts for a ledger entry."""
    said = {field.field: (field.internal, field.exchange) for field in finding.fields}
    asset = finding.names["asset"]
    assets = said.get("asset", (asset, asset))
    deltas = said.get("delta")
    if deltas is None:
        return Cause(name, finding.event_us)
    sides = [
        (one, delta) if one is not None and delta is not None else None
        for one, delta in zip(assets, deltas, strict=True)
    ]
    return Cause(name, finding.event_us, entries=(sides[0], sides[1]))
