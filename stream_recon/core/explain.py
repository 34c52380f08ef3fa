"""Why a discrepancy is one, or why nothing can be said: the reasoning behind an alert, in sentences.

A pure function of the alert and the newest states of all others. Contracts are named in numbers where they are given;
without them only what the alert itself tells is said.
"""

from __future__ import annotations

from decimal import Decimal
from functools import reduce
from typing import TYPE_CHECKING, Literal, NamedTuple

from stream_recon.core.relations import causes, chain, consequences
from stream_recon.core.wording import (
    MISSING,
    about,
    against,
    between,
    clock,
    counted,
    duration,
    handling_of,
    headline,
    lacking,
    place,
    record_words,
    short_id,
    sides,
    signed,
    unit,
)
from stream_recon.domain.amounts import EXACT, plain, to_decimal
from stream_recon.domain.corrections import corrected_by, is_corrector
from stream_recon.domain.discrepancies import Discrepancy, FeedCondition
from stream_recon.domain.events import ORIGINS
from stream_recon.domain.lifecycle import STANDING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from stream_recon.domain.contracts import Contracts
    from stream_recon.domain.discrepancies import Alert, Evidence, Handling, Reason, SplitName
    from stream_recon.domain.events import Origin

Topic = Literal["what it is", "what was compared", "what was said", "since when it is known", "why it is a break",
                "the residual", "what it follows from", "what follows from it", "what was done about it",
                "why nothing can be said", "what ends it"]  # fmt: skip
_RECORDS_SHOWN = 12
_LINKS_SHOWN = 20


class Passage(NamedTuple):
    """Sentences about one thing."""

    about: Topic
    sentences: list[str]


def explain(
    alert: Alert, states: Mapping[str, Alert], contracts: Contracts | None = None, *, files: bool = False
) -> list[Passage]:  # fmt: skip
    """The reasoning behind an alert. `states`: the newest state of all alerts, by id; `files`: they were compared."""
    if isinstance(alert, FeedCondition):
        passages = _condition(alert, contracts, files=files)
    else:
        passages = [
            Passage("what it is", list(_introduced(alert))),
            Passage("what was compared", [_RULES[alert.identity, _rule(alert)], *_promises(alert, contracts)]),
            Passage("what was said", list(_said(alert))),
            Passage("since when it is known", list(_known(alert))),
            Passage("why it is a break", list(_reasons(alert, states))),
            Passage("the residual", list(_residual(alert, states))),
            Passage("what it follows from", list(_chain(alert, states))),
            Passage("what follows from it", list(_consequences(alert, states))),
            Passage("what was done about it", list(_done(alert))),
            Passage("what ends it", list(_end(alert, states))),
        ]
    return [passage for passage in passages if passage.sentences]


# -- what it is, what was compared ------------------------------------------------------------------------------------


def _introduced(alert: Alert) -> Iterator[str]:
    if isinstance(alert, FeedCondition):
        what, of = f"feed condition {alert.reason}", f" of account {alert.account}" if alert.account else ""
    else:
        what, of = f"{alert.identity.replace('_', ' ')} discrepancy", f" in account {alert.account}"
    status = alert.status.lower()
    a = "an" if status[0] in "aeiou" else "a"
    named = f"{short_id(alert.alert_id)} is {a} {status} {what} ({alert.severity}){of}"
    yield f"{named}: {headline(alert)}, {about(alert)}."
    yield _sentence(alert.cause)
    if isinstance(alert, Discrepancy) and alert.interval is not None:
        moved = "The window lies" if alert.identity == "net_change" else "Something moved unseen"
        yield f"{moved} {between(alert.interval)} UTC."
    if alert.status == "CLEARED":
        yield "It holds no longer; what follows tells how it was when it last did."
    elif alert.status == "RESOLVED":
        yield "It is settled, and not gone: what follows still holds."
    if alert.reopened:
        yield f"It has come back {_times(alert.reopened)} after it was gone or settled."


Rule = Literal["pair", "copies", "fills", "own", "cross", "parts", "entries"]

