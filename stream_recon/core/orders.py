"""Identity 2 (order) of one account: what both origins report of each order, and what its fills add up to.

Of several updates the one with the highest (cum_qty, status, time, place in the log) counts, whatever its arrival,
statuses in the order in which the events list them. Client ids lead to the order id said with them. An order that one
origin lacks, or of which it has fewer fills than cum_qty, is a break only if an update of it with cum_qty 0 was seen:
else it may be older than the log (LOOKBACK_TRUNCATED). One that we rejected before the venue gave it an id is owed by
nobody.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, get_args

from msgspec import Struct, field

from stream_recon.core.findings import Finding, Told, Unknown, Verdict
from stream_recon.core.movements import ZERO
from stream_recon.domain.amounts import EXACT, plain, to_decimal
from stream_recon.domain.discrepancies import FieldDifference
from stream_recon.domain.events import ORIGINS, OrderStatus, Side

if TYPE_CHECKING:
    from stream_recon.core.conditions import Doubted
    from stream_recon.core.movements import Move
    from stream_recon.core.promises import Promises
    from stream_recon.domain.discrepancies import Reason
    from stream_recon.domain.events import Order

OrderKey = tuple[str, str]
"""(instrument, the venue's order id, else the client's)."""
STATUSES: tuple[OrderStatus, ...] = get_args(OrderStatus)
ENDED = frozenset({"filled", "canceled", "expired", "rejected"})


class Update(Struct, array_like=True, gc=False):
    """What one origin said of an order."""

    status: OrderStatus
    qty: str
    cum_qty: str
    ts_us: int
    seq: int
    side: Side
    told: Told

    @property
    def standing(self) -> tuple[Decimal, int, int, int]:
        """The highest counts."""
        return to_decimal(self.cum_qty), STATUSES.index(self.status), self.ts_us, self.seq

    def repeats(self, other: Update) -> bool:
        """Whether it is a copy."""
        return self.standing[:3] == other.standing[:3] and (self.qty, self.side) == (other.qty, other.side)


class Known(Struct, array_like=True):
    """All that is known of one order."""

    first_us: int
    newest_us: int
    newest: list[Update | None] = field(default_factory=lambda: [None, None])
    """By origin, the update that counts."""
    filled: list[Decimal] = field(default_factory=lambda: [ZERO, ZERO])
    """By origin, what its live fills bought less what they sold."""
    is_begun: bool = False
    """An update with cum_qty 0 was seen: none of its fills can be older than the log."""
    is_named: bool = False
    """We know the venue's id for it."""


