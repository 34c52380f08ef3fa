"""The book of fills: the trade identity streamed, one record at a time.

A key (account, instrument, trade id, side) is in at most one of three places:

- `waiting[o]`: seen on side o alone, and not due;
- `matched`: both sides agreed outright; only the content is kept, to know a duplicate from a conflict;
- `cases`: anything else. A case keeps its records, and is judged anew (`core.cases`) when one comes or one falls due.

Each is remembered until both feeds have passed its time by the horizon, so that what a record finds does not depend on
how far the other topic happens to have been read; a discrepancy that stands is never forgotten.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from stream_recon.core.accounts import MINUTE_US
from stream_recon.core.cases import Case, Seen, agree, categories, content_of, fold, judge
from stream_recon.core.counting import held, moves_of
from stream_recon.core.describe import Place, discrepancy_of, split_key, trade_alert_id
from stream_recon.core.names import name_of, names_of, possible_roots
from stream_recon.core.shelf import Shelf
from stream_recon.core.watermarks import UNKNOWN_US
from stream_recon.domain.discrepancies import Thresholds
from stream_recon.domain.instruments import Instruments

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping

    from stream_recon.core.accounts import Account, Directory, Feeds
    from stream_recon.core.cases import Claim
    from stream_recon.core.conditions import Conditions
    from stream_recon.core.movements import Move
    from stream_recon.core.watermarks import Clock
    from stream_recon.core.windows import Windows
    from stream_recon.domain.discrepancies import Discrepancy, Kind, Severity
    from stream_recon.domain.events import Fill

PROFITS = "\x1e"
"""Before the realised profit that each side told, after a content that is put away."""
COPIES_KEPT = 8
"""Differing copies of one fill kept by side; of more than that, only the number is known."""


class Rules(NamedTuple):
    """What a lane is tuned by."""

    horizon_us: int = 60 * 60 * 1_000_000
    """For how long, in event time, what agrees is remembered."""
    thresholds: Thresholds = Thresholds()
    age_limit_us: Mapping[Severity, int] = {}
    """How old a discrepancy may get, by severity, until it is overdue."""
    instruments: Instruments = Instruments()
    """What fills of each instrument move."""
    idle_fills_kept: int | None = 1_000
    """Of an account and origin, while nobody sends what they could be held against; they are not written down. None:
    all are counted from the beginning."""
    window_us: int = 5 * 60 * 1_000_000
    """How long the windows are in which net changes are compared; 0: they are not."""
    enable_alerts: bool = True
    """False: transitions are recorded, and notify nobody."""


_watermark = attrgetter("watermark_us")


class TradeBook:
    """All fills of one partition number that may still matter."""

    def __init__(
        self, partition: int | None, directory: Directory, conditions: Conditions, rules: Rules, counts: Counter[str]
    ) -> None:
        self.partition = partition
        self.directory = directory
        self.conditions = conditions
        self.register = conditions.register
        self.horizon_us = rules.horizon_us
        self.thresholds = rules.thresholds
        self.counts = counts
        self.topics: list[str | None] = [None, None]
        """Where the fills of each origin come from."""
        self.waiting: tuple[dict[str, Seen], dict[str, Seen]] = ({}, {})
        self.matched: dict[str, str] = {}
        self.cases = Shelf(self.stands)
        self.names: dict[str, str] = {}
        """Case key by what refers to it: an amendment's own trade id, or the root that a rootless amendment awaits."""
        # What changed since the last drain.
        self.fresh: tuple[dict[str, None], dict[str, None]] = ({}, {})
        self.gone: tuple[list[str], list[str]] = ([], [])
        self.paired: list[tuple[int, str, str]] = []
        self.touched: dict[str, None] = {}
        self.dropped: dict[str, None] = {}
        self.windows: Windows | None = None
        """Who is told of moves."""

    # -- records ----------------------------------------------------------------------------------------------------

    def add(  # noqa: C901, PLR0911, PLR0912 - the hot path, and the order of its questions is the rule
        self, account: Account, o: int, fill: Fill, offset: int | None, value: bytes
    ) -> None:
        """Apply one fill of side `o` (0 internal, 1 exchange), before it lifts any watermark."""
        if fill.exec is not None and fill.exec != "trade":
            self._amend(account, o, fill, offset, value)
            return
        key = f"{account.name}\x1f{fill.instrument}\x1f{fill.trade_id}\x1f{fill.side}"
        content = content_of(fill)
        ts_us = fill.ts_us
        arrived_us = account.clocks[o].watermark_us
        twin = self.waiting[1 - o].get(key)
        if twin is not None:
            if (
                twin.arrived_us < ts_us + account.grace_us[1 - o]
                and arrived_us < twin.ts_us + account.grace_us[o]
                and (twin.content == content or agree(twin.content, content))
            ):
                self._pair(account, 1 - o, key, twin, content, fill.realized_pnl)
                if account.book is not None:
                    account.book.fill(o, fill, value)
                if self.windows is not None:
                    self.windows.pair(account, fill, min(ts_us, twin.ts_us))
            else:
                self._take_waiting(account, 1 - o, key)
                seen = Seen(content, "trade", fill.trade_id, ts_us, arrived_us, offset, value)
                self._add_to_case(account, o, key, seen, fill)
            return
        seen = Seen(content, "trade", fill.trade_id, ts_us, arrived_us, offset, value)
        if key in self.cases:
            self._add_to_case(account, o, key, seen, fill)
            return
        known = self.matched.get(key)
        if ts_us < arrived_us - self.horizon_us and (
            known is not None or key in self.waiting[o] or account.clocks[1 - o].watermark_us > ts_us + self.horizon_us
        ):
            # It cannot be told from a duplicate of what has been forgotten, even where it has not been yet.
            self._beyond_horizon(account, o, self._too_late(o, fill.instrument, fill.trade_id, offset))
            return
        if known is not None:
            self._repeat(account, o, key, known.split(PROFITS, 1)[0], seen, fill)
            return
        first = self.waiting[o].get(key)
        if first is not None:
            self._repeat(account, o, key, first.content, seen, fill)
            return
        if self.names and self._claim_awaited(account, o, key, fill):
            self._add_to_case(account, o, key, seen, fill)
            return
        if account.book is not None:
            seen.seq = account.book.fill(o, fill, value)
            seen.realized_pnl = fill.realized_pnl
        self.waiting[o][key] = seen
        self.fresh[o][key] = None
        if account.promised[1 - o]:
            clock = account.clocks[1 - o]
            if not clock.owed:
                clock.owed_since_us = self.register.trigger_us
            clock.owed += 1
            due_us = ts_us + account.grace_us[1 - o]
            if due_us <= clock.watermark_us:
                self._fall_due(key)
            else:
                clock.deadlines.add(due_us, key)
        else:
            account.feeds.remember(ts_us, key)

    def fall_due(self, clock: Clock) -> None:
        """Judge what the watermark of a fills clock has passed."""
        cases, waiting = self.cases, self.waiting[0 if clock.origin == "exchange" else 1]
        for key in clock.deadlines.pop_due(clock.watermark_us, lambda key: key in waiting or key in cases):
            self._fall_due(key)

    def _fall_due(self, key: str) -> None:
        account = self.directory.of_key(key)
        for o in (0, 1):
            if key in self.waiting[o]:
                self._take_waiting(account, o, key)
        self._judge(account, self.cases[key])

    def _pair(  # noqa: PLR0913, PLR0917 - what both said
        self, account: Account, o: int, key: str, twin: Seen, content: str, profit: str | None
    ) -> None:
        """Both sides agree outright, in time: keep the fuller content and let the records go."""
        self._leave_waiting(account, o, key)
        kept = twin.content if len(twin.content) >= len(content) else content
        if profit is not None or twin.realized_pnl is not None:
            ours, theirs = (twin.realized_pnl, profit) if o == 0 else (profit, twin.realized_pnl)
            kept = f"{kept}{PROFITS}{ours or ''}{PROFITS}{theirs or ''}"
        self.matched[key] = kept
        account.feeds.remember(twin.ts_us, key)
        self.paired.append((twin.ts_us, key, kept))
        if self.dropped:
            self.dropped.pop(key, None)
        self.counts["matched"] += 2

    def _leave_waiting(self, account: Account, o: int, key: str) -> None:
        del self.waiting[o][key]
        fresh = self.fresh[o]
        if key in fresh:
            del fresh[key]
        else:
            self.gone[o].append(key)
        if account.promised[1 - o]:
            account.clocks[1 - o].owed -= 1

    def _take_waiting(self, account: Account, o: int, key: str) -> None:
        """Make a case of a waiting record."""
        seen = self.waiting[o][key]
        self._leave_waiting(account, o, key)
        self.cases[key] = Case(key, ([seen], []) if o == 0 else ([], [seen]))
        if self.windows is not None:
            for move in moves_of(key, [seen]):
                self.windows.add(account, o, key, move)
        self.touched[key] = None
        account.feeds.remember(seen.ts_us, key)

    def _repeat(  # noqa: PLR0913, PLR0917 - what was known, and what comes
        self, account: Account, o: int, key: str, known: str, seen: Seen, fill: Fill
    ) -> None:
        """A copy of what is known of this side: a duplicate, or a conflict."""
        if agree(known, seen.content):
            self.counts["duplicate"] += 1
            return
        self._open_case(account, key)
        self._add_to_case(account, o, key, seen, fill)

    def _open_case(self, account: Account, key: str) -> Case:
        """The case of a key, made of what is known of it so far."""
        for o in (0, 1):
            if key in self.waiting[o]:
                self._take_waiting(account, o, key)
        case = self.cases.get(key)
        if case is None:
            case = self.cases[key] = Case(key, ([], []))
            content = self.matched.pop(key, None)
            if content is not None:
                content, *profits = content.split(PROFITS)
                for side, profit in zip(case.sides, profits or ("", ""), strict=True):
                    side.append(Seen(content, "trade", split_key(key)[2], 0, UNKNOWN_US, realized_pnl=profit or None))
                self.dropped[key] = None
                self.counts["matched"] -= 2
        return case

    def _recount(self, account: Account, o: int, key: str, before: list[Move], after: list[Move]) -> None:
        """What some records of a key count for is not what it was."""
        changes = [replace(move, sign=-move.sign) for move in before if move not in after]
        changes += [move for move in after if move not in before]
        if account.book is not None:
            account.book.recount(o, changes)
        if self.windows is not None:
            for move in (move for move in changes if move.sign):
                self.windows.add(account, o, key, move)

    def _add_to_case(self, account: Account, o: int, key: str, seen: Seen, fill: Fill) -> None:
        case = self.cases[key]
        side = case.sides[o]
        if (
            any(
                known.exec == seen.exec and known.trade_id == seen.trade_id and agree(known.content, seen.content)
                for known in side
            )
            or len(side) >= COPIES_KEPT
        ):
            self.counts["duplicate"] += 1
            return
        self.take_cause(account, case)
        counted = moves_of(key, side)
        seen.realized_pnl = fill.realized_pnl
        if account.book is not None:
            seen.seq = account.book.next_seq(o)
        side.append(seen)
        self._recount(account, o, key, counted, moves_of(key, side))
        self.touched[key] = None
        account.feeds.remember(seen.ts_us, key)
        self._judge(account, case)

    # -- corrections and busts ----------------------------------------------------------------------------------------

    def _amend(self, account: Account, o: int, fill: Fill, offset: int | None, value: bytes) -> None:
        """Apply a correction or bust to the root it refers to, seen or awaited."""
        key = self._root_key(account, o, fill)
        self._open_case(account, key)
        own_name = name_of(o, account, fill.instrument, fill.trade_id)
        awaited = self.names.get(own_name)
        if fill.trade_id != fill.ref_trade_id:
            self.names[own_name] = key
        if awaited is not None and awaited != key and awaited in self.cases:
            self._move(account, o, awaited, key)
        arrived_us = account.clocks[o].watermark_us
        seen = Seen(content_of(fill), fill.exec or "trade", fill.trade_id, fill.ts_us, arrived_us, offset, value)
        if fold(self.cases[key].sides[o]).rootless or not self.cases[key].sides[o]:
            self.names.setdefault(name_of(o, account, fill.instrument, fill.ref_trade_id or ""), key)
        self._add_to_case(account, o, key, seen, fill)

    def _root_key(self, account: Account, o: int, fill: Fill) -> str:
        ref = fill.ref_trade_id or ""
        named = self.names.get(name_of(o, account, fill.instrument, ref))
        keys = possible_roots(account, fill)
        for key in keys:
            if key in self.waiting[o] or key in self.matched or (key in self.cases and self.cases[key].sides[o]):
                return key
        return named if named is not None else keys[0]

    def _claim_awaited(self, account: Account, o: int, key: str, fill: Fill) -> bool:
        """Whether an amendment of the other side of the book waits for this root; it is moved to the root's key."""
        awaited = self.names.get(name_of(o, account, fill.instrument, fill.trade_id))
        if awaited is None or awaited == key or awaited not in self.cases:
            return False
        self._open_case(account, key)
        self._move(account, o, awaited, key)
        return True

    def _move(self, account: Account, o: int, from_key: str, to_key: str) -> None:
        """Hand the records of one side to the case they turn out to belong to."""
        source, target = self.cases[from_key], self._open_case(account, to_key)
        self.take_cause(account, source)
        self.take_cause(account, target)
        counted = [*moves_of(from_key, source.sides[o]), *moves_of(to_key, target.sides[o])]
        for seen in source.sides[o]:
            self.names[name_of(o, account, split_key(to_key)[1], seen.trade_id)] = to_key
            target.sides[o].append(seen)
        target.sides[o].sort(key=lambda seen: -1 if seen.offset is None else seen.offset)  # as the log has them
        source.sides[o].clear()
        self._recount(account, o, to_key, counted, moves_of(to_key, target.sides[o]))
        self.touched[from_key] = None
        self.touched[to_key] = None
        if source.sides[1 - o]:
            self._judge(account, source)
        elif not source.opened:
            self._drop_case(from_key)

    # -- verdicts -----------------------------------------------------------------------------------------------------

    def doubt(self, account: Account) -> None:
        """Records turned out to be lost: what seems to be missing may be among them."""
        for key in sorted(account.held):
            self._judge(account, self.cases[key])

    def judge_again(self, account: Account) -> None:
        """Judge what was parked, now that what held it up has changed."""
        for key in sorted(account.parked):
            if key in self.cases:
                self._judge(account, self.cases[key])

    def _judge(self, account: Account, case: Case) -> None:
        clocks, said = account.clocks, len(self.register.published)
        judgement = judge(case, (clocks[0].watermark_us, clocks[1].watermark_us), account.terms)
        account.parked.discard(case.key)
        standing = [claim for claim in judgement.standing if self._proven(account, case, claim)]
        named = {(claim.kind, claim.origin) for claim in (*standing, *judgement.pending)}
        for claim in judgement.passed:
            if (claim.kind, claim.origin) not in case.opened and self._proven(account, case, claim):
                self._open(account, case, claim)
                if (claim.kind, claim.origin) not in named:
                    self._clear(account, case, claim.kind, claim.origin)
        for claim in standing:
            self._open(account, case, claim)
        for kind, origin in case.opened:
            if (kind, origin) not in named:
                self._clear(account, case, kind, origin)
        if len(self.register.published) > said:
            self.touched[case.key] = None  # how its records count may have changed
        self.give_cause(account, case)
        self._wait(account, case, judgement.ahead)

    def say_again(self) -> None:
        """What is said of what stands is another now."""
        for key in list(self.cases):
            case = self.cases[key]
            if any(self.register.holds(trade_alert_id(key, kind, origin)) for kind, origin in case.opened):
                self._judge(self.directory.of_key(key), case)

    def schedule(self, account: Account, case: Case) -> None:
        """Let a restored case be judged when it falls due, and when what it is parked for changes."""
        clocks = account.clocks
        judgement = judge(case, (clocks[0].watermark_us, clocks[1].watermark_us), account.terms)
        for claim in judgement.ahead:
            for o in claim.clocks:  # whichever turns out to be the slowest: they may not be where they were yet
                account.clocks[o].deadlines.add(claim.due_us, case.key)
        account.parked.discard(case.key)
        held = self._held(case)
        for of_time, said in ((judgement.standing, held), (judgement.passed, case.opened)):
            for claim in of_time:
                if (claim.kind, claim.origin) not in said:
                    self._proven(account, case, claim)

    def _wait(self, account: Account, case: Case, ahead: list[Claim]) -> None:
        for claim in ahead:
            behind = [account.clocks[o] for o in claim.clocks if account.clocks[o].watermark_us < claim.due_us]
            if behind:  # when the slowest has passed, the others are looked at again
                min(behind, key=_watermark).deadlines.add(claim.due_us, case.key)

    def _proven(self, account: Account, case: Case, claim: Claim) -> bool:
        """Whether absence, where the claim rests on it, is promised to be a fault and nothing is known to be lost."""
        if len(claim.clocks) != 1:
            return True
        if not account.promised[claim.origin]:
            return False
        present = claim.sides[1 - claim.origin]
        if fold(present).rootless or all(seen.ts_us < seen.arrived_us - self.horizon_us for seen in present):
            if not case.beyond_horizon:
                case.beyond_horizon = True
                self.touched[case.key] = None
                self.conditions.beyond_horizon(account, 1 - claim.origin, self._example(case, 1 - claim.origin))
            return False
        name = trade_alert_id(case.key, claim.kind, claim.origin)
        stands = self.register.stands(name) and self.register.holds(name)
        if self.conditions.absence_proven(account, claim.origin, max(seen.ts_us for seen in present), stands=stands):
            return True
        account.parked.add(case.key)
        return False

    def _open(self, account: Account, case: Case, claim: Claim) -> None:
        if (claim.kind, claim.origin) not in case.opened:
            case.opened.append((claim.kind, claim.origin))
            self.touched[case.key] = None
        place = Place((self.topics[0], self.topics[1]), self.partition)
        self.register.assert_open(discrepancy_of(case.key, claim, account.terms.tolerance, place, self.thresholds))

    def _held(self, case: Case) -> list[tuple[Kind, int]]:
        """What is held to be wrong with a case."""
        return [(kind, o) for kind, o in case.opened if self.register.holds(trade_alert_id(case.key, kind, o))]

    def give_cause(self, account: Account, case: Case) -> None:
        """Let what is held explain what follows from it."""
        if self._held(case):
            account.held.add(case.key, case.newest_us)
            if account.book is not None:
                account.book.trade_changed(case.key, case.newest_us)

    def take_cause(self, account: Account, case: Case) -> None:
        """What is held of it is about to be nothing, or to explain something else."""
        if case.opened and account.held.drop(case.key, case.newest_us) and account.book is not None:
            account.book.trade_changed(case.key, case.newest_us)

    def held_of(self, key: str) -> tuple[int, list[str]]:
        """The time of the newest record of a trade, and the ids of what is held to be wrong with it."""
        case = self.cases.peek(key)
        if case is None:
            return 0, []
        return case.newest_us, [trade_alert_id(key, kind, origin) for kind, origin in self._held(case)]

    def fills_of(self, key: str) -> tuple[Move | None, Move | None]:
        """What counts on each side of a case."""
        case = self.cases.peek(key)
        if case is None:
            return None, None
        ours, theirs = case.sides
        return held(key, ours, theirs), held(key, theirs, ours)

    def moves_of(self, key: str) -> tuple[list[Move], list[Move]]:
        """The movements that the records of a case make, by side."""
        case = self.cases.peek(key)
        return (moves_of(key, case.sides[0]), moves_of(key, case.sides[1])) if case is not None else ([], [])

    def _clear(self, account: Account, case: Case, kind: Kind, origin: int) -> None:
        late = any(
            seen.arrived_us >= seen.ts_us + account.grace_us[o] for o in (0, 1) for seen in case.sides[o] if seen.ts_us
        )
        self.register.clear(trade_alert_id(case.key, kind, origin), late=late)
        self.take_cause(account, case)

    def _beyond_horizon(self, account: Account, o: int, example: str) -> None:
        self.counts["beyond_horizon"] += 1
        self.conditions.beyond_horizon(account, o, example)

    def _example(self, case: Case, o: int) -> str:
        """The newest record of a side of a case, and what it refers to."""
        _, instrument, root, _ = split_key(case.key)
        newest = max(case.sides[o], key=lambda seen: seen.ts_us)
        if not fold(case.sides[o]).rootless:
            return self._too_late(o, instrument, root, newest.offset)
        what = f"{newest.exec} {newest.trade_id} of {instrument} trade {root}, which is not known"
        return f"{what}{self._where(o, newest.offset)}"

    def _too_late(self, o: int, instrument: str, trade_id: str, offset: int | None) -> str:
        where = self._where(o, offset)
        return f"{instrument} trade {trade_id}, which came too late to be told from a duplicate{where}"

    def _where(self, o: int, offset: int | None) -> str:
        """Where a record lies, in brackets."""
        topic = self.topics[o]
        if topic is None or offset is None:
            return ""
        return f" ({topic}:{offset})" if self.partition is None else f" ({topic}-{self.partition}-{offset})"

    # -- forgetting ---------------------------------------------------------------------------------------------------

    def forget(self) -> None:
        """Let go of what both feeds have passed by the horizon."""
        for feeds in self.directory.feeds.values():
            limit_us = feeds.known_us() - self.horizon_us
            for minute in sorted(m for m in feeds.expiry if (m + 1) * MINUTE_US <= limit_us):
                for key in feeds.expiry.pop(minute):
                    self._forget_key(feeds, key, minute)
            for o in (0, 1):
                self._forget_unanswerable(feeds, o)

    def _forget_key(self, feeds: Feeds, key: str, minute: int) -> None:
        if self.matched.pop(key, None) is not None:
            return
        case = self.cases.get(key)
        if case is not None:
            if case.newest_us // MINUTE_US > minute:
                return  # remembered by its newest minute too
            if any(self.register.stands(trade_alert_id(key, kind, origin)) for kind, origin in case.opened):
                feeds.remember((minute + 60) * MINUTE_US, key)
                return
            for kind, number in categories(case, standing=False).items():
                self.counts["unverified" if kind == "open" else kind] += number
            self._drop_case(key)
            return
        for o in (0, 1):
            if key in self.waiting[o]:
                self._leave_waiting(self.directory.of_key(key), o, key)
                self.counts["unverified"] += 1

    def _forget_unanswerable(self, feeds: Feeds, o: int) -> None:
        """Nothing was ever heard of a feed: what waits for it longer than the horizon will not be judged."""
        clock, other = feeds.clocks[o], feeds.clocks[1 - o]
        if not clock.silent or clock.heard:
            return
        waiting = self.waiting[1 - o]
        for key in clock.deadlines.pop_due(other.watermark_us - self.horizon_us, lambda key: key in waiting):
            self._leave_waiting(self.directory.of_key(key), 1 - o, key)
            self.counts["unverified"] += 1

    def _drop_case(self, key: str) -> None:
        case = self.cases.pop(key)
        account = self.directory.of_key(key)
        account.parked.discard(key)
        self.take_cause(account, case)
        for kind, origin in case.opened:
            self.register.forget(trade_alert_id(key, kind, origin), account.feeds.known_us())
        for name in names_of(case):
            self.names.pop(name, None)
        self.touched.pop(key, None)
        self.dropped[key] = None

    def handled(self, alert: Discrepancy) -> None:
        """A person did something about a discrepancy: that may change how its records count."""
        key = f"{alert.account}\x1f{alert.instrument}\x1f{alert.trade_id}\x1f{alert.side}"
        if alert.identity == "trade" and self.cases.get(key) is not None:
            self.touched[key] = None

    def stands(self, case: Case) -> bool:
        """Whether anything is open of a case."""
        return any(self.register.stands(trade_alert_id(case.key, kind, origin)) for kind, origin in case.opened)