_RULES: dict[tuple[str, Rule], str] = {
    ("trade", "pair"): (
        "Each fill of one side must have its counterpart on the other, by account, instrument, trade id and side, with"
        " the same quantity, price, fee, fee asset and position side; corrections and busts are folded in first."
    ),
    ("trade", "copies"): "A fill that is sent again must say the same as before, unless it is sent as a correction.",
    ("order", "pair"): (
        "Both sides must agree on status, quantity and filled quantity of each order; of several updates the one with"
        " the most filled counts, whatever came last."
    ),
    ("order", "fills"): "The live fills of an order must add up to the filled quantity that its reports give.",
    ("position", "pair"): "Where both sides report a position, they must report the same one.",
    ("position", "own"): (
        "From one snapshot of a position to the next, the earlier one and the signed fills between must make the later."
    ),
    ("position", "cross"): (
        "From one snapshot of the exchange to the next, the earlier one and the fills in our own books must make the"
        " later: our books have to explain the venue's position."
    ),
    ("balance", "pair"): "Where both sides report a balance, they must report the same one.",
    ("balance", "own"): (
        "From one snapshot of a balance to the next, the earlier one and the movements between (ledger entries, and"
        " fills where the ledger leaves trades out) must make the later."
    ),
    ("balance", "cross"): (
        "From one snapshot of the exchange to the next, the earlier one and the movements in our own books must make"
        " the later: our books have to explain the venue's balance."
    ),
    ("balance", "parts"): "In each balance that gives them, what is free and what is locked must be the total.",
    ("balance", "entries"): (
        "Each ledger entry of one side must have its twin on the other: by ledger id or reference, else by asset,"
        " amount, reason and a time within the grace; twins must agree on asset and amount."
    ),
    ("net_change", "pair"): (
        "Over each window the net change must be the same on both sides, whatever records it is made of."
    ),
}


def _rule(alert: Discrepancy) -> Rule:
    if alert.ledger_id is not None:
        return "entries"
    rules: dict[str, Rule] = {"copies": "copies", "fills": "fills", "own": "own", "cross": "cross", "parts": "parts"}
    rule = rules.get(against(alert), "pair")
    return rule if (alert.identity, rule) in _RULES else "pair"


_RESTS_ON: dict[str, tuple[str, ...]] = {
    "trade": ("fills",), "order": ("orders", "fills"), "position": ("positions", "fills"),
    "balance": ("balances", "ledger", "fills"), "net_change": ("fills",),
}  # fmt: skip


_BY_DEFAULT = {"fills": "complete", "orders": "complete"}


def _promises(alert: Discrepancy, contracts: Contracts | None) -> Iterator[str]:
    absent, rule = lacking(alert), _rule(alert)
    if rule in {"copies", "parts"}:
        yield "No promise is needed for that: what is compared came from one side and has come."
        return
    if absent is not None:
        what = {"trade": "fills", "order": "orders"}.get(alert.identity, "ledger entries")
        yield f"It rests on the promise of {absent} to send all its {what}."
    elif rule in {"own", "cross"}:
        moves = "fills" if alert.identity == "position" else "movements"
        yield f"It rests on the promise that all {moves} of that time are sent; without it a residual proves nothing."
    else:
        yield "It rests on the promise of both sides to send what changes it, each in its time."
    if contracts is None:
        return
    of_ledgers = rule == "entries" or (alert.identity == "net_change" and alert.asset is not None)
    classes = ("ledger",) if of_ledgers else _RESTS_ON[alert.identity]
    for origin in ORIGINS if absent is None else (absent,):
        contract = contracts.of(origin, alert.venue, alert.account_id)
        said = ", ".join(f"{name} {getattr(contract, name) or _BY_DEFAULT.get(name, 'partial')}" for name in classes)
        within, grace = duration(contract.order_within_us), duration(contract.grace_us)
        yield f"The contract of {origin} says: {said}; at most {within} out of order, {grace} of grace."


# -- what was said ----------------------------------------------------------------------------------------------------


