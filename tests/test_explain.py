from __future__ import annotations

from typing import get_args

import msgspec
import pytest

from stream_recon.core.explain import REASONS, explain
from stream_recon.domain.contracts import Contracts, FeedContract
from stream_recon.domain.corrections import corrector, remark
from stream_recon.domain.discrepancies import Alert, Discrepancy, Handling, Reason, SplitPart
from tests import findings
from tests.findings import (
    BALANCE,
    BREAKS,
    BUSTED,
    COPIES,
    DIFFERS,
    LEDGER_MISSING,
    MISSING,
    ORDER,
    ORDER_FILLS,
    ORDER_LACKING,
    PARTS,
    POSITION,
    STATES,
    condition,
)


def told(alert: Alert, about: str, states: dict[str, Alert] = STATES) -> list[str]:
    """The sentences of one passage."""
    return next((p.sentences for p in explain(alert, states) if p.about == about), [])


@pytest.mark.parametrize("alert", BREAKS, ids=lambda alert: f"{alert.kind}-{alert.compared}-{alert.alert_id[:2]}")
def test_every_kind_is_explained_in_whole_sentences(alert: Discrepancy) -> None:
    passages = explain(alert, STATES)
    for name in ("what it is", "what was compared", "since when it is known", "why it is a break", "what ends it"):
        assert name in {passage.about for passage in passages}
    for sentence in (s for passage in passages for s in passage.sentences):
        assert sentence.endswith(".")
        assert sentence[0].isupper() or sentence.startswith(alert.alert_id[:10]) or sentence[:10] in {
            known[:10] for known in STATES
        }  # fmt: skip
        assert "None" not in sentence
        assert "{" not in sentence


def test_a_missing_fill() -> None:
    assert [
        sentence for passage in explain(MISSING, {MISSING.alert_id: MISSING}) for sentence in passage.sentences
    ] == [
        (
            "1a00000000 is an open trade discrepancy (critical) in account binance|desk-1: not in our books,"
            " BTCUSDT buy 883."
        ),
        "Exchange has this fill, internal never sent it.",
        (
            "Each fill of one side must have its counterpart on the other, by account, instrument, trade id and side,"
            " with the same quantity, price, fee, fee asset and position side; corrections and busts are folded in"
            " first."
        ),
        "It rests on the promise of internal to send all its fills.",
        (
            "Exchange says at 2025-11-24 16:01:00.000 UTC: fill 883, buy 0.5 at 36012.10, fee 0.018 USDT"
            " (in the log at recon.exchange.fills.v1-2-8812)."
        ),
        "Internal says nothing of it.",
        (
            "It could be said once the fills of internal were known up to 2025-11-24 16:01:05.000 UTC: 5 s after the"
            " newest record that it rests on, of 2025-11-24 16:01:00.000."
        ),
        "Known means by the feeds' own events and heartbeats; no clock of ours plays a part.",
        (
            "By then internal had delivered everything of that time, by its own word; and nothing of that time is"
            " known to be lost: no hole in its numbering, no record of this account that could not be read. So it is"
            " absent, not late."
        ),
        "It ends when internal sends this fill, even late (it is then marked late), or when exchange busts it.",
    ]


def test_a_fill_that_one_side_busted_had_been_there() -> None:
    assert told(BUSTED, "what was said")[-1] == "Exchange busted it."
    assert told(BUSTED, "what ends it") == [
        "It ends when internal busts it too, or when exchange corrects what it busted."
    ]


def test_what_both_sides_say_is_told_field_by_field() -> None:
    assert told(DIFFERS, "what was said")[-1] == (
        "In price they differ: internal 36012.10, exchange 36070.00; internal - exchange = -57.9."
    )
    assert told(ORDER, "what was said")[-2:] == [
        "In status they differ: internal open, exchange filled.",
        "In cum_qty they differ: internal 0, exchange 0.5; internal - exchange = -0.5.",
    ]
    assert told(ORDER_FILLS, "what was said")[-1] == (
        "In cum_qty they differ: fills 0.3, exchange order 0.5; fills - exchange order = -0.2."
    )
    assert told(POSITION, "what was said")[-1].startswith("In qty they differ: internal fills 10, exchange snapshot")


def test_what_is_said_at_once_waited_for_nothing() -> None:
    for alert in (COPIES, PARTS):
        assert told(alert, "since when it is known")[0].startswith("It could be said at once")


def test_an_order_that_one_side_never_reported() -> None:
    assert told(ORDER_LACKING, "what was said") == [
        (
            "Exchange says at 2025-11-24 16:01:00.000 UTC: order, canceled, 0 of 2 filled"
            " (in the log at recon.exchange.orders.v1-2-73)."
        ),
        "Internal says nothing of it.",
    ]
    assert told(ORDER_LACKING, "what ends it") == ["It ends when internal reports this order, even late."]


