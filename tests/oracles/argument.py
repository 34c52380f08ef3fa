"""The core's answer to the oracle of accounts: what stands after the same logs, in the oracle's words."""

from __future__ import annotations

import random
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from stream_recon.core.lane import Batch, Lane
from stream_recon.core.memory import Changes
from stream_recon.core.trades import Rules
from stream_recon.domain.decode import Rejected, decode_pack
from stream_recon.domain.discrepancies import Discrepancy
from stream_recon.domain.instruments import Instruments
from tests.oracles.book import Break

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stream_recon.domain.contracts import Contracts
    from stream_recon.domain.discrepancies import Alert
    from stream_recon.domain.events import Origin, Stream
    from tests.oracles.book import Truth
    from tests.oracles.movements import Event

    Logs = Mapping[tuple[Origin, Stream], Sequence[tuple[int, Event]]]

LONG_US = 1 << 60
STATED = ("order", "position", "balance")


class Reader:
    """Reads logs through lanes that may be replaced, and keeps all that they publish."""

    def __init__(
        self, logs: Logs, contracts: Contracts, instruments: Any, horizon_us: int = LONG_US,
        idle_fills_kept: int | None = None,
    ) -> None:  # fmt: skip
        self.logs = logs
        self.contracts = contracts
        self.rules = Rules(horizon_us=horizon_us, instruments=Instruments.model_validate(instruments),
                           idle_fills_kept=idle_fills_kept)  # fmt: skip
        self.lane = Lane(0, contracts, self.rules)
        self.next: dict[tuple[Origin, Stream], int] = dict.fromkeys(logs, 0)
        self.published: list[Alert] = []
        self.changes: list[bytes] = []

    @property
    def unread(self) -> list[tuple[Origin, Stream]]:
        """The topics that have not been read to their ends."""
        return [topic for topic, log in self.logs.items() if self.next[topic] < len(log)]

    def read(self, topic: tuple[Origin, Stream], count: int) -> None:
        """The next records of one topic."""
        origin, stream = topic
        first = self.next[topic]
        entries = self.logs[topic][first : first + count]
        values = [msgspec.json.encode(event) for _, event in entries]
        events = decode_pack(values, None, None, origin, stream)
        assert not any(isinstance(event, Rejected) for event in events), events
        self.lane.step(
            Batch(
                origin, stream, f"recon.{origin}.{stream}.v1", list(range(first, first + len(entries))),
                [time_us for time_us, _ in entries], values, events,
            )
        )  # fmt: skip
        self.next[topic] += len(entries)

    def drain(self) -> None:
        """Take out what follows."""
        drained = self.lane.drain()
        alerts = [entry.alert for entry in drained.published if isinstance(entry.alert, Discrepancy)]
        self.published += [msgspec.json.decode(msgspec.json.encode(alert), type=Discrepancy) for alert in alerts]
        self.changes.append(msgspec.msgpack.encode(drained.changes))

    def restart(self) -> None:
        """Go on with what was written down."""
        self.drain()
        self.lane = Lane(0, self.contracts, self.rules)
        for changes in self.changes:
            self.lane.restore(msgspec.msgpack.decode(changes, type=Changes))

    def snapshot(self) -> None:
        """Write down all there is, in place of what was written."""
        self.drain()
        self.changes = [msgspec.msgpack.encode(changes) for changes in self.lane.snapshot(3)]

    def standing(self) -> list[Discrepancy]:
        """What stands at the end."""
        newest = {alert.alert_id: alert for alert in self.published}
        return [alert for alert in newest.values() if isinstance(alert, Discrepancy) and alert.status == "OPEN"]