def _said(alert: Discrepancy) -> Iterator[str]:
    for evidence in alert.evidence[:_RECORDS_SHOWN]:
        yield _record(evidence)
    if len(alert.evidence) > _RECORDS_SHOWN:
        yield f"And {len(alert.evidence) - _RECORDS_SHOWN} more records."
    absent = lacking(alert)
    if absent is not None:
        yield _sentence(f"{absent} busted it" if _is_busted(alert) else f"{absent} says nothing of it")
        return
    ours, theirs = sides(alert)
    for field in alert.fields:
        text = f"In {field.field} they differ: {ours} {field.internal or 'nothing'}, {theirs}"
        yield f"{text} {field.exchange or 'nothing'}{_difference(field.difference, ours, theirs)}."


def _difference(difference: str | None, ours: str, theirs: str) -> str:
    return f"; {ours} - {theirs} = {difference}" if difference is not None else ""


def _record(evidence: Evidence) -> str:
    record = evidence.record
    ts_us = record.get("ts_us")
    at = f" at {clock(ts_us, date=True)} UTC" if isinstance(ts_us, int) else ""
    what = str(record.get("type") or "record").replace("_", " ")
    key = "trade_id" if what in {"fill", "record"} else "ledger_id"
    named = f" {record[key]}" if record.get(key) else ""
    where = f"in the log at {place(evidence)}" if evidence.partition is not None else place(evidence)
    return _sentence(f"{evidence.origin} says{at}: {what}{named}, {record_words(record)} ({where})")


def _is_busted(alert: Discrepancy) -> bool:
    """Whether the side that lacks the fill had it once."""
    return alert.kind in MISSING and any(evidence.origin == lacking(alert) for evidence in alert.evidence)


def _known(alert: Discrepancy) -> Iterator[str]:
    waited_us = alert.due_us - alert.event_us
    newest = f"the newest record that it rests on, of {clock(alert.event_us, date=True)}"
    if waited_us <= 0:
        yield f"It could be said at once, with {newest} UTC: nothing had to be waited for."
    else:
        yield (
            f"It could be said once {_feeds(alert)} known up to {clock(alert.due_us, date=True)} UTC:"
            f" {duration(waited_us)} after {newest}."
        )
        yield "Known means by the feeds' own events and heartbeats; no clock of ours plays a part."
    if alert.late:
        yield "A record has come later than its contract allows."


def _feeds(alert: Discrepancy) -> str:
    """Which feeds had to be known, and the verb for them."""
    absent, who = lacking(alert), alert.compared.partition(":")[0]
    if alert.kind in MISSING and not _is_busted(alert):
        return f"the fills of {absent} were"
    if alert.kind == "ledger_missing" and absent is not None:
        return f"the balances topic of {absent} was"
    return {
        "fills": f"the orders of {who} and the fills were",
        "own": f"the snapshots of {who} and all that moves them were",
        "cross": "the snapshots of the exchange and our own movements were",
        "parts": f"the snapshots of {who} were",
    }.get(against(alert), {"trade": "the fills of both sides were", "order": "the orders of both sides were"}.get(
        alert.identity, "both sides were"))  # fmt: skip


def _may_be(state: Alert, alert: Discrepancy, absent: Origin) -> bool:
    """Whether it tells of unreadable records of nobody, of which one may be what seems to be missing."""
    partitions = {evidence.partition for evidence in alert.evidence}
    return (
        isinstance(state, FeedCondition)
        and (state.reason, state.origin, state.account) == ("SCHEMA_ERROR", absent, None)
        and state.status in STANDING
        and (None in partitions or state.partition in partitions)
    )


def _reasons(alert: Discrepancy, states: Mapping[str, Alert]) -> Iterator[str]:
    absent, rule = lacking(alert), _rule(alert)
    if alert.kind == "duplicate_conflict":
        yield "Both copies are there, and no correction says which one holds; so no copy is believed."
        return
    if rule == "parts":
        yield "One record says all three amounts; whatever else may come cannot make them add up."
        return
    if _is_busted(alert):
        yield "A correction of either side had its time to come, and did not."
        return
    if absent is not None:
        yield (
            f"By then {absent} had delivered everything of that time, by its own word; and nothing of that time is"
            " known to be lost: no hole in its numbering, no record of this account that could not be read. So it is"
            " absent, not late."
        )
        for state in states.values():
            if _may_be(state, alert, absent):
                yield (
                    f"But {short_id(state.alert_id)} tells of records of {absent} that could not be read and name no"
                    " account: it may be one of them."
                )
        return
    if rule in {"own", "cross"}:
        moves = "fills" if alert.identity == "position" else "movements"
        yield (
            f"A residual is a claim that no {moves[:-1]} is missing; it holds here because all {moves} of the interval"
            " are promised and delivered, with no hole in their numbering and none of unknown kind."
        )
        if alert.interval is not None:
            yield (
                "It belongs to the interval in which the residual changed; later snapshots with the same one are no new"
                " breaks."
            )
        return
    yield "What would make them agree had its time to come, on either side, and did not; so it is no delay."


