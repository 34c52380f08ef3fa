from __future__ import annotations

import io
from decimal import Decimal
from typing import Any, get_args

import msgspec
import pytest
from rich.console import Console

from stream_recon.cli.detail import residual_bar, shares, show_detail, show_explanation
from stream_recon.cli.options import Failure, check_account, perhaps
from stream_recon.cli.read import only
from stream_recon.cli.render import print_alerts, show
from stream_recon.core.explain import explain
from stream_recon.core.relations import below_causes
from stream_recon.core.wording import (
    REASONS,
    between,
    counted,
    duration,
    headline,
    record_words,
    short_account,
    waiting_for_it,
)
from stream_recon.domain.corrections import corrector, remark
from stream_recon.domain.discrepancies import (
    Alert,
    Discrepancy,
    Handling,
    Interval,
    Reason,
    SplitPart,
    Status,
    Transition,
)
from tests.findings import (
    AT_US,
    BALANCE,
    BREAKS,
    DIFFERS,
    LEDGER_MISSING,
    MISSING,
    ORDER,
    PARTS,
    POSITION,
    STATES,
    condition,
    interval,
)


def a_console(width: int = 80, *, terminal: bool = True) -> Console:
    """What the commands print to, kept."""
    return Console(file=io.StringIO(), width=width, force_terminal=terminal, highlight=False, soft_wrap=True,
                   color_system=None)  # fmt: skip


def printed(out: Console) -> list[str]:
    assert isinstance(out.file, io.StringIO)
    return [line.rstrip() for line in out.file.getvalue().splitlines()]


def listed(*alerts: Alert, terminal: bool = False) -> list[str]:
    out = a_console(terminal=terminal)
    list(print_alerts(out, alerts))
    return printed(out)


@pytest.mark.parametrize("width", [80, 120])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    out = a_console(width)
    alerts: list[Alert] = [*BREAKS, condition("STALE")]
    list(print_alerts(out, alerts))
    for alert in alerts:
        show(out, alert, AT_US)
        show_detail(out, [(AT_US, alert)], STATES)
        show_explanation(out, explain(alert, STATES), indent=2)
    assert max(map(len, printed(out))) <= width


def test_without_a_terminal_each_statement_is_one_line_without_colour() -> None:
    out = a_console(terminal=False)
    for alert in BREAKS:
        show(out, alert, AT_US)
    assert len(printed(out)) == len(BREAKS)
    assert "\x1b" not in "".join(printed(out))


def test_effects_stand_below_their_cause_and_name_it() -> None:
    lines = listed(POSITION, ORDER, MISSING)
    assert [line[:12] for line in lines if "  critical  " in line] == ["1a00000000  ", "└ 1c00000000", "└ 1b00000000"]
    assert "(follows from 1a00000000)" in lines[2]


def test_an_effect_whose_cause_is_not_listed_stands_by_itself() -> None:
    assert below_causes([ORDER, LEDGER_MISSING]) == [(0, ORDER), (0, LEDGER_MISSING)]
    assert "(follows from 1a00000000)" in listed(ORDER)[0]


def test_effects_of_effects_and_circles_are_each_listed_once() -> None:
    deeper = msgspec.structs.replace(BALANCE, explained_by=[POSITION.alert_id], split=[])
    assert below_causes([deeper, POSITION, MISSING]) == [(0, MISSING), (1, POSITION), (2, deeper)]
    back = msgspec.structs.replace(POSITION, explained_by=[deeper.alert_id], split=[])
    assert below_causes([deeper, back, MISSING]) == [(0, MISSING), (0, deeper), (1, back)]


