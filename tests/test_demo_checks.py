"""The end of the demo: what runs found beside what the stream said, and what is shown where they do not agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stream_recon.cli.checking import compared
from stream_recon.cli.screens import differences
from stream_recon.domain.results import ReconciliationResult, RunStatus
from tests.findings import MISSING, ORDER_FILLS, POSITIONS
from tests.test_look import a_console, printed

if TYPE_CHECKING:
    from stream_recon.domain.discrepancies import Discrepancy


def result(
    *found: Discrepancy, status: RunStatus = "completed", errors: list[str] | None = None
) -> ReconciliationResult:
    """What a run came to."""
    return ReconciliationResult(
        reconciliation_id="r", type="full", status=status, start_time_us=0, total_records_processed=7,
        errors=errors or [], alert_ids=[each.alert_id for each in found], discrepancies=list(found),
    )  # fmt: skip


def stream(*found: Discrepancy) -> dict[str, Discrepancy]:
    """What the stream says."""
    return {each.alert_id: each for each in found}


def test_a_run_that_found_the_same_agrees_and_nothing_is_shown_of_it() -> None:
    check = compared(result(MISSING, POSITIONS), 1.0, stream(POSITIONS, MISSING))
    assert (check.agrees, check.found, check.records) == (True, 2, 7)
    out = a_console()
    differences(check, out)
    assert printed(out) == []


def test_what_one_alone_says_is_shown_with_who_says_it() -> None:
    check = compared(result(MISSING, POSITIONS), 1.0, stream(MISSING, ORDER_FILLS))
    assert not check.agrees
    assert (check.only_run, check.only_stream) == ([POSITIONS.alert_id], [ORDER_FILLS.alert_id])
    out = a_console(160, terminal=False)
    differences(check, out)
    lines = printed(out)
    assert [line for line in lines if line.startswith("only")] == ["only full says:", "only the stream says:"]
    assert POSITIONS.cause in lines[1]
    assert ORDER_FILLS.cause in lines[3]


@pytest.mark.parametrize("found", [(), (MISSING,)])
def test_a_run_that_failed_does_not_agree_whatever_it_found(found: tuple[Discrepancy, ...]) -> None:
    check = compared(result(*found, status="failed", errors=["the broker is gone"]), 1.0, stream(*found))
    assert not check.agrees
    out = a_console()
    differences(check, out)
    assert printed(out) == ["full: the broker is gone"]