# -- the residual, and what hangs together ----------------------------------------------------------------------------


def _residual(alert: Discrepancy, states: Mapping[str, Alert]) -> Iterator[str]:
    if alert.residual is None:
        return
    count = unit(alert)
    of = "exchange minus internal" if against(alert) == "exchange" else "what was reported minus what is explained"
    yield f"The residual is {signed(alert.residual)}{count}: {of}."
    parts = [part for part in alert.split if to_decimal(part.amount)]
    for part in parts:
        named = f": {_list(part.causes, states)}" if part.causes else ""
        yield f"Of it {signed(part.amount)}{count} {_PART[part.name]}{named}."
    rest = left_over(alert)
    if alert.split and not rest:
        yield "Nothing of it is left unexplained."
    elif alert.split and len(parts) == 1 and parts[0].name == "unexplained":
        yield "So all of it is open."


_PART: dict[SplitName, str] = {
    "known_causes": "follows from discrepancies of single records that are known by themselves",
    "fees": "is fees that one side counts and the other does not",
    "pending": "may still be on its way: records inside their grace, or in flight",
    "rounding": "is rounding, within the tolerance or the precision of the venue",
    "unexplained": "is explained by nothing that is known",
}


def left_over(alert: Discrepancy) -> Decimal:
    """How much of the residual nothing explains; all of it where it was not split."""
    if not alert.split:
        return to_decimal(alert.residual or "0")
    unexplained = [to_decimal(part.amount) for part in alert.split if part.name == "unexplained"]
    return reduce(EXACT.add, unexplained, Decimal(0))


def _list(ids: list[str], states: Mapping[str, Alert]) -> str:
    return ", ".join(_named(each, states) for each in ids)


def _named(alert_id: str, states: Mapping[str, Alert]) -> str:
    """An alert in a few words."""
    state = states.get(alert_id)
    if state is None:
        return f"{short_id(alert_id)} (of which nothing is kept here)"
    status = "" if state.status == "OPEN" else f", {state.status.lower()}"
    return f"{short_id(alert_id)} ({about(state)}: {headline(state)}{status})"


def _chain(alert: Discrepancy, states: Mapping[str, Alert]) -> Iterator[str]:
    links = list(chain(alert, states))
    for link in links[:_LINKS_SHOWN]:
        who = "It" if link.effect == alert.alert_id else short_id(link.effect)
        state = states.get(link.cause)
        why = f": {state.cause}" if state is not None else ""
        yield f"{who} follows from {_named(link.cause, states)}{why}."
    yield from _more(len(links))
    if links and alert.residual is not None and (rest := left_over(alert)):
        yield f"That does not explain all: {signed(plain(rest))}{unit(alert)} is left."
    elif links and not alert.notify:
        yield "As its cause is reported by itself, nobody is paged for this one."


def _consequences(alert: Alert, states: Mapping[str, Alert]) -> Iterator[str]:
    links = consequences(alert.alert_id, states)
    for link in links[:_LINKS_SHOWN]:
        above = "it" if link.cause == alert.alert_id else short_id(link.cause)
        yield f"{_named(link.effect, states)} follows from {above}."
    yield from _more(len(links))


def _more(number: int) -> Iterator[str]:
    if number > _LINKS_SHOWN:
        yield f"And {number - _LINKS_SHOWN} more."


# -- what was done about it -------------------------------------------------------------------------------------------