def test_a_residual_is_told_part_by_part() -> None:
    assert told(POSITION, "the residual") == [
        "The residual is +1.25: what was reported minus what is explained.",
        (
            "Of it +0.5 follows from discrepancies of single records that are known by themselves:"
            " 1a00000000 (BTCUSDT buy 883: not in our books)."
        ),
        "Of it +0.25 may still be on its way: records inside their grace, or in flight.",
        "Of it +0.5 is explained by nothing that is known.",
    ]
    assert told(BALANCE, "the residual")[0] == (
        "The residual is -99.5 USDT: what was reported minus what is explained."
    )
    assert told(BALANCE, "the residual")[-1] == "Nothing of it is left unexplained."


def test_what_it_follows_from_is_looked_at_first() -> None:
    assert told(BALANCE, "what it follows from") == [
        (
            "It follows from 3d00000000 (USDT entry W-77: entry not in our books): exchange booked this entry, internal"
            " never did."
        ),
        "As its cause is reported by itself, nobody is paged for this one.",
    ]
    assert told(BALANCE, "what ends it") == ["When 3d00000000 ends, so does this: look there first."]
    assert told(POSITION, "what it follows from")[-1] == "That does not explain all: +0.5 is left."
    assert [sentence[:8] for sentence in told(POSITION, "what ends it")] == ["When 1a0", "The rest"]


def test_causes_are_followed_to_the_first_and_effects_to_the_last() -> None:
    further = msgspec.structs.replace(BALANCE, alert_id="e" * 32, explained_by=[POSITION.alert_id], split=[])
    states: dict[str, Alert] = {**STATES, further.alert_id: further}
    assert [sentence[:42] for sentence in told(further, "what it follows from", states)][:2] == [
        "It follows from 1c00000000 (BTCUSDT long: ", "1c00000000 follows from 1a00000000 (BTCUSD"
    ]  # fmt: skip
    assert told(MISSING, "what follows from it", states) == [
        "1b00000000 (BTCUSDT order 51: order status and cum_qty differ) follows from it.",
        "1c00000000 (BTCUSDT long: position not explained) follows from it.",
        "eeeeeeeeee (USDT: balance not explained) follows from 1c00000000.",
    ]


def test_a_cause_that_is_not_kept_and_causes_in_a_circle_do_no_harm() -> None:
    lost = msgspec.structs.replace(ORDER, explained_by=["f" * 32])
    assert "of which nothing is kept here" in told(lost, "what it follows from")[0]
    one = msgspec.structs.replace(ORDER, explained_by=[POSITION.alert_id])
    two = msgspec.structs.replace(POSITION, explained_by=[ORDER.alert_id], split=[])
    states: dict[str, Alert] = {one.alert_id: one, two.alert_id: two}
    assert len(told(one, "what it follows from", states)) == 2
    assert len(told(one, "what follows from it", states)) == 1


def test_what_is_over_is_told_as_over() -> None:
    cleared = msgspec.structs.replace(MISSING, status="CLEARED", transition="CLEARED", late=True, reopened=2)
    assert told(cleared, "what it is")[0].startswith("1a00000000 is a cleared trade discrepancy")
    assert told(cleared, "what it is")[2:] == [
        "It holds no longer; what follows tells how it was when it last did.",
        "It has come back twice after it was gone or settled.",
    ]
    assert told(cleared, "since when it is known")[-1] == "A record has come later than its contract allows."
    assert told(cleared, "what ends it") == ["It has ended: cleared."]


def test_what_people_did_about_it_is_told() -> None:
    by_renee = Handling(by="ann", acknowledged_by="renee", assignee="renee", comment="asked the venue")
    taken = msgspec.structs.replace(MISSING, status="ACKNOWLEDGED", handling=by_renee)
    assert told(taken, "what was done about it") == [
        "Renee acknowledged it.",
        "It is assigned to renee.",
        'The newest comment is "asked the venue".',
        "The newest of this was done by ann.",
    ]
    assert told(MISSING, "what was done about it") == []
    silent = msgspec.structs.replace(condition("STALE"), status="RESOLVED", handling=Handling(by="a", resolved_by="a"))
    assert told(silent, "what was done about it") == ["A resolved it; no record was changed."]


def test_what_a_correction_settled_says_how_to_take_it_back() -> None:
    handling = Handling(by=corrector("ann"), resolved_by=corrector("ann"), comment=remark("9f" * 16))
    settled = msgspec.structs.replace(DIFFERS, status="RESOLVED", transition="RESOLVED", handling=handling)
    assert "It is settled, and not gone: what follows still holds." in told(settled, "what it is")
    assert told(settled, "what was done about it") == [
        f"The correcting entry {'9f' * 16} stands for the difference; no record was changed.",
        f"`stream-recon undo {'9f' * 16}` takes it back: then it counts again.",
    ]
    assert told(settled, "what ends it") == [
        "It has ended: resolved.",
        "It counts again when what is found differs in substance, or when a person opens it again.",
    ]