def in_the_oracles_words(alert: Discrepancy) -> Break:
    """A discrepancy as the oracle would write it."""
    compared = alert.compared
    subject: tuple[str, ...] = (alert.asset or "",)
    interval = (alert.interval.from_label, alert.interval.to_label) if alert.interval else None
    fields: tuple[tuple[str, str | None, str | None], ...] = ()
    residual = Decimal(alert.residual) if alert.residual is not None else None
    if alert.identity == "order":
        subject, residual = (alert.instrument or "", alert.order_id or ""), None
        compared = "equal" if compared == "internal:exchange" else compared.split(":")[0]
    elif alert.kind == "ledger_missing":
        subject, residual = (alert.ledger_id or "",), None
        compared = "internal" if alert.evidence[0].origin == "exchange" else "exchange"
    elif alert.ledger_id is not None:
        subject, residual = (alert.ledger_id,), None
        compared = "ledger" if alert.kind == "balance_mismatch" else compared
    else:
        if alert.identity == "position":
            subject = (alert.instrument or "", alert.position_side or "")
        compared = "equal" if compared == "internal:exchange" else compared.split(":")[1]
        if compared == "parts":
            interval = (str(alert.event_us), str(alert.event_us))
    if alert.identity == "order" or compared in {"parts", "ledger"}:
        fields = tuple((f.field, f.internal, f.exchange) for f in alert.fields)
    return Break(alert.kind, alert.account, compared, subject, interval, residual, fields)


def unknown_in_the_core(lane: Lane) -> Counter[tuple[str, ...]]:
    """What cannot be known: (reason, account, compared, subject and label)."""
    found: Counter[tuple[str, ...]] = Counter()
    for account in lane.directory.accounts.values():
        for unknown in account.book.unknown.values() if account.book is not None else ():
            for each in unknown:
                compared = each.compared
                if compared == "internal:exchange":
                    compared = "equal"
                elif ":" in compared:
                    first, _, second = compared.partition(":")
                    compared = first if second == "fills" else second
                found[each.reason, account.name, compared, *each.key] += 1
    return found


def unknown_in_truth(expected: Truth) -> Counter[tuple[str, ...]]:
    """The same of the oracle; of an incomplete snapshot it tells each comparison that lacks it."""
    found: Counter[tuple[str, ...]] = Counter()
    for each in expected.unknown:
        if each.reason == "INCOMPLETE_SNAPSHOT":
            found[each.reason, each.account, "snapshot", str(each.label)] = 1
        else:
            label = (each.label,) if each.label is not None else ()
            found[each.reason, each.account, each.compared, *each.subject, *label] += 1
    return found


def plainly(one: Break) -> Break:
    """The same break, whatever zeros were written."""

    def number(text: str | None) -> str | None:
        try:
            return None if text is None else str(Decimal(text).normalize())
        except ArithmeticError:
            return text

    fields = tuple(sorted(((name.replace("free+locked", "total"), number(a), number(b)) for name, a, b in one.fields),
                   key=str))  # fmt: skip
    residual = one.residual.normalize() + 0 if one.residual is not None else None
    return one._replace(residual=residual, fields=fields)


def argue(  # noqa: PLR0913 - a world, what is true of it, and how it is read
    logs: Logs, contracts: Contracts, instruments: Any, expected: Truth, seed: int = 0, *, trouble: bool = False
) -> Reader:
    """Read the logs in some interleaving, and hold what stands at the end against the truth."""
    rng = random.Random(seed)
    reader = Reader(logs, contracts, instruments)
    size = sum(map(len, logs.values()))
    while reader.unread:
        reader.read(rng.choice(reader.unread), rng.choice((1, 1, 2, 5, 30)))
        what = rng.random() * max(1, size / 200)  # of a long log the state is not written at each step
        if what < 0.1:
            reader.drain()
        elif trouble and what < 0.2:
            reader.restart()
        elif trouble and what < 0.25:
            reader.snapshot()
    reader.drain()
    found = Counter(plainly(in_the_oracles_words(a)) for a in reader.standing() if a.identity in STATED)
    wanted = Counter(plainly(each) for each in expected.breaks)
    assert found - wanted == wanted - found, f"seed {seed}: core {found - wanted}, oracle {wanted - found}"
    open_questions, in_truth = unknown_in_the_core(reader.lane), unknown_in_truth(expected)
    core_only, oracle_only = open_questions - in_truth, in_truth - open_questions
    assert core_only == oracle_only, f"seed {seed}: not known: core {core_only}, oracle {oracle_only}"
    for alert in reader.published:
        assert isinstance(alert, Discrepancy)
        if alert.split:
            assert sum(Decimal(part.amount) for part in alert.split) == Decimal(alert.residual or "0"), alert
    return reader