def _done(alert: Alert) -> Iterator[str]:
    handling = handling_of(alert)
    if handling is None:
        return
    yield from _settled(handling)
    if handling.acknowledged_by:
        yield _sentence(f"{handling.acknowledged_by} acknowledged it")
    if handling.assignee:
        yield _sentence(f"it is assigned to {handling.assignee}")
    if handling.suppressed_until_us is not None:
        yield f"Nobody is notified of it until {clock(handling.suppressed_until_us, date=True)} UTC."
    if is_corrector(handling.by):
        return
    if handling.comment:
        yield f'The newest comment is "{handling.comment}".'
    if handling.by not in {handling.resolved_by, handling.acknowledged_by}:
        yield _sentence(f"the newest of this was done by {handling.by}")


def _settled(handling: Handling) -> Iterator[str]:
    """Who settled it."""
    corrected = corrected_by(handling)
    if corrected:
        yield f"The correcting entry {corrected} stands for the difference; no record was changed."
        yield f"`stream-recon undo {corrected}` takes it back: then it counts again."
    elif corrected is not None:
        yield "A correcting entry stands for the difference; no record was changed. Its history names the entry."
    elif is_corrector(handling.by):
        yield "A correcting entry settled it before; now it counts again."
    elif handling.resolved_by:
        yield _sentence(f"{handling.resolved_by} resolved it; no record was changed")


# -- what ends it -----------------------------------------------------------------------------------------------------


def _ended(alert: Alert) -> Iterator[str]:
    yield f"It has ended: {alert.status.lower()}."
    if alert.status == "RESOLVED":
        yield "It counts again when what is found differs in substance, or when a person opens it again."


def _end(alert: Discrepancy, states: Mapping[str, Alert]) -> Iterator[str]:
    if alert.status not in STANDING:
        yield from _ended(alert)
        return
    standing = [c for c in causes(alert) if c not in states or states[c].status in STANDING]
    if standing:
        rest = left_over(alert) if alert.residual is not None else Decimal(0)
        part = f", but for {signed(plain(rest))}{unit(alert)}" if rest else ""
        named = " and ".join(map(short_id, standing))
        ends = "ends" if len(standing) == 1 else "end"
        yield f"When {named} {ends}, so does this{part}: look there first."
        if not rest:
            return
    ends = _BUST_ENDS if _is_busted(alert) else _END[alert.kind, _rule(alert)]
    if alert.kind == "order_mismatch" and lacking(alert) is not None:
        ends = "It ends when {who} reports this order, even late."
    if standing:
        ends = ends.replace("It ends", "The rest ends", 1)
    yield ends.format(who=_who(alert), other=_other(alert))


def _who(alert: Discrepancy) -> Origin | str:
    """Who can end it: the origin that lacks something, or that alone is looked at."""
    return lacking(alert) or alert.compared.partition(":")[0]


def _other(alert: Discrepancy) -> str:
    who = _who(alert)
    return ORIGINS[1 - ORIGINS.index(who)] if who in ORIGINS else "the other side"


_MISSING_ENDS = "It ends when {who} sends this fill, even late (it is then marked late), or when {other} busts it."
_BUST_ENDS = "It ends when {other} busts it too, or when {who} corrects what it busted."
_MOVES_END = (
    "It ends when the {what} that is missing comes, even late, with a time inside the interval; or when the one that is"
    " too many is {undone}."
)
_POSITION_ENDS = _MOVES_END.replace("{what}", "fill").replace("{undone}", "busted or corrected")
_BALANCE_ENDS = _MOVES_END.replace("{what}", "movement").replace("{undone}", "taken back")
_LEVELS = "It ends when the side that is wrong sends what it lacks, so that its own state becomes right."
_END: dict[tuple[str, Rule], str] = {
    ("missing_internal", "pair"): _MISSING_ENDS,
    ("missing_exchange", "pair"): _MISSING_ENDS,
    ("fill_mismatch", "pair"): "It ends when either side sends a correction after which both agree.",
    ("duplicate_conflict", "copies"): (
        "It ends when {who} sends a correction, which says which copy holds, or a bust of it."
    ),
    ("order_mismatch", "pair"): "It ends when the side that is behind sends the update that it lacks, even late.",
    ("order_mismatch", "fills"): (
        "It ends when the fills that are missing come, or those that are too many are busted, or when an update of the"
        " order says what they add up to."
    ),
    ("position_mismatch", "pair"): _LEVELS,
    ("position_mismatch", "own"): _POSITION_ENDS,
    ("position_mismatch", "cross"): _POSITION_ENDS,
    ("balance_mismatch", "pair"): _LEVELS,
    ("balance_mismatch", "own"): _BALANCE_ENDS,
    ("balance_mismatch", "cross"): _BALANCE_ENDS,
    ("balance_mismatch", "parts"): (
        "No later record changes what this one says: mend what {who} sends, and settle this one by hand."
    ),
    ("balance_mismatch", "entries"): (
        "Ledger entries have no corrections: the side that is wrong books the difference, and this one is settled by"
        " hand."
    ),
    ("ledger_missing", "entries"): "It ends when {who} sends this entry, even late.",
    ("net_change_mismatch", "pair"): (
        "It ends when the records that make the difference come, even late, with times inside the window."
    ),
}


