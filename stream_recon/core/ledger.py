"""Identity 4, entry by entry: where both origins send their ledgers, entries pair one to one.

They pair by ledger_id; else one's ref_id is the other's ref_id or ledger_id, with asset and reason; else asset, delta
and reason within grace, oldest first: the surest first, over all that have no twin yet. Entries of trades are owed only
where the ledger covers all. A pair that differs in asset or delta is a balance_mismatch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from stream_recon.core.findings import Finding, Told, Unknown, Verdict
from stream_recon.core.states import OF_TRADES
from stream_recon.domain.amounts import plain, to_decimal
from stream_recon.domain.discrepancies import FieldDifference
from stream_recon.domain.events import ORIGINS

if TYPE_CHECKING:
    from decimal import Decimal

    from stream_recon.core.conditions import Doubted
    from stream_recon.core.promises import Promises
    from stream_recon.domain.discrepancies import Kind, Reason


class Entry(Struct, array_like=True, gc=False):
    """One movement of one asset, as one origin tells it."""

    ts_us: int
    seq: int
    ledger_id: str
    asset: str
    delta: str
    reason: str
    ref_id: str | None
    told: Told

    @property
    def said(self) -> tuple[str, Decimal, str]:
        """What an entry says, as amounts."""
        return self.asset, to_decimal(self.delta), self.reason


def _age(entry: Entry) -> tuple[int, int]:
    return entry.ts_us, entry.seq


def _by_id(entry: Entry) -> list[object]:
    return [entry.ledger_id]


def _by_reference(entry: Entry) -> list[object]:
    ids = {entry.ledger_id, entry.ref_id or entry.ledger_id}
    return [(name, entry.asset, entry.reason) for name in ids]


def _by_content(entry: Entry) -> list[object]:
    return [entry.said]


_RULES = (_by_id, _by_reference, _by_content)
"""What twins have in common, the surest first; by content they must lie within grace too."""


class Entries:
    """The ledger entries of one account that have no agreeing twin by id, and the ids of those that have."""

    def __init__(self, promises: Promises, doubted: Doubted) -> None:
        self.promises = promises
        self.doubted = doubted
        self.left: tuple[dict[str, Entry], dict[str, Entry]] = ({}, {})
        self.copies: tuple[dict[str, Entry], dict[str, Entry]] = ({}, {})
        """By ledger_id, a later copy that contradicts the first."""
        self.paired: dict[str, tuple[int, str]] = {}
        """By ledger_id of entries that agree outright, until the horizon: (time, what they say), to know copies by."""

    def add(self, o: int, entry: Entry) -> bool:
        """One entry of side `o`. True where it is news: no copy of one that is known."""
        known = self.left[o].get(entry.ledger_id)
        settled = self.paired.get(entry.ledger_id)
        if known is not None or settled is not None:
            said = _text(known) if known is not None else settled[1] if settled is not None else ""
            if said != _text(entry):
                self.copies[o][entry.ledger_id] = entry
            return False
        twin = self.left[1 - o].get(entry.ledger_id)
        if twin is not None and _text(twin) == _text(entry) and entry.ledger_id not in self.copies[1 - o]:
            del self.left[1 - o][entry.ledger_id]
            self.paired[entry.ledger_id] = (max(twin.ts_us, entry.ts_us), _text(entry))
        else:
            self.left[o][entry.ledger_id] = entry
        return True

    def nets(self, entry: Entry) -> bool:
        """Whether an entry counts in net changes: both promise their whole ledger, and of trades all movements."""
        contracts = self.promises.contracts
        return all(self.promises.of(o, "ledger") == "complete" for o in (0, 1)) and (
            entry.reason not in OF_TRADES or all(contract.ledger_covers == "all" for contract in contracts)
        )

    def judge(self, until_us: int) -> Verdict:
        """All that is to be said of entries up to that time; call it within exact arithmetic."""
        verdict = Verdict([], [])
        for o in (0, 1):
            for ledger_id, copy in sorted(self.copies[o].items()):
                first = self.left[o].get(ledger_id)
                if max(each.ts_us for each in (copy, first) if each is not None) <= until_us:
                    self._contradicted(o, ledger_id, first, copy, verdict)
        if all(self.promises.sends(o, "ledger") for o in (0, 1)):
            left = self._left()
            for ours, theirs in self._pair_up(left[0], left[1]):
                if max(ours.ts_us, theirs.ts_us) <= until_us:
                    self._judge_pair(ours, theirs, verdict)
            for lacking in (0, 1):
                covers = self.promises.contracts[lacking].ledger_covers
                for entry in left[1 - lacking]:
                    if entry.ts_us <= until_us and (covers == "all" or entry.reason not in OF_TRADES):
                        self._judge_lone(entry, lacking, verdict)
        return verdict

    def _left(self) -> tuple[list[Entry], list[Entry]]:
        """Those that have no agreeing twin by id, oldest first."""
        return sorted(self.left[0].values(), key=_age), sorted(self.left[1].values(), key=_age)

    def _pair_up(self, ours: list[Entry], theirs: list[Entry]) -> list[tuple[Entry, Entry]]:
        """Find twins, the surest first, and take them off both lists."""
        found: list[tuple[Entry, Entry]] = []
        for rule in _RULES:
            index: dict[object, list[Entry]] = {}
            for two in theirs:
                for name in rule(two):
                    index.setdefault(name, []).append(two)
            taken: set[int] = set()
            rest: list[Entry] = []
            for one in ours:
                twin = min(
                    (
                        two
                        for name in rule(one)
                        for two in index.get(name, ())
                        if id(two) not in taken
                        and (rule is not _by_content or abs(one.ts_us - two.ts_us) <= self.promises.grace_us)
                    ),
                    key=_age,
                    default=None,
                )
                if twin is None:
                    rest.append(one)
                else:
                    taken.add(id(twin))
                    found.append((one, twin))
            ours[:] = rest
            theirs[:] = [two for two in theirs if id(two) not in taken]
        return found

    def _differences(self, ours: Entry, theirs: Entry) -> list[FieldDifference]:
        """In what twins do not say the same."""
        fields = []
        gap = to_decimal(ours.delta) - to_decimal(theirs.delta)
        if ours.asset != theirs.asset:
            fields.append(FieldDifference("asset", ours.asset, theirs.asset))
        if abs(gap) > self.promises.tolerance("delta", ours.asset):
            fields.append(FieldDifference("delta", ours.delta, theirs.delta, plain(gap)))
        return fields

    def _judge_pair(self, ours: Entry, theirs: Entry, verdict: Verdict) -> None:
        fields = self._differences(ours, theirs)
        if fields:
            names = " and ".join(field.field for field in fields)
            cause = f"both sides have this ledger entry ({ours.reason}), but disagree on {names}"
            finding = self._finding("balance_mismatch", "internal:exchange", ours, [ours, theirs], fields, cause)
            verdict.breaks.append(finding._replace(entries=(ours, theirs)))

    def _judge_lone(self, entry: Entry, lacking: int, verdict: Verdict) -> None:
        """An entry without a twin."""
        grace_us = self.promises.contracts[lacking].grace_us
        span_us = (entry.ts_us - grace_us, entry.ts_us + grace_us)
        reason: Reason | None = None
        if self.promises.of(lacking, "ledger") == "partial":
            reason = "PARTIAL"
        elif self.doubted.has_hole(lacking, *span_us):
            reason = "SEQ_GAP"
        elif self.doubted.has_unread(lacking, "balances", *span_us):
            reason = "SCHEMA_ERROR"
        if reason is not None:
            verdict.unknown.append(Unknown(reason, lacking, "balances", "ledger", (entry.ledger_id,)))
            return
        ours, theirs = (None, entry.delta) if lacking == 0 else (entry.delta, None)
        here, there = ORIGINS[1 - lacking], ORIGINS[lacking]
        cause = (
            f"{here} has this {entry.reason} of {plain(to_decimal(entry.delta))} {entry.asset}, {there} never sent it"
        )
        fields = [FieldDifference("delta", ours, theirs)]
        finding = self._finding("ledger_missing", "internal:exchange", entry, [entry], fields, cause, lacking)
        verdict.breaks.append(finding._replace(entries=(None, entry) if lacking == 0 else (entry, None)))

    def _contradicted(self, o: int, ledger_id: str, first: Entry | None, copy: Entry, verdict: Verdict) -> None:
        """Two copies of one origin that differ: neither is believed."""
        said = self.paired[ledger_id][1].split("\x1f") if first is None else [first.asset, first.delta, first.reason]
        fields = [
            FieldDifference(name, one, two)
            for name, one, two in zip(
                ("asset", "delta", "reason"), said, (copy.asset, copy.delta, copy.reason), strict=True
            )
            if one != two
        ]
        names = ", ".join(field.field for field in fields)
        cause = f"{ORIGINS[o]} sent this ledger entry more than once, with different {names}; no copy is believed"
        entries = [copy] if first is None else [first, copy]
        finding = self._finding("duplicate_conflict", ORIGINS[o], copy, entries, fields, cause)
        before = replace(copy, asset=said[0], delta=said[1]) if first is None else first
        verdict.breaks.append(finding._replace(entries=(before, copy)))

    def _finding(  # noqa: PLR0913, PLR0917 - a finding is all of these
        self,
        kind: Kind,
        compared: str,
        entry: Entry,
        entries: list[Entry],
        fields: list[FieldDifference],
        cause: str,
        lacking: int | None = None,
    ) -> Finding:
        newest_us = max(each.ts_us for each in entries)
        key = (entry.ledger_id,) if lacking is None else (ORIGINS[lacking], entry.ledger_id)
        return Finding(
            kind=kind,
            identity="balance",
            compared=compared,
            key=key,
            names={"asset": entry.asset, "ledger_id": entry.ledger_id},
            event_us=newest_us,
            due_us=newest_us + self.promises.wait_us,
            cause=cause,
            fields=fields,
            evidence=[each.told for each in entries],
        )

    def trim(self, before_us: int) -> None:
        """Forget what agreed before that time, and pairs without a common id; not what a copy contradicts."""
        contradicted = {*self.copies[0], *self.copies[1]}
        for ledger_id in [name for name, (ts_us, _) in self.paired.items() if ts_us < before_us]:
            if ledger_id not in contradicted:
                del self.paired[ledger_id]
        left = self._left()
        for pair in self._pair_up(left[0], left[1]):
            told_us = max(each.ts_us for each in pair)
            if (
                told_us < before_us
                and not self._differences(*pair)
                and contradicted.isdisjoint(e.ledger_id for e in pair)
            ):
                for o, entry in enumerate(pair):
                    del self.left[o][entry.ledger_id]


def _text(entry: Entry) -> str:
    asset, delta, reason = entry.said
    return f"{asset}\x1f{plain(delta)}\x1f{reason}"
