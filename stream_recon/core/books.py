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
from heapq import heappop
from typing import TYPE_CHECKING

from stream_recon.core.account_book import (
    AGENDAS,
    CLASS_OF,
    FOLD,
    JUDGED_KINDS,
    AccountBook,
    Agenda,
    EntriesOf,
    FillsOf,
    HeldOf,
    MovesOf,
    Said,
    agenda_of,
)
from stream_recon.core.causes import MovesByKey, cause_of_order, residual_in, roots_first, same_difference, split
from stream_recon.core.describe import published_form
from stream_recon.core.findings import OF_BOTH, Finding, Verdict
from stream_recon.core.keeping import BookState, PartsState, take
from stream_recon.core.movements import posting_of
from stream_recon.core.promises import Promises
from stream_recon.core.tell_drift import Contribution
from stream_recon.core.watermarks import NEVER_US, UNKNOWN_US
from stream_recon.core.window_books import entry_key
from stream_recon.domain.amounts import EXACT, plain, to_decimal
from stream_recon.domain.discrepancies import Discrepancy, FieldDifference, SplitPart, alert_id, explained_in_full
from stream_recon.domain.events import ORIGINS, STREAMS, Ledger, Order, SnapshotEnd, Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from stream_recon.core.accounts import Account, Directory
    from stream_recon.core.conditions import Conditions
    from stream_recon.core.findings import Subject, Unknown
    from stream_recon.core.ledger import Entry
    from stream_recon.core.promises import Class
    from stream_recon.core.tell_drift import Span
    from stream_recon.core.trades import Rules, TradeBook
    from stream_recon.core.watermarks import Clock
    from stream_recon.core.window_books import Matter
    from stream_recon.domain.contracts import FeedContract


