"""What a run found, taken into the lifecycle of the partition's owner, the only one who writes versions.

The records are the same, and so are the rules; so within its horizon the stream lane has come to the same conclusions
by itself, or it will. What it cannot know it takes from the run (`ADOPTED`): the alert is then the run's, and only a
run that covers it and does not find it any more clears it, or the stream lane takes it over by finding it too. Where
both have judged and disagree, one of them is wrong: that is an incident of ours and no discrepancy of the trader's, so
nothing is published, and it is counted and named in the answer. So stream and runs never open and close in turns.

*Within its own horizon* means of a finding, in this order:

1. The stream lane holds the alert itself (open, acknowledged, or resolved by a person): it says so (`AGREED`).
2. It has closed that alert and the finding rests on nothing newer: it has judged otherwise, whatever the age. But where
   a record may have closed it that the run has not read, for it came later than its contract allows or the stream lane
   has read on, it is over (`OVER`).
3. It says that this cannot be known: an absence in doubt, a record that came beyond the horizon, a comparison that
   cannot be made. It has not judged.
4. It keeps no books by which it could judge, or the event lies further than the horizon behind the newest of the
   watermarks that the conclusion reads: what belongs to it may be forgotten. It cannot judge.
5. The time that the watermarks have to pass has not been passed, or it has not read as far as the run: it has not
   judged yet (`AWAITED`), and will say so itself.
6. Everything else it has read and remembers, and it found nothing wrong: it has judged otherwise (`DISAGREED`).

The other way round it disagrees with a run that does not find what it holds open itself, where the run covers all of
that: the event, the interval and every record of its evidence lie within the scope, and none lies beyond where the run
stopped.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, NamedTuple

from stream_recon.core.account_book import AGENDAS, agenda_of
from stream_recon.core.books import subject_of
from stream_recon.core.errands import Part
from stream_recon.core.newest import unpack
from stream_recon.core.runs import covers
from stream_recon.core.scope import standing
from stream_recon.core.watermarks import UNKNOWN_US
from stream_recon.domain.discrepancies import STREAMED, Discrepancy, by_run
from stream_recon.domain.events import account_of
from stream_recon.domain.work import FindingsAnswer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from stream_recon.core.accounts import Account
    from stream_recon.core.lane import Lane
    from stream_recon.domain.results import Scope
    from stream_recon.domain.work import FindingsItem

View = Literal["AGREED", "ADOPTED", "AWAITED", "OVER", "DISAGREED"]
MOST_PARTS = 100_000
_AMOUNT = re.compile(r"-?[0-9]{1,200}(\.[0-9]{1,200})?")
LISTED = 1_000
"""So many ids of disagreements an answer names."""


class Disagreement(NamedTuple):
    """Where a run and the stream came to different conclusions."""

    direction: Literal["run_only", "stream_only"]
    alert_id: str


def check(item: FindingsItem) -> None:
    """See that an item can be taken.

    Raises:
        ValueError: it cannot; says why.
    """
    if not 1 <= item.part <= item.parts <= MOST_PARTS:
        raise ValueError(f"part {item.part} of {item.parts} cannot be")
    for finding in item.findings:
        if finding.account != account_of(finding.venue, finding.account_id):
            raise ValueError(f"finding {finding.alert_id}: {finding.account} is not the account that it names")
        for part in finding.split:
            if not _AMOUNT.fullmatch(part.amount):
                raise ValueError(f"finding {finding.alert_id}: {part.amount!r} is no amount")


class Place(NamedTuple):
    """Where the stream lane is when it hears of a run."""

    behind: bool
    """It has not read some of what the run has."""
    ahead: bool
    """It may have read what the run has not."""
    closed: set[str]
    """Ids that it has closed and of which it knows nothing more."""


def _place(lane: Lane, item: FindingsItem, reached: Mapping[str, int]) -> Place:
    register = lane.register
    return Place(
        behind=any(reached.get(topic, 0) < end for topic, end in item.ends.items()),
        ahead=not item.ends or any(reached.get(topic, 0) > end for topic, end in item.ends.items()),
        closed={name for names in register.retiring.values() for name in names if name not in register.newest},
    )


def take_part(
    lane: Lane, item: FindingsItem, reached: Mapping[str, int]
) -> tuple[list[FindingsAnswer], list[Disagreement]]:
    """Adopt what one part of a run's findings says; with the last part clear what the run no longer finds.

    `reached`: by source topic, the first offset that the lane has not read.
    """
    if item.type in STREAMED:
        reason = f"{item.type} is the stream's own: its findings are there already"
        return [FindingsAnswer(run_id=item.run_id, partition=lane.partition or 0, reason=reason)], []
    lane.register.quiet = not item.notify
    try:
        return _take_part(lane, item, reached)
    finally:
        lane.register.quiet = False


def _take_part(
    lane: Lane, item: FindingsItem, reached: Mapping[str, int]
) -> tuple[list[FindingsAnswer], list[Disagreement]]:
    place = _place(lane, item, reached)
    views: dict[View, list[str]] = {"AGREED": [], "ADOPTED": [], "AWAITED": [], "OVER": [], "DISAGREED": []}
    for finding in item.findings:
        view = view_of(lane, finding, place)
        views[view].append(finding.alert_id)
        if view == "ADOPTED":
            finding.strategy = item.type
            lane.register.assert_open(finding)
    found = [Disagreement("run_only", name) for name in views["DISAGREED"]]
    part = Part(
        item.run_id, item.part, item.parts, [finding.alert_id for finding in item.findings], len(views["ADOPTED"]),
        len(views["AGREED"]), len(views["AWAITED"]), tuple(views["DISAGREED"]),
    )  # fmt: skip
    parts = lane.errands.gather(part)
    answers = []
    if parts is not None:
        names = {name for each in parts for name in each.found}
        cleared = _clear(lane, item.scope, names) if item.settled else 0
        missed = list(_missed(lane, item, names)) if item.settled and not place.behind else []
        found += [Disagreement("stream_only", name) for name in missed]
        answers.append(_answer(lane, parts, cleared, missed))
    given_up = lane.errands.give_up()
    if given_up is not None:
        reason = "parts of it never came, and others wait: nothing was cleared"
        answers.append(FindingsAnswer(run_id=given_up, partition=lane.partition or 0, reason=reason))
    return answers, found


def _answer(lane: Lane, parts: list[Part], cleared: int, missed: list[str]) -> FindingsAnswer:
    disagreements = [*(name for part in parts for name in part.disagreements), *missed]
    return FindingsAnswer(
        run_id=parts[0].run_id,
        partition=lane.partition or 0,
        adopted=sum(part.adopted for part in parts),
        cleared=cleared,
        agreed=sum(part.agreed for part in parts),
        awaited=sum(part.awaited for part in parts),
        disagreed=len(disagreements),
        disagreements=disagreements[:LISTED],
    )


def _clear(lane: Lane, scope: Scope, found: set[str]) -> int:
    """Clear what an earlier run found in that scope, and this one did not; gives how many."""
    gone = [
        kept.alert_id
        for kept in lane.register.newest.discrepancies()
        if kept.by_run and kept.status != "CLEARED" and kept.alert_id not in found and covers(scope, unpack(kept))
    ]
    known_us = max((feeds.known_us() for feeds in lane.directory.feeds.values()), default=UNKNOWN_US)
    for alert_id in gone:
        lane.register.clear(alert_id)
        lane.register.retire_later(alert_id, known_us)
    return len(gone)


def _missed(lane: Lane, item: FindingsItem, found: set[str]) -> Iterator[str]:
    """What the stream lane holds open, and the run would have found."""
    for alert in standing(lane.register.newest, item.scope):
        if not by_run(alert) and alert.alert_id not in found and _rests_within(item, alert):
            yield alert.alert_id


def _rests_within(item: FindingsItem, alert: Discrepancy) -> bool:
    """Whether a run has read all that an alert rests on, and nothing of it lies before what it looked at."""
    since_us = item.scope.from_us
    if alert.interval is not None and alert.interval.from_us < since_us:
        return False
    for evidence in alert.evidence:
        ts_us = evidence.record.get("ts_us")
        if not isinstance(ts_us, int) or ts_us < since_us:
            return False
        end = item.ends.get(evidence.topic or "")
        if end is not None and evidence.offset is not None and evidence.offset >= end:
            return False
    return True


# -- how the stream lane sees a finding -------------------------------------------------------------------------------


def view_of(lane: Lane, finding: Discrepancy, place: Place) -> View:
    """What the stream lane says to a finding of a run; see above."""
    known = lane.register.newest.get(finding.alert_id)
    if isinstance(known, Discrepancy) and not by_run(known):
        if known.status != "CLEARED":
            return "AGREED"
        if known.late or place.ahead:
            return "OVER"
        if finding.event_us <= known.event_us:
            return "DISAGREED"
    elif finding.alert_id in place.closed:
        return "DISAGREED"
    account = _account(lane, finding)
    if account is None:
        return "AWAITED"
    if finding.identity in {"order", "position", "balance"}:
        view = _view_of_books(lane, account, finding)
    else:
        view = _view_of_fills(lane, account, finding)
    return "AWAITED" if place.behind and view == "DISAGREED" else view


def _account(lane: Lane, finding: Discrepancy) -> Account | None:
    """Its account; None: of that venue nothing was ever heard."""
    account = lane.directory.by_name.get(finding.account)
    if account is None and any(venue == finding.venue for _, _, venue, _ in lane.directory.clocks):
        return lane.directory.account(finding.venue, finding.account_id)
    return account


def _view_of_fills(lane: Lane, account: Account, finding: Discrepancy) -> View:
    """Fills, and the net changes that they come to, are judged when both of their feeds have passed."""
    key = f"{account.name}\x1f{finding.instrument}\x1f{finding.trade_id}\x1f{finding.side}"
    case = lane.book.cases.get(key)
    in_doubt = key in account.parked or (case is not None and case.beyond_horizon)
    if in_doubt or (finding.identity == "net_change" and not lane.windows.length_us):
        return "ADOPTED"
    newest_us = max(clock.watermark_us for clock in account.clocks)
    if finding.event_us < newest_us - lane.book.horizon_us:
        return "ADOPTED"
    return "AWAITED" if finding.due_us > account.feeds.known_us() else "DISAGREED"


def _view_of_books(lane: Lane, account: Account, finding: Discrepancy) -> View:
    """Orders, positions, balances and ledgers are judged when all topics that they read have passed."""
    book, subject = account.book, subject_of(finding)
    if book is None or subject in book.unknown:
        return "ADOPTED"
    agenda = agenda_of(subject)
    clocks = book.promises.waited_for(AGENDAS[agenda])
    newest_us = max((clock.watermark_us for clock in clocks), default=UNKNOWN_US)
    if finding.event_us < newest_us - lane.books.rules.horizon_us:
        return "ADOPTED"
    waits = finding.due_us > book.barrier(agenda) or subject[1:] in book.scheduled_orders
    return "AWAITED" if waits else "DISAGREED"