def test_what_was_settled_by_a_correction_and_counts_again_is_told_so() -> None:
    handling = Handling(by=corrector("bob"), comment=remark("e1" * 16), assignee="renee")
    assert told(msgspec.structs.replace(DIFFERS, handling=handling), "what was done about it") == [
        "A correcting entry settled it before; now it counts again.",
        "It is assigned to renee.",
    ]


def test_a_cause_that_is_over_holds_nothing_up() -> None:
    gone = msgspec.structs.replace(LEDGER_MISSING, status="RESOLVED")
    assert told(BALANCE, "what ends it", {**STATES, gone.alert_id: gone})[0].startswith("It ends when the movement")


def test_contracts_are_told_in_numbers() -> None:
    contracts = Contracts(contracts=(FeedContract(origin="internal", order_within_us=250_000, grace_us=90_000_000),))
    passages = {passage.about: passage.sentences for passage in explain(MISSING, STATES, contracts)}
    assert passages["what was compared"][-1] == (
        "The contract of internal says: fills complete; at most 250 ms out of order, 90 s of grace."
    )


def test_amounts_of_many_digits_are_added_exactly() -> None:
    digits = "12345678901234567890.123456789012345678"
    alert = msgspec.structs.replace(POSITION, residual=digits, split=[SplitPart("unexplained", digits)])
    assert f"+{digits} is left" in told(alert, "what it follows from")[-1]


@pytest.mark.parametrize("reason", get_args(Reason))
def test_every_feed_condition_says_why_and_what_ends_it(reason: Reason) -> None:
    assert reason in REASONS
    passages = {passage.about: passage.sentences for passage in explain(condition(reason), {})}
    assert passages.keys() == {
        "what it is", "since when it is known", "why nothing can be said", "what ends it"
    }  # fmt: skip
    assert all(sentence.endswith(".") for sentences in passages.values() for sentence in sentences)


def test_what_is_called_missing_although_a_record_of_nobody_could_not_be_read() -> None:
    unread = condition("SCHEMA_ERROR", origin="internal", partition=2, since_us=-1, waiting=1)
    assert told(MISSING, "why it is a break", {**STATES, unread.alert_id: unread})[-1] == (
        "But schema-err tells of records of internal that could not be read and name no account: it may be one of them."
    )
    for other in (
        condition("SCHEMA_ERROR", origin="internal", partition=1), condition("SCHEMA_ERROR", partition=2),
        condition("SCHEMA_ERROR", origin="internal", partition=2, status="CLEARED"),
    ):  # fmt: skip
        assert len(told(MISSING, "why it is a break", {**STATES, other.alert_id: other})) == 1


def test_a_line_of_a_file_that_cannot_be_read_is_told_as_one() -> None:
    unread = condition("SCHEMA_ERROR", since_us=-1, waiting=1)
    told_ = {passage.about: passage.sentences for passage in explain(unread, {}, files=True)}
    assert told_["what it is"][-1] == (
        "A line could not be read: which one and why is told beside the answer, in JSON as `rejected`."
    )
    assert told_["since when it is known"] == ["Of what time it is cannot be told."]
    assert told_["why nothing can be said"][:2] == [
        "It names no account, so it may be a record of any; what is missing is called missing all the same.",
        "1 record could not be read.",
    ]
    assert "dead letter" not in str(told_)


def test_nothing_comes_too_late_in_files() -> None:
    unknown = condition("LATE_BEYOND_HORIZON", waiting=1)
    told_ = {passage.about: passage.sentences for passage in explain(unknown, {}, files=True)}
    assert told_["what it is"][-1] == "Records amend a trade that is not known."
    assert "late" not in str(told_["what ends it"])
    live = {passage.about: passage.sentences for passage in explain(unknown, {})}
    assert live["what ends it"][-1].startswith("See first whether what is amended is named rightly")


def test_a_silent_feed() -> None:
    told_ = {passage.about: passage.sentences for passage in explain(condition("STALE"), {})}
    assert told_["what it is"][0] == (
        "stalefffff is an open feed condition STALE (warning): feed silent, exchange fills of gw-1, partition 3."
    )
    assert told_["since when it is known"] == ["The feed is known up to 2025-11-24 16:00:00.000 UTC."]
    assert told_["why nothing can be said"][1:] == [
        "4,012 records wait to be judged.",
        "It concerns every account of that feed on this partition, not one alone.",
    ]
    never = condition("NEVER_SENT", since_us=-1, waiting=1, account=findings.ACCOUNT)
    told_ = {passage.about: passage.sentences for passage in explain(never, {})}
    assert told_["since when it is known"] == ["Nothing is known of the feed."]
    assert told_["why nothing can be said"][1] == "1 record waits to be judged."