# -- feed conditions --------------------------------------------------------------------------------------------------


class Doubt(NamedTuple):
    """What a feed condition means, as whole sentences."""

    meaning: str
    why: str
    """Why nothing can be said because of it."""
    ends: str
    mend: str
    """What somebody can do."""


REASONS: dict[Reason, Doubt] = {
    "STALE": Doubt(
        "The feed has been silent for longer than its contract allows, while the other side waits for it.",
        "Silence proves nothing: what has not been sent may still come, so nothing can be called missing.",
        "It ends by itself when the feed speaks again, be it with a heartbeat.",
        "See whether its source runs; one that is quiet by nature sends heartbeats, or has `silence: trust` in its"
        " contract.",
    ),
    "NEVER_SENT": Doubt(
        "The feed has never said anything here.",
        "A feed of which nothing is known cannot be accused: perhaps it is not connected at all.",
        "It ends by itself when the feed speaks, be it with a heartbeat.",
        "Connect it; or let its contract say `absent`, then the other side is taken at its word.",
    ),
    "SEQ_GAP": Doubt(
        "The numbering of its records (feed_seq) has a hole: some were sent and have not come.",
        "Whatever is absent at that time may be in the hole.",
        "It ends by itself when the records that are missing come, in whatever order.",
        "Have the source send the missing numbers again.",
    ),
    "CLOCK_SKEW": Doubt(
        "Its events are ahead of the time at which Kafka received them.",
        "An event ahead of time says nothing about how far its feed is; it vouches only up to Kafka's time.",
        "It ends by itself when Kafka's time catches up.",
        "Set the clock of the source or of the broker, by NTP; `stream-recon doctor` compares ours with the broker's.",
    ),
    "SCHEMA_ERROR": Doubt(
        "A record could not be read; its bytes are in the dead letter topic, with the reason.",
        "Whatever is absent at that time may be that record.",
        "It ends when the record is sent again, well-formed.",
        "Look at the dead letter topic, correct the sender, and send the record again.",
    ),
    "UNMAPPED_INSTRUMENT": Doubt(
        "An instrument has no kind in the table of instruments.",
        "What its fills do to balances is not known, so a residual that they may have made is no claim.",
        "It ends when its kind is known and the interval is judged again, or when the balances agree all the same.",
        "Add the instrument (spot, linear_perpetual, ...) to the instruments file.",
    ),
    "LOOKBACK_TRUNCATED": Doubt(
        "It began before the log begins: its opening, or its first records, are not kept.",
        "What is not seen from its beginning cannot be added up; what seems missing may be older than the log.",
        "It ends with the next opening: a snapshot, or an order whose beginning is seen.",
        "Have a snapshot sent; keep the topics longer.",
    ),
    "LATE_BEYOND_HORIZON": Doubt(
        "Records amend a trade that is not known, or came later than anything is remembered.",
        "A bust or correction counts only with what it amends; and what comes so late cannot be told from a repetition"
        " of what was agreed long ago.",
        "It does not end by itself; a reconciliation of that time from the log decides.",
        "See first whether what is amended is named rightly (ref_trade_id, beside account, instrument and side); else"
        " find out why the records came so late.",
    ),
    "SOURCE_FAILED": Doubt(
        "The source could not be read.",
        "What was not read proves nothing, neither by what it says nor by what it leaves out.",
        "It ends when it can be read again.",
        "See what failed; `stream-recon doctor` looks at the broker and the topics.",
    ),
    "PARTIAL": Doubt(
        "Records that it rests on are only partly sent: a contract says so, or no contract says otherwise.",
        "What is sent counts, what is not sent proves nothing: a difference may be a record that was never to come.",
        "It ends when both sides agree all the same, or when the contract promises these records completely.",
        "If the feed sends them all, let its contract say `complete`.",
    ),
    "ANCHOR_MISSING": Doubt(
        "A snapshot is the state before or after a fill, and that fill has never come.",
        "Without the fill it is not known to which moment the snapshot belongs.",
        "It ends by itself when the fill comes.",
        "The fill is probably reported as missing itself: look there first.",
    ),
    "AMBIGUOUS_OPENING": Doubt(
        "The first snapshot lies so near a movement that it may have been taken before or after it.",
        "Either it saw another moment than its time says, or a movement is missing; later snapshots fit both.",
        "It does not end by itself; what comes after is judged from the later snapshots on.",
        "Anchor snapshots to a fill, or take the first one at a quiet time.",
    ),
    "INCOMPLETE_SNAPSHOT": Doubt(
        "A snapshot announced another number of records than came.",
        "Only a complete snapshot proves that what it does not name is not there.",
        "It ends when the records come that belong to it; the next complete snapshot is judged anyway.",
        "See why its source lost a part of it.",
    ),
}