class Books:
    """The books of all accounts of one partition number, and what was published of them."""

    def __init__(
        self, partition: int | None, directory: Directory, conditions: Conditions, rules: Rules, trades: TradeBook
    ) -> None:
        self.fills_of: FillsOf = trades.fills_of
        self.held_of: HeldOf = trades.held_of
        self.moves_of: MovesOf = trades.moves_of
        self.post: Callable[[Account, int, Entry], None] = _nobody
        """Who is told of ledger entries that are news."""
        self.cause_changed: Callable[[Account, Matter, int], None] = _not_concerned
        """Who is told that of an account's discrepancies of trades or ledger entries one of that time is another."""
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
        internal, exchange = account.contracts
        if _tells_nothing_else(internal) and _tells_nothing_else(exchange):
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
        book, until_us = account.book, 2 * span.to_us - span.from_us
        found: list[Contribution] = []
        moves: MovesByKey
        if span.matter == "ledger":
            near = [
                ([name], self._moves_of_entries(book, name, entries))
                for name, (ts_us, entries) in book.causes.items()
                if span.from_us <= ts_us < until_us
            ]
        else:
            near = []
            for key in account.held.between(span.from_us, until_us - 1):
                ts_us, names = self.held_of(key)
                if span.from_us <= ts_us < until_us:
                    near.append((names, self._moves_of_trade(key)))
        for names, moves in near:
            residual = residual_in(span, moves, account.terms.tolerance)
            if residual:
                found += [Contribution(name, residual) for name in names]
        return found

    def _moves_of_trade(self, key: str) -> MovesByKey:
        ours, theirs = self.moves_of(key)
        return {key: ours}, {key: theirs}

    def _moves_of_entries(self, book: AccountBook, name: str, entries: EntriesOf) -> MovesByKey:
        if self.register.newest.kind(name) == "duplicate_conflict":
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

    def say_again(self) -> None:
        """What is said of what stands is another now: of all accounts, as after a restart."""
        for account in self.directory.accounts.values():
            book = account.book
            if book is not None:
                for said in book.said.values():
                    said.update({name: each._replace(content=0) for name, each in said.items()})
                self.reconsider(account)
                self.settle(account)

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
        kind = CLASS_OF.get(type(event))
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
        for alert in self.register.newest.held_of(JUDGED_KINDS):
            account = self.directory.named(alert.account)
            book = account.book
            if book is not None and alert.identity in {"order", "position", "balance"}:
                book.said.setdefault(subject_of(alert), {})[alert.alert_id] = Said(
                    alert.event_us, alert.due_us - book.promises.wait_us, 0, alert.compared == OF_BOTH
                )
        for account in self.directory.accounts.values():
            book = account.book
            if book is not None:
                book.know_since(book.idle_since_us)
                book.causes = {name: cause for name, cause in book.causes.items() if self.register.holds(name)}
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
                due_us, _, subject = heappop(heap)
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
            self._give_cause(book, subject, said)
            if subject[0] == "order" and (subject[1], subject[2]) not in book.orders.known:  # it has another name now
                book.judged_us[subject] = max(each.event_us for each in said.values())
                book.judge_again(subject)
        for agenda, heap in book.agendas.items():
            barrier_us = book.barrier(agenda)
            while heap and heap[0][0] <= barrier_us:
                due_us, _, subject = heappop(heap)
                if self._reach(book, due_us, subject):
                    book.judge_again(subject)

    def _judge_again(self, account: Account, book: AccountBook, agenda: Agenda) -> None:
        """Judge anew what a late record, or a new cause, touched."""
        found = [subject for subject in book.again if agenda_of(subject) == agenda]
        for subject in sorted(found, key=lambda each: (each[0] != "snapshot", each)):  # it says what others are
            book.again.discard(subject)
            judged_us = book.judged_us.get(subject, UNKNOWN_US)
            if judged_us != UNKNOWN_US and not self._is_ahead(book, subject):
                self._judge(account, book, subject, judged_us)

    @staticmethod
    def _is_ahead(book: AccountBook, subject: Subject) -> bool:
        """Whether an order, which is judged by all its records, has one that is not due: it will be judged then."""
        if subject[0] != "order":
            return False
        known = book.orders.known.get((subject[1], subject[2]))
        return known is not None and known.newest_us + book.promises.wait_us > book.barrier("orders")

    def _judge(self, account: Account, book: AccountBook, subject: Subject, until_us: int) -> None:
        kind = subject[0]
        if kind == "order":
            self._publish(account, book, subject, book.orders.judge((subject[1], subject[2])))
            self._judge_renamed(account, book)
        elif kind == "ledger":
            self._publish(account, book, subject, book.entries.judge(until_us), until_us)
        elif kind == "parts":
            parts = book.parts_by(int(subject[1]), subject[2], until_us)
            if parts is not None:
                self._publish(account, book, subject, judge_parts(parts, book.promises), until_us)
        elif kind == "snapshot":
            unknown, touched = book.states.judge_ends(int(subject[1]), until_us)
            self._hold(account, book, subject, unknown)
            for other, zero_us in touched.items():  # after all other complete snapshots that are due
                book.judged_us[other] = max(book.judged_us.get(other, UNKNOWN_US), until_us)
                near_us = zero_us + book.promises.within_us  # the zero is held against the other side as late as others
                if near_us > book.judged_us[other]:
                    book.push("states", near_us + book.promises.wait_us, other)
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
        done: list[tuple[str, Finding]] = []
        spent = self._spent(account, book, subject, verdict)
        for finding in roots_first(verdict.breaks):
            name = finding_id(account.name, finding)
            parts, explained_by = self._explain(book, finding, done, spent)
            done.append((name, finding))
            records = [(told.origin, told.stream, told.offset) for told in finding.evidence]
            shares = [(part.name, part.amount) for part in parts]  # a cause may come to another amount than it did
            content = hash(
                (finding.cause, finding.residual, finding.interval, *finding.fields, *records, *explained_by, *shares)
            )
            now[name] = Said(
                finding.event_us, finding.due_us - book.promises.wait_us, content, finding.compared == OF_BOTH
            )
            if before.get(name) != now[name]:
                self._open(account, name, finding, parts, explained_by)
            if finding.identity == "balance" and "ledger_id" in finding.names:
                book.add_cause(name, finding.event_us, finding.entries)
        unsure = self._unsure(account, subject, verdict)
        for name, said in before.items():
            if name in now:
                continue
            is_over = said.of_both and said.event_us < verdict.agreed_us
            if (_is_summed_up(book, subject, said) and not is_over) or said.known_us > until_us or name in unsure:
                now[name] = said  # what it was concluded from is no longer kept, or not known yet: it stands
                continue
            self.register.clear(name, late=late)
            book.drop_cause(name)
        if now:
            book.said[subject] = now
        else:
            book.said.pop(subject, None)
        self._give_cause(book, subject, now)
        self._hold(account, book, subject, verdict.unknown)

    def _spent(self, account: Account, book: AccountBook, subject: Subject, verdict: Verdict) -> set[tuple[str, str]]:
        """By comparison, the orders that explain in full what is not judged anew."""
        if not book.order_causes:
            return set()
        orders = {cause.alert_id for cause in book.order_causes.values()}
        judged = {finding_id(account.name, finding) for finding in verdict.breaks}
        said = book.said.get(subject, {})
        names = [name for name in said if name not in judged and _is_summed_up(book, subject, said[name])]
        alerts = [alert for alert in map(self.register.newest.get, names) if isinstance(alert, Discrepancy)]
        return {(a.compared, name) for a in alerts if explained_in_full(a) for name in orders & {*a.explained_by}}

    @staticmethod
    def _explain(
        book: AccountBook, finding: Finding, done: list[tuple[str, Finding]], spent: set[tuple[str, str]]
    ) -> tuple[list[SplitPart], list[str]]:
        """The parts of a finding's residual, and what it follows from: what an order lacks is in one interval."""
        compared = finding.compared
        causes = [each for each in book.causes_in(*_causes_span(finding)) if (compared, each.alert_id) not in spent]
        parts, explained_by = split(finding, causes, book.instrument_of)
        if finding.residual is not None and any(part.name == "unexplained" for part in parts):
            root = same_difference(finding, done)
            if root is not None:
                return [SplitPart("known_causes", plain(finding.residual), [root])], [root]
        else:
            orders = (each.alert_id for each in causes if each.since_us is not None)
            spent.update((compared, name) for name in orders if name in explained_by)
        return parts, explained_by

    def _give_cause(self, book: AccountBook, subject: Subject, names: Collection[str]) -> None:
        """Let what stands of an order explain what follows from it; where both sides send fills, these do."""
        if subject[0] != "order" or not (names or subject in book.order_causes):
            return
        source = book.promises.only_sender("fill")
        known = book.orders.known.get((subject[1], subject[2]))
        alerts = [alert for alert in map(self.register.newest.get, names) if isinstance(alert, Discrepancy)]
        cause = None if source is None or known is None else cause_of_order(alerts, source, known.first_us)
        book.set_order_cause(subject, cause)

    def _unsure(self, account: Account, subject: Subject, verdict: Verdict) -> set[str]:
        """The ids of what was said of an order and is in doubt for numbers that a slower topic may fill yet."""
        if subject[0] != "order" or not verdict.unknown or not self.conditions.may_be_filled(account):
            return set()
        gaps = [each for each in verdict.unknown if each.reason == "SEQ_GAP"]
        return {alert_id(account.name, "order", "order_mismatch", each.compared, *each.key) for each in gaps}

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
                such = [each.key for each in unknown if (each.reason, each.origin, each.stream) == (reason, o, stream)]
                example = " ".join((account.name, *such[0])) if such else account.name
                self.conditions.cannot_know(account, o, stream, reason, count, example)

    def unconfirmed(self) -> Counter[str]:
        """How many positions and balances moved after the last snapshot that they are held against."""
        books = (account.book for account in self.directory.accounts.values() if account.book is not None)
        return Counter(subject[0] for book in books for subject in book.states.unconfirmed())

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
            book.trim_parts(account.trimmed_us)
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


def _tells_nothing_else(contract: FeedContract) -> bool:
    """Whether nothing but fills is ever sent."""
    return contract.orders == contract.positions == contract.balances == contract.ledger == "absent"


def _is_summed_up(book: AccountBook, subject: Subject, said: Said) -> bool:
    """Whether what it was concluded from is no longer kept."""
    return said.event_us < book.states.summed_up_us(subject, of_both=said.of_both)


def _causes_span(finding: Finding) -> tuple[int, int]:
    """When what a finding follows from may have been."""
    first_us, last_us = finding.span_us
    return (first_us if finding.wide_us is None else min(first_us, finding.wide_us), last_us)


def _not_concerned(_account: Account, _matter: Matter, _ts_us: int) -> None:
    pass


def _nobody(_account: Account, _o: int, _entry: Entry) -> None:
    """Nobody is told of ledger entries."""
