"""An account as a lane sees it: the promises made for it, and the clocks that its conclusions wait for."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from stream_recon.core.cases import terms_of
from stream_recon.core.watermarks import UNKNOWN_US, Clock, Source
from stream_recon.domain.events import ORIGINS, STREAMS, account_of, default_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stream_recon.core.account_book import AccountBook
    from stream_recon.core.cases import Terms
    from stream_recon.core.promises import Heard
    from stream_recon.domain.contracts import Contracts, FeedContract
    from stream_recon.domain.events import Origin, Stream

MINUTE_US = 60_000_000


class Feeds:
    """The two fill feeds that accounts with the same promises are compared between, and what is remembered of them."""

    __slots__ = ("clocks", "default_source", "expiry", "promises")

    def __init__(self, clocks: tuple[Clock, Clock], promises: tuple[str | None, str | None]) -> None:
        self.clocks = clocks
        self.promises = promises
        self.default_source = tuple(default_source(clock.origin, clock.venue) for clock in clocks)
        self.expiry: dict[int, list[str]] = {}
        """Keys to forget, by the minute of their event time."""

    def promised(self, origin: int) -> bool:
        """Whether a fill that is missing on that side is a fault."""
        return self.promises[origin] in {None, "complete"}

    def known_us(self) -> int:
        """The time up to which both are known; of a feed that sends nothing, the other one says it."""
        times_us = [
            clock.watermark_us
            for clock, promise in zip(self.clocks, self.promises, strict=True)
            if not (promise == "absent" or (clock.silent and (promise == "partial" or not clock.heard)))
        ]
        return min(times_us, default=UNKNOWN_US)

    def remember(self, ts_us: int, key: str) -> None:
        """Let `key` be forgotten one horizon after its time."""
        keys = self.expiry.get(ts_us // MINUTE_US)
        if keys is None:
            self.expiry[ts_us // MINUTE_US] = [key]
        else:
            keys.append(key)


class Held:
    """Trades of which anything is held to be wrong, by the minute of their newest record."""

    __slots__ = ("_minutes",)

    def __init__(self) -> None:
        self._minutes: dict[int, dict[str, None]] = {}

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable(self._minutes.values())

    def add(self, key: str, newest_us: int) -> None:
        """Something is."""
        self._minutes.setdefault(newest_us // MINUTE_US, {})[key] = None

    def drop(self, key: str, newest_us: int) -> bool:
        """Nothing is any more, or its newest record will be another. False: nothing was."""
        keys = self._minutes.get(newest_us // MINUTE_US, {})
        if key not in keys:
            return False
        del keys[key]
        if not keys:
            del self._minutes[newest_us // MINUTE_US]
        return True

    def between(self, from_us: int, to_us: int) -> list[str]:
        """Those of the minutes of that time."""
        minutes = [minute for minute in self._minutes if from_us // MINUTE_US <= minute <= to_us // MINUTE_US]
        return [key for minute in minutes for key in self._minutes[minute]]


class Account:
    """One account: key, contracts, and the clocks of its fills."""

    __slots__ = (
        "book", "clocks", "contracts", "default_source", "feeds", "grace_us", "heard", "held", "name", "parked",
        "promised", "terms", "trimmed_us", "unsettled", "within_us",
    )  # fmt: skip

    def __init__(self, name: str, feeds: Feeds, contracts: tuple[FeedContract, FeedContract], terms: Terms) -> None:
        internal, exchange = contracts
        self.name = name
        self.contracts = contracts
        self.feeds = feeds
        self.clocks = feeds.clocks
        self.promised = (feeds.promised(0), feeds.promised(1))
        self.grace_us = (internal.grace_us, exchange.grace_us)
        self.within_us = (internal.order_within_us, exchange.order_within_us)
        self.terms = terms
        self.default_source = feeds.default_source
        self.held = Held()
        """What may explain what follows from it."""
        self.parked: set[str] = set()
        """Cases whose absence proves nothing for now: a hole in the numbering, or a record that could not be read."""
        self.heard: Heard = (set(), set())
        """What has been heard of its venue; shared by all accounts of that."""
        self.book: AccountBook | None = None
        """Orders, positions, balances and ledgers; None where nobody sends any."""
        self.unsettled = False
        """Something in its book is due, or waits for nothing yet."""
        self.trimmed_us = UNKNOWN_US
        """What is older than that has been summed up."""


class Directory:
    """The accounts, sources and clocks of one partition number."""

    def __init__(self, contracts: Contracts) -> None:
        self.contracts = contracts
        self.accounts: dict[tuple[str, str], Account] = {}
        self.by_name: dict[str, Account] = {}
        self.heard: dict[str, Heard] = {}
        """By venue."""
        self.opened: Callable[[Account], None] | None = None
        """Told of each new account."""
        self.feeds: dict[tuple[Clock, Clock, str | None, str | None], Feeds] = {}
        self.shared: dict[tuple[str, int, int], tuple[Feeds, Terms]] = {}
        """By venue and contracts, which are the same objects as long as `contracts` is."""
        self.clocks: dict[tuple[Origin, Stream, str, tuple[str, ...] | None], Clock] = {}
        self.pairs: dict[tuple[Clock, Clock], None] = {}
        """Of each stream, the clocks that stand against each other."""
        self.sources: dict[tuple[Origin, Stream], dict[str, Source]] = {(o, s): {} for o in ORIGINS for s in STREAMS}

    def account(self, venue: str, account_id: str) -> Account:
        """The account, known or new."""
        account = self.accounts.get((venue, account_id))
        if account is None:
            internal, exchange = (self.contracts.of(origin, venue, account_id) for origin in ORIGINS)
            known = self.shared.get((venue, id(internal), id(exchange)))
            if known is None:
                known = self.shared[venue, id(internal), id(exchange)] = self._share(
                    venue, account_id, internal, exchange
                )
            feeds, terms = known
            account = Account(account_of(venue, account_id), feeds, (internal, exchange), terms)
            account.heard = self.heard.setdefault(venue, (set(), set()))
            self.accounts[venue, account_id] = account
            self.by_name[account.name] = account
            if self.opened is not None:
                self.opened(account)
        return account

    def _share(
        self, venue: str, account_id: str, internal: FeedContract, exchange: FeedContract
    ) -> tuple[Feeds, Terms]:
        """What accounts of a venue under these contracts have in common."""
        clocks = self.clock("fills", venue, account_id, internal), self.clock("fills", venue, account_id, exchange)
        promises = internal.fills, exchange.fills
        self.pairs[clocks] = None
        feeds = self.feeds.setdefault((*clocks, *promises), Feeds(clocks, promises))
        return feeds, terms_of(internal, exchange)

    def named(self, name: str) -> Account:
        """The account of a name (venue|account_id), known or new."""
        return self.by_name.get(name) or self.account(*name.split("|", 1))

    def of_key(self, key: str) -> Account:
        """The account of a trade key."""
        return self.named(key.split("\x1f", 1)[0])

    def clock(self, stream: Stream, venue: str, account_id: str, contract: FeedContract) -> Clock:
        """The clock of a feed, known or new."""
        clock = self.clocks.get((contract.origin, stream, venue, contract.sources))
        if clock is None:
            clock = self.clocks[contract.origin, stream, venue, contract.sources] = Clock(
                stream, venue, account_id, contract
            )
            known = self.sources[contract.origin, stream]
            if contract.sources is None:
                for source in known.values():
                    if venue in source.venues:
                        clock.join(source)
            else:
                for name in contract.sources:
                    clock.join(known.setdefault(name, Source(name)))
            clock.refresh()
        return clock

    def source(self, origin: Origin, stream: Stream, name: str, venue: str | None) -> Source:
        """The source, known or new, as one that speaks for `venue`."""
        source = self.sources[origin, stream].setdefault(name, Source(name))
        if venue is None and name.startswith(f"{origin}|"):
            venue = name.split("|", 1)[1]
        if venue is not None and venue not in source.venues:
            source.venues.add(venue)
            for clock in self.clocks.values():
                if clock.contract.sources is None and (clock.origin, clock.stream, clock.venue) == (
                    origin,
                    stream,
                    venue,
                ):
                    clock.join(source)
        return source