def test_the_cause_is_listed_where_it_says_more_than_the_values() -> None:
    assert listed(MISSING) == [
        "1a00000000  critical  not in our books  binance|desk-1  BTCUSDT buy 883",
        "            2025-11-24 16:01:00.000  internal nothing | exchange 0.5 at 36012.10, fee 0.018 USDT",
    ]
    assert listed(LEDGER_MISSING) == [
        "3d00000000  critical  entry not in our books  binance|desk-1  USDT entry W-77",
        "            2025-11-24 16:01:00.000  internal nothing | exchange withdrawal -100 USDT",
        "            exchange booked this entry, internal never did",
    ]
    assert listed(POSITION)[1:] == [
        (
            "            between 2025-11-24 16:00:00.000 and 16:05:00.000"
            "  internal fills 10 | exchange snapshot 11.25 | residual +1.25"
        ),
        "            exchange reports a position that our fills do not explain",
    ]


def test_headlines_are_few_words() -> None:
    assert [headline(alert) for alert in BREAKS] == [
        "not in our books", "not at the exchange", "price differs", "copies conflict",
        "order status and cum_qty differ", "order not in our books", "order unlike its fills",
        "position not explained", "positions differ", "balance not explained", "parts unlike total",
        "entry not in our books", "ledger entry differs", "net change differs",
    ]  # fmt: skip
    assert REASONS.keys() == set(get_args(Reason))


def test_a_residual_is_a_bar_with_a_legend() -> None:
    assert [line.plain for line in residual_bar(POSITION, 20)] == [
        "+1.25  (reported - explained)",
        "▓▓▓▓▓▓▓▓░░░░████████",
        "▓ known causes   +0.5  from 1a00000000",
        "░ pending       +0.25",
        "█ unexplained    +0.5",
    ]
    assert [line.plain for line in residual_bar(BALANCE, 20)] == [
        "-99.5 USDT  (reported - explained)",
        "▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▒·",
        "▓ known causes   -100 USDT  from 3d00000000",
        "▒ fees          +0.49 USDT",
        "· rounding      +0.01 USDT",
        "Parts of opposite signs offset each other; the bar shows their sizes.",
    ]
    assert [line.plain for line in residual_bar(PARTS, 20)] == ["+1 USDT  (reported - explained)"]


@pytest.mark.parametrize("amounts", [["1"], ["1", "1", "1"], ["1e30", "1e-18"], ["-5", "3", "0.0001", "100"]])
@pytest.mark.parametrize("width", [10, 60])
def test_a_bar_is_as_wide_as_it_shall_be_and_leaves_no_part_out(amounts: list[str], width: int) -> None:
    cells = shares([Decimal(amount) for amount in amounts], width)
    assert sum(cells) == width
    assert min(cells) >= 1


def test_one_break_at_a_glance() -> None:
    updated = msgspec.structs.replace(POSITION, version=2, transition="UPDATED")
    out = a_console(120)
    show_detail(out, [(AT_US + 1_000_000, POSITION), (AT_US + 2_000_000, updated)], STATES)
    assert printed(out) == [
        "critical position not explained, OPEN",
        "exchange reports a position that our fills do not explain.",
        "",
        "account   binance|desk-1",
        "about     BTCUSDT long",
        "identity  position: internal fills with exchange snapshot",
        "moved     between 2025-11-24 16:00:00.000 and 16:05:00.000 UTC",
        "since     2025-11-24 16:05:00.000 UTC; published 2025-11-24 16:00:01.000",
        "due       2025-11-24 16:05:05.000 UTC, once the feeds were known that far",
        "",
        "Both sides",
        "   field  internal fills  exchange snapshot  difference",
        "≠  qty                10              11.25       -1.25",
        "",
        "Residual",
        "+1.25  (reported - explained)",
        "▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓░░░░░░░░░░░░████████████████████████",
        "▓ known causes   +0.5  from 1a00000000",
        "░ pending       +0.25",
        "█ unexplained    +0.5",
        "",
        "Follows from",
        "1a00000000  critical  not in our books  BTCUSDT buy 883",
        "",
        "Records",
        "exchange  2025-11-24 16:00:00.000  position 9.5, long",
        "                                   recon.exchange.balances.v1-2-90",
        "exchange  2025-11-24 16:05:00.000  position 11.25, long",
        "                                   recon.exchange.balances.v1-2-91",
        "internal  2025-11-24 16:02:00.000  fill buy 0.5 at 36012.10, fee 0.018 USDT",
        "                                   recon.internal.fills.v1-2-410",
        "",
        "History",
        "2025-11-24 16:00:01.000    1  OPENED       critical exchange reports a position that our fills do not explain",
        "2025-11-24 16:00:02.000    2  UPDATED      critical",
    ]


