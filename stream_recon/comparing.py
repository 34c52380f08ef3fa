"""Comparing lines of both origins by a run's strategy, wherever they come from: what runs without Kafka are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream_recon.core.lane import Lane
from stream_recon.core.runs import Restriction, Tape, find, watermarks
from stream_recon.core.trades import Rules
from stream_recon.domain.decode import Rejected
from stream_recon.domain.events import ORIGINS, STREAMS, Heartbeat, Origin, Stream
from stream_recon.domain.work import Partial
from stream_recon.files import ANY_TIME_US, BadLine, Heard, batches_of, beat_batch

if TYPE_CHECKING:
    from collections.abc import Collection

    from stream_recon.domain.contracts import Contracts
    from stream_recon.domain.discrepancies import Thresholds
    from stream_recon.domain.instruments import Instruments
    from stream_recon.domain.results import Scope
    from stream_recon.files import Line
    from stream_recon.strategies.registry import Strategy


class Comparison:
    """Lines go in, in the order of each origin's log; what they come to at a cut comes out."""

    def __init__(  # noqa: PLR0913, PLR0917 - what a comparison is done by
        self, strategy: Strategy, accounts: Collection[str] | None, contracts: Contracts, instruments: Instruments,
        thresholds: Thresholds, window_us: int,
    ) -> None:  # fmt: skip
        self._window_us = window_us if "net_change" in strategy.identities else 0
        rules = Rules(
            horizon_us=ANY_TIME_US, thresholds=thresholds, instruments=instruments, idle_fills_kept=None,
            window_us=self._window_us,
        )  # fmt: skip
        self._strategy = strategy
        self._lane = Lane(None, contracts.read_of(strategy.streams), rules)
        self._restriction = Restriction(accounts, contracts)
        self.heard = Heard(contracts)
        self._tapes: dict[str, Tape] = {}
        self._names: dict[Origin, str] = {}
        self.rejected: list[BadLine] = []
        """Lines that could not be understood."""
        self.lines = 0
        self.steps = 0
        """Packs that were stepped over."""
        self._read = 0
        """Lines of the streams that the strategy needs."""

    @property
    def accounts(self) -> set[str]:
        """The accounts that were looked at."""
        return set(self._lane.directory.by_name)

    @property
    def counts(self) -> dict[str, int]:
        """Records by what became of them."""
        return self._lane.counts

    @property
    def unconfirmed(self) -> dict[str, int]:
        """How many positions and balances moved after the last snapshot of them."""
        return dict(self._lane.books.unconfirmed())

    def add(self, name: str, pack: list[Line]) -> None:
        """Step over some lines of one log."""
        tape = self._tapes.setdefault(name, Tape(name, 0, 1))
        numbered = {line.number: line for line in pack}  # a heartbeat that vouches for several streams is one line
        for number in sorted(numbered):
            tape.add(number, 0, None, numbered[number].value)
        self.lines += len(numbered)
        self.steps += 1
        self._read += len({line.number for line in pack if line.stream in self._strategy.streams})
        for line in pack:
            if isinstance(line.event, Rejected):
                self.rejected.append(BadLine(name, line.number, line.event.reason, line.event.detail))
            self.heard.add(line)
            self._names[line.origin] = name
        for batch in batches_of(name, pack):
            if batch.stream in self._strategy.streams:
                self._lane.step(self._restriction.apply(batch))
        self._lane.drain()

    def close(self) -> None:
        """Say that nothing follows: what each log promises is complete, and all in it falls due."""
        # A window is judged with the one after it, so what it waits for lies up to two windows ahead.
        for beyond_us in sorted({0, self._window_us, 2 * self._window_us}):
            for stream, beat in self.heard.closing(self.heard.patience_us + beyond_us):
                self._beat(stream, beat)
        ended = {(origin, stream): ANY_TIME_US for origin in ORIGINS for stream in STREAMS}
        for _, stream, beat in self._lane.trusted_heartbeats(ended):
            self._beat(stream, beat)
        self._lane.tick({place: us for place, us in ended.items() if place[1] in self._strategy.streams})

    def _beat(self, stream: Stream, beat: Heartbeat) -> None:
        if stream in self._strategy.streams:
            self._lane.step(beat_batch(stream, beat, self._names))

    def partial(self, run_id: str, scope: Scope, *, pending: bool, notify: bool) -> Partial:
        """What stands at the cut."""
        self._lane.tick({})
        self._lane.drain()
        found = find(self._lane, scope, self._strategy.streams, self._strategy.type, pending=pending)
        if not notify:
            for discrepancy in found.discrepancies:
                discrepancy.notify = False
            for condition in found.conditions:
                condition.notify = False
        far = watermarks(self._lane)
        cuts = []
        for name, tape in sorted(self._tapes.items()):
            origins = [origin for origin, of in self._names.items() if of == name]
            cuts.append(
                tape.cut(
                    {
                        f"{stream} {source}": us
                        for (origin, stream), sources in far.items()
                        if origin in origins
                        for source, us in sources.items()
                    }
                )
            )
        counts = self._lane.counts
        counts["consumed"] = self._read  # without what we said ourselves
        return Partial(
            run_id=run_id, partition=0, discrepancies=found.discrepancies, conditions=found.conditions,
            unsettled=found.unsettled, topics=cuts, counts=counts | found.verdicts, pending=found.pending,
            reported=list(found.reported),
        )  # fmt: skip
