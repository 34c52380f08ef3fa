"""What each origin sends of an account: what its contract says, or, where nobody said, what has been heard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from stream_recon.core.watermarks import UNKNOWN_US
from stream_recon.domain.amounts import to_decimal
from stream_recon.domain.events import ORIGINS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from decimal import Decimal

    from stream_recon.core.watermarks import Clock
    from stream_recon.domain.contracts import FeedContract, Promise
    from stream_recon.domain.events import Stream

Class = Literal["fill", "order", "position", "balance", "ledger"]
STREAM_OF_CLASS: dict[Class, Stream] = {
    "fill": "fills", "order": "orders", "position": "balances", "balance": "balances", "ledger": "balances",
}  # fmt: skip
_SAID: dict[Class, str] = {
    "fill": "fills", "order": "orders", "position": "positions", "balance": "balances", "ledger": "ledger",
}  # fmt: skip
Heard = tuple[set[Class], set[Class]]
"""Of one venue: which classes each origin has sent."""


class Promises:
    """The feeds of one account: contracts, clocks, and what has been heard of its venue."""

    __slots__ = ("_waited_for", "clocks", "contracts", "grace_us", "heard", "patience_us", "wait_us", "within_us")

    def __init__(
        self, contracts: tuple[FeedContract, FeedContract], clocks: dict[tuple[int, Stream], Clock], heard: Heard
    ) -> None:
        self.contracts = contracts
        self.clocks = clocks
        self.heard = heard
        self.within_us = max(contract.order_within_us for contract in contracts)
        self.grace_us = max(contract.grace_us for contract in contracts)
        self.wait_us = self.within_us + self.grace_us
        """How long after a record all that it is judged with has come, what explains it being known by then."""
        self.patience_us = max(contract.stale_after_us for contract in contracts)
        """How much longer the first snapshot of what moved may take."""
        self._waited_for: dict[tuple[Class, ...], list[Clock]] = {}

    def changed(self) -> None:
        """Something was heard for the first time."""
        self._waited_for.clear()

    def of(self, o: int, kind: Class) -> Promise:
        """What an origin promises of a class; of one never promised and never sent: absent."""
        said: Promise | None = getattr(self.contracts[o], _SAID[kind])
        if said is not None:
            return said
        if kind in {"fill", "order"}:
            heard = kind in self.heard[o] or self.clocks[o, STREAM_OF_CLASS[kind]].watermark_us != UNKNOWN_US
            return "complete" if heard else "absent"
        return "partial" if kind in self.heard[o] else "absent"

    def sends(self, o: int, kind: Class) -> bool:
        """Whether it sends that class at all."""
        return self.of(o, kind) != "absent"

    def anything_but_fills(self) -> bool:
        """Whether anybody sends what fills could be held against."""
        kinds: tuple[Class, ...] = ("order", "position", "balance", "ledger")
        return any(self.sends(o, kind) for kind in kinds for o in (0, 1))

    def first_that_sends(self, kind: Class, order: Iterable[int]) -> int | None:
        """Whose records of a class count."""
        return next((o for o in order if self.sends(o, kind)), None)

    def only_sender(self, kind: Class) -> int | None:
        """Whose records of a class are the only ones."""
        senders = [o for o in (0, 1) if self.sends(o, kind)]
        return senders[0] if len(senders) == 1 else None

    def waited_for(self, classes: tuple[Class, ...]) -> list[Clock]:
        """The clocks of the feeds that send any of these classes.

        Where only one side sends fills, what explains a position or balance may be an order.
        """
        found = self._waited_for.get(classes)
        if found is None:
            told_by_orders = not {"position", "balance"}.isdisjoint(classes) and self.only_sender("fill") is not None
            clocks = {
                (o, STREAM_OF_CLASS[kind]): self.clocks[o, STREAM_OF_CLASS[kind]]
                for kind in (*classes, *(("order",) if told_by_orders else ()))
                for o in range(len(ORIGINS))
                if self.sends(o, kind)
            }
            found = self._waited_for[classes] = list(clocks.values())
        return found

    def tolerance(self, field: str, name: str) -> Decimal:
        """The wider of what both contracts allow: by field and asset or instrument, else by field."""
        return max(to_decimal(c.tolerance.get(f"{field}:{name}", c.tolerance.get(field, "0"))) for c in self.contracts)