def test_a_cause_shows_what_follows_from_it() -> None:
    out = a_console(100, terminal=False)
    show_detail(out, [(AT_US, MISSING)], STATES)
    at = printed(out).index("What follows from it")
    assert printed(out)[at + 1 : at + 3] == [
        "1b00000000  critical  order status and cum_qty differ  BTCUSDT order 51",
        "1c00000000  critical  position not explained  BTCUSDT long, residual +1.25",
    ]


@pytest.mark.parametrize("alert", BREAKS, ids=lambda alert: f"{alert.kind}-{alert.alert_id[:2]}")
def test_every_kind_says_where_its_records_lie(alert: Discrepancy) -> None:
    out = a_console(120)
    show_detail(out, [(AT_US, alert)], STATES)
    shown = "\n".join(printed(out))
    for evidence in alert.evidence:
        assert f"{evidence.topic}-2-{evidence.offset}" in shown


def test_words_for_times_and_records() -> None:
    assert [duration(us) for us in (0, 1, 1500, 250_000, 1_500_000, 60_000_000, 61_000_000)] == [
        "0 ms", "1 µs", "1500 µs", "250 ms", "1.5 s", "1 min", "61 s"
    ]  # fmt: skip
    assert between(interval(0, 1440)) == "between 2025-11-24 16:00:00.000 and 2025-11-25 16:00:00.000"
    anchored = Interval(AT_US, AT_US + 1, "881", "883")
    assert between(anchored) == "between 2025-11-24 16:00:00.000 (trade 881) and 16:00:00.000 (trade 883)"
    assert between(Interval(0, AT_US, "opening", str(AT_US))) == (
        "between the opening and 2025-11-24 16:00:00.000"
    )  # fmt: skip
    assert record_words({"type": "snapshot_end", "snapshot_id": "s", "count": 3}) == (
        "snapshot s of 3 records is complete"
    )
    anchor = {"trade_id": "883", "when": "after"}
    assert record_words({"type": "position", "qty": "1", "anchor": anchor}) == "1, after trade 883"
    assert record_words({"trade_id": "7", "qty": "1", "price": "2"}) == "1 at 2"
    assert short_account("hyperliquid|0x1234567890abcdef1234") == "hyperliquid|0x1234…1234"


def test_a_split_may_hold_what_is_not_there() -> None:
    whole = msgspec.structs.replace(POSITION, split=[SplitPart("pending", "0"), SplitPart("unexplained", "1.25")])
    assert [line.plain for line in residual_bar(whole, 10)][1:] == ["██████████", "█ unexplained   +1.25"]


def handled(alert: Discrepancy, transition: Transition, status: Status, **handling: Any) -> Discrepancy:
    """What a person makes of it."""
    return msgspec.structs.replace(
        alert, version=alert.version + 1, transition=transition, status=status, handling=Handling(**handling)
    )


CORRECTED = {"by": corrector("ann"), "resolved_by": corrector("ann"), "comment": remark("9f" * 16)}