class Orders:
    """The orders of one account that may still matter."""

    def __init__(self, promises: Promises, doubted: Doubted) -> None:
        self.promises = promises
        self.doubted = doubted
        self.known: dict[OrderKey, Known] = {}
        self.since_us = -1
        """Fills before that time have not been counted."""
        self.names: dict[OrderKey, str] = {}
        """The venue's order id by (instrument, client id)."""
        self.fresh_names: list[tuple[str, str, str]] = []
        """(instrument, client id, order id) that were learnt since this was last taken."""
        self.renamed: list[OrderKey] = []
        """Orders that turned out to be others, since this was last taken."""

    def update(self, o: int, event: Order, seq: int, told: Told) -> OrderKey:
        """An update of side `o`; gives the order that it is about."""
        key = self._key(event.instrument, event.order_id, event.client_order_id)
        known = self._touch(key, event.ts_us)
        update = Update(event.status, event.qty, event.cum_qty, event.ts_us, seq, event.side, told)
        newest = known.newest[o]
        if newest is None or (update.standing > newest.standing and not update.repeats(newest)):
            known.newest[o] = update
        known.is_begun |= not to_decimal(event.cum_qty)
        known.is_named |= o == 0 and event.order_id is not None
        return key

    def move(self, o: int, move: Move) -> OrderKey:
        """A fill of side `o` counts, or no longer; one that changes nothing is a record of its order all the same.

        Else what came out of order, and moved something only until the rest came, would tell how long an order lasted.
        """
        key = self._key(move.instrument, move.order_id, move.client_order_id)
        known = self._touch(key, move.ts_us)
        if move.sign:
            known.filled[o] = EXACT.add(known.filled[o], move.signed_qty())
        return key

    def _key(self, instrument: str, order_id: str | None, client_id: str | None) -> OrderKey:
        if order_id is None:
            return instrument, self.names.get((instrument, client_id or ""), client_id or "")
        if client_id is not None and (instrument, client_id) not in self.names:
            self.names[instrument, client_id] = order_id
            if (instrument, client_id) in self.known and client_id != order_id:
                self._merge((instrument, client_id), (instrument, order_id))
            self.fresh_names.append((instrument, client_id, order_id))
        return instrument, order_id

    def _merge(self, from_key: OrderKey, to_key: OrderKey) -> None:
        """An order that was known by its client id has got the venue's."""
        source = self.known.pop(from_key)
        known = self._touch(to_key, source.first_us)
        known.newest_us = max(known.newest_us, source.newest_us)
        for o in (0, 1):
            one, two = known.newest[o], source.newest[o]
            if one is None or (two is not None and two.standing > one.standing):
                known.newest[o] = two
            known.filled[o] = EXACT.add(known.filled[o], source.filled[o])
        known.is_begun |= source.is_begun
        known.is_named |= source.is_named
        self.renamed.append(from_key)

    def _touch(self, key: OrderKey, ts_us: int) -> Known:
        known = self.known.get(key)
        if known is None:
            known = self.known[key] = Known(ts_us, ts_us)
        elif ts_us > known.newest_us:
            known.newest_us = ts_us
        elif ts_us < known.first_us:
            known.first_us = ts_us
        return known

    # -- verdicts -----------------------------------------------------------------------------------------------------

    def judge(self, key: OrderKey) -> Verdict:
        """All that is to be said of one order; call it within exact arithmetic."""
        verdict = Verdict([], [])
        known = self.known.get(key)
        if known is not None:
            self._judge_reports(key, known, verdict)
            for o in (0, 1):
                self._judge_sum(key, known, o, verdict)
        return verdict

    def _judge_reports(self, key: OrderKey, known: Known, verdict: Verdict) -> None:
        """The two origins agree on status, qty and cum_qty."""
        if not all(self.promises.sends(o, "order") for o in (0, 1)) or not any(known.newest):
            return
        ours, theirs = known.newest
        fields: list[FieldDifference] = []
        reason: Reason | None = None
        lacking = 0
        if ours and theirs:
            if ours.status != theirs.status:
                fields.append(FieldDifference("status", ours.status, theirs.status))
            for name, one, two in (("qty", ours.qty, theirs.qty), ("cum_qty", ours.cum_qty, theirs.cum_qty)):
                gap = to_decimal(one) - to_decimal(two)
                if abs(gap) > self.promises.tolerance(name, key[0]):
                    fields.append(FieldDifference(name, one, two, plain(gap)))
            lacking = 0 if ours.standing[:2] <= theirs.standing[:2] else 1
        elif not (ours and ours.status == "rejected" and not known.is_named):
            lacking = 1 if ours else 0
            fields.append(FieldDifference("order", "reported" if ours else None, "reported" if theirs else None))
            reason = None if known.is_begun else "LOOKBACK_TRUNCATED"
        if self.promises.of(lacking, "order") == "partial":
            reason = "PARTIAL"
        cum = [to_decimal(update.cum_qty) if update else ZERO for update in known.newest]
        self._conclude(
            key, known, "internal:exchange", fields, reason, (lacking, "orders"), verdict,
            cause=_reports_sentence(fields, lacking), residual=cum[1] - cum[0], signs=(-1, 1),
        )  # fmt: skip

    def _judge_sum(self, key: OrderKey, known: Known, o: int, verdict: Verdict) -> None:
        """The live fills of an order add up to its cum_qty: its own origin's, or the other's where it sends none.

        One of the other side of the market takes away what it should add.
        """
        source = self.promises.first_that_sends("fill", (o, 1 - o))
        if not self.promises.sends(o, "order") or source is None:
            return
        compared = f"{ORIGINS[o]}:fills"
        newest = known.newest[o]
        if newest is None:
            if not any(known.newest) and self.promises.of(o, "order") == "complete":
                verdict.unknown.append(Unknown("LOOKBACK_TRUNCATED", o, "orders", compared, key))
            return
        filled = known.filled[source] if newest.side == "buy" else known.filled[source].copy_negate()
        lacks = to_decimal(newest.cum_qty) - filled
        fields: list[FieldDifference] = []
        reason: Reason | None = None
        if abs(lacks) > self.promises.tolerance("cum_qty", key[0]):
            fields.append(FieldDifference("cum_qty", plain(filled), newest.cum_qty, plain(-lacks)))
            if (self.promises.of(source, "fill") if lacks > 0 else self.promises.of(o, "order")) == "partial":
                reason = "PARTIAL"
            elif lacks > 0 and not (known.is_begun and known.first_us >= self.since_us):
                reason = "LOOKBACK_TRUNCATED"
        whose = "its own fills" if source == o else f"the fills that {ORIGINS[source]} sent"
        self._conclude(
            key, known, compared, fields, reason, (source, "fills") if lacks > 0 else (o, "orders"), verdict,
            cause=f"{ORIGINS[o]} reports {newest.cum_qty} of this order filled, {whose} come to {plain(filled)}",
            residual=lacks, signs=(-1, 1) if source == 0 else (1, -1),
        )  # fmt: skip

    def _conclude(  # noqa: PLR0913, PLR0917 - a verdict is all of these
        self,
        key: OrderKey,
        known: Known,
        compared: str,
        fields: list[FieldDifference],
        reason: Reason | None,
        lacking: tuple[int, str],
        verdict: Verdict,
        *,
        cause: str,
        residual: Decimal,
        signs: tuple[int, int],
    ) -> None:
        """Write the verdict."""
        if not fields:
            return
        o, stream = lacking[0], "fills" if lacking[1] == "fills" else "orders"
        if reason is None:
            o, reason = self._lost(known, o)
        if reason is not None:
            verdict.unknown.append(Unknown(reason, o, "fills" if stream == "fills" else "orders", compared, key))
            return
        verdict.breaks.append(
            Finding(
                kind="order_mismatch",
                identity="order",
                compared=compared,
                key=key,
                names={"instrument": key[0], "order_id": key[1], "side": _side(known)},
                event_us=known.newest_us,
                due_us=known.newest_us + self.promises.wait_us,
                cause=cause,
                fields=fields,
                evidence=[update.told for update in known.newest if update is not None],
                residual=residual if any(field.field == "cum_qty" for field in fields) else None,
                span_us=(known.first_us, known.newest_us),
                signs=signs,
            )
        )

    def _lost(self, known: Known, o: int) -> tuple[int, Reason | None]:
        """Whether records of that time may have been lost, and whose."""
        for origin in (0, 1):
            if self.doubted.has_hole(origin, known.first_us, known.newest_us):
                return origin, "SEQ_GAP"
            for stream in ("fills", "orders"):
                if self.doubted.has_unread(
                    origin, "fills" if stream == "fills" else "orders", known.first_us, known.newest_us
                ):
                    return origin, "SCHEMA_ERROR"
        return o, None

    def is_over(self, key: OrderKey) -> bool:
        """Whether nothing more is expected of an order: each origin that knows it says that it ended."""
        known = self.known[key]
        return all(update is None or update.status in ENDED for update in known.newest)

    def forget(self, key: OrderKey) -> None:
        """Let go of an order."""
        self.known.pop(key, None)


def _side(known: Known) -> str:
    """On which side of the market an order is, as one of its updates says."""
    return next(update.side for update in known.newest if update is not None)


def _reports_sentence(fields: list[FieldDifference], lacking: int) -> str:
    if any(field.field == "order" for field in fields):
        return f"{ORIGINS[1 - lacking]} reports this order, {ORIGINS[lacking]} never did"
    return f"both sides report this order, but disagree on {', '.join(field.field for field in fields)}"