_FILES: dict[Reason, Doubt] = {
    "SCHEMA_ERROR": Doubt(
        "A line could not be read: which one and why is told beside the answer, in JSON as `rejected`.",
        "Whatever is absent at that time may be that record.",
        "It ends when the line is mended and the files are compared again.",
        "Correct whatever wrote the line.",
    ),
    "LATE_BEYOND_HORIZON": Doubt(
        "Records amend a trade that is not known.",
        "A bust or correction counts only with what it amends.",
        "It ends when what they amend is in the files too, or is named rightly, and the files are compared again.",
        "See whether it is named rightly: ref_trade_id, beside account, instrument and side.",
    ),
}
"""What is otherwise where files are compared: they have no dead letters, and in them nothing comes too late."""
_OF_ANYBODY = "It names no account, so it may be a record of any; what is missing is called missing all the same."


def _condition(alert: FeedCondition, contracts: Contracts | None, *, files: bool) -> list[Passage]:
    doubt = REASONS[alert.reason]
    if files and alert.stream == "fills":
        doubt = _FILES.get(alert.reason, doubt)
    known = f"The feed is known up to {clock(alert.since_us, date=True)}{' UTC' if alert.since_us >= 0 else ''}."
    if alert.since_us < 0:
        known = "Nothing is known of the feed."
    why = [doubt.why]
    if alert.reason == "SCHEMA_ERROR":
        if alert.account is None:
            why = [_OF_ANYBODY]
        if alert.since_us < 0:
            known = "Of what time it is cannot be told."
        why.append(f"{counted(alert.waiting, 'record')} could not be read.")
    elif alert.waiting:
        why.append(f"{counted(alert.waiting, 'record')} {'waits' if alert.waiting == 1 else 'wait'} to be judged.")
    if alert.account is None:
        why.append("It concerns every account of that feed on this partition, not one alone.")
    if contracts is not None and alert.reason == "STALE" and alert.account is not None:
        contract = contracts.of(alert.origin, *alert.account.split("|", 1))
        why.append(f"The contract of {alert.origin} allows {duration(contract.stale_after_us)} of silence.")
    ends = [doubt.ends, doubt.mend] if alert.status in STANDING else list(_ended(alert))
    return [
        Passage("what it is", [*_introduced(alert), doubt.meaning]),
        Passage("since when it is known", [known]),
        Passage("why nothing can be said", why),
        Passage("what was done about it", list(_done(alert))),
        Passage("what ends it", ends),
    ]


def _sentence(text: str) -> str:
    """With a capital and a full stop."""
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def _times(number: int) -> str:
    return {1: "once", 2: "twice"}.get(number, f"{number} times")