@pytest.mark.parametrize(
    ("alert", "says"),
    [
        (
            handled(DIFFERS, "RESOLVED", "RESOLVED", by="renee", resolved_by="renee", comment="ticket 4711"),
            'BTCUSDT buy 883: resolved by renee ("ticket 4711"): both sides have this fill, but disagree on price',
        ),
        (
            handled(DIFFERS, "RESOLVED", "RESOLVED", **CORRECTED),
            f"BTCUSDT buy 883: resolved by a correcting entry; `stream-recon undo {'9f' * 16}` takes it back: both",
        ),
        (
            handled(DIFFERS, "ACKNOWLEDGED", "ACKNOWLEDGED", by="bob", assignee="renee", comment="asked\nthe venue"),
            'acknowledged by bob, assigned to renee ("asked the venue"): both sides',
        ),
        (
            handled(DIFFERS, "ANNOTATED", "OPEN", by="bob", suppressed_until_us=AT_US),
            "noted by bob, silent until 2025-11-24 16:00:00.000 UTC: both sides",
        ),
        (handled(DIFFERS, "UPDATED", "RESOLVED", by="bob", resolved_by="bob"), "buy 883: resolved by bob: both sides"),
        (handled(DIFFERS, "CLEARED", "CLEARED", by="bob"), "buy 883: no longer so: both sides"),
        (handled(DIFFERS, "REOPENED", "OPEN", by="bob"), "buy 883: both sides"),
    ],
)  # fmt: skip
def test_what_a_person_did_is_told_with_who_and_why(alert: Discrepancy, says: str) -> None:
    out = a_console(terminal=False)
    show(out, alert, AT_US)
    assert says in printed(out)[0]


def test_a_listing_says_whose_it_is_and_who_settled_it() -> None:
    taken = handled(DIFFERS, "ACKNOWLEDGED", "ACKNOWLEDGED", by="bob", assignee="renee")
    assert listed(taken)[0].endswith("BTCUSDT buy 883 (acknowledged, assigned to renee)")
    assert listed(handled(DIFFERS, "ANNOTATED", "OPEN", by="bob", assignee="renee"))[0].endswith(" (assigned to renee)")
    settled = handled(DIFFERS, "RESOLVED", "RESOLVED", by="bob", resolved_by="bob")
    assert listed(settled)[0].endswith(" (resolved by bob)")
    corrected = handled(DIFFERS, "RESOLVED", "RESOLVED", **CORRECTED)
    assert listed(corrected)[0].endswith(" (resolved by a correcting entry)")


def test_the_history_says_who_did_what() -> None:
    taken = handled(DIFFERS, "ACKNOWLEDGED", "ACKNOWLEDGED", by="bob", assignee="renee", comment="asked")
    settled = handled(taken, "RESOLVED", "RESOLVED", by="ann", resolved_by="ann", assignee="renee", comment="paid")
    again = handled(settled, "REOPENED", "OPEN", by="bob", assignee="renee", comment="not paid")
    out = a_console(terminal=False)
    show_detail(out, [(AT_US, each) for each in (DIFFERS, taken, settled, again)], STATES)
    lines = printed(out)
    assert "assigned  to renee" in lines
    assert [line[43:] for line in lines[-3:]] == [
        'warning  acknowledged by bob, assigned to renee ("asked")',
        'warning  resolved by ann, assigned to renee ("paid")',
        'warning  reopened by bob, assigned to renee ("not paid")',
    ]
    corrected = handled(DIFFERS, "RESOLVED", "RESOLVED", **CORRECTED)
    back = handled(corrected, "REOPENED", "OPEN", by=corrector("bob"), comment=remark("e1" * 16))
    out = a_console(terminal=False)
    show_detail(out, [(AT_US, each) for each in (DIFFERS, corrected, back)], STATES)
    assert printed(out)[-1][43:] == "warning  its correcting entry was taken back"


def test_an_empty_beginning_is_the_beginning_of_nothing() -> None:
    with pytest.raises(Failure, match="an ID is empty; `stream-recon breaks --all` lists them"):
        only(STATES, "")


def test_a_pattern_may_stand_for_an_account_where_one_is_looked_for() -> None:
    for said in ("simex|al*", "*", "sim?x*", "simex|alice"):
        check_account(said, pattern=True)
    with pytest.raises(Failure, match="an account is venue"):
        check_account("simex*")


def test_the_type_that_was_probably_meant_is_named() -> None:
    assert perhaps("ful") == "; did you mean full?"
    assert perhaps("nonsense") == "."


def test_one_is_not_told_as_many() -> None:
    assert [counted(number, "record") for number in (0, 1, 1000)] == ["0 records", "1 record", "1,000 records"]
    assert [waiting_for_it(number) for number in (1, 2)] == ["1 record waits for it", "2 records wait for it"]
