from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from stream_recon.audit.reading import Result, Run, Source, Transition
from stream_recon.cli import audit_screens
from stream_recon.cli.audit_screens import show_history
from stream_recon.cli.options import console
from stream_recon.cli.run_view import show_run, table_of_runs
from stream_recon.core.corrections import History, undo
from stream_recon.domain.corrections import Correction
from stream_recon.domain.discrepancies import Handling
from stream_recon.domain.results import Certificate, ReconciliationResult, Scope
from tests.findings import AT_US, DIFFERS
from tests.test_look import a_console, printed

if TYPE_CHECKING:
    import pytest


def certificate(**more: Any) -> Certificate:
    """What a run over everything looked at."""
    return Certificate(
        scope=Scope(identities=("trade",), from_us=0, to_us=AT_US), topics=[], records=2, duplicates=0, rejected=0,
        strategy="full", config={}, config_version=0, config_digest="", contracts_digest="", instruments_digest="",
        code_version="", verdicts_digest="", **more,
    )  # fmt: skip


def result(**more: Any) -> ReconciliationResult:
    """A run that is over."""
    told: dict[str, Any] = {
        "reconciliation_id": "run-1", "type": "full", "status": "completed", "start_time_us": AT_US,
        "end_time_us": AT_US, "certificate": certificate(),
    }  # fmt: skip
    return ReconciliationResult(**{**told, **more})


def correction(run_id: str) -> Correction:
    """What moves the books to what the exchange says."""
    return Correction(
        correction_id="9f" * 16, alert_id=DIFFERS.alert_id, account=DIFFERS.account, instrument="BTCUSDT", field="qty",
        amount="0.1", substance="", run_id=run_id, day="2025-11-24", by="ann",
    )  # fmt: skip


def shown(of: ReconciliationResult, history: History | None = None) -> list[str]:
    out = a_console(120, terminal=False)
    show_run(out, of, history=history)
    return printed(out)


def test_a_run_names_what_it_corrected() -> None:
    corrected = result(
        auto_resolved_count=1, discrepancies_found=1, discrepancies=[msgspec.structs.replace(DIFFERS, severity="info")]
    )
    lines = shown(corrected, History([correction("run-1")]))
    at = lines.index("  corrected by this run: 1")
    assert lines[at + 1 : at + 3] == [
        f"    {'9f' * 16}  qty +0.1 BTCUSDT  binance|desk-1  for 3a00000000",
        "  `stream-recon undo ID` takes one back.",
    ]


def test_both_sides_agree_but_for_what_corrections_cover() -> None:
    assert shown(result())[-1] == "  Both sides agree."
    assert not any("correct" in line for line in shown(result()))
    covered, made = result(certificate=certificate(absolved=[DIFFERS.alert_id])), correction("run-0")
    lines = shown(covered, History([made]))
    assert lines[-4:] == [
        "  corrected before, and the same since: 1",
        f"    {'9f' * 16}  qty +0.1 BTCUSDT  binance|desk-1  for 3a00000000",
        "  `stream-recon undo ID` takes one back.",
        "  Both sides agree but for 1 difference that corrections cover.",
    ]
    back = undo(made.correction_id, History([made]), "bob")
    assert isinstance(back, Correction)
    assert any(line.endswith("(taken back since)") for line in shown(covered, History([made, back])))


WHY = "partition 0: the source topics hold no record of this account, and nobody answered in time"


def test_a_list_of_runs_keeps_status_and_reason_where_there_is_little_room() -> None:
    failed = result(reconciliation_id="ab" * 12, type="incremental", status="failed", errors=[WHY], issued_by="renee")
    out = a_console(80)
    out.print(table_of_runs([failed], out.width), soft_wrap=False)
    lines = printed(out)
    assert max(map(len, lines)) <= 80
    assert lines[1].startswith("ababababab  incremental  failed")
    assert "".join(line[-40:].replace(" ", "") for line in lines[1:]).endswith("nobodyansweredintime")
    assert "…" not in "".join(lines)


def test_what_goes_to_a_pipe_is_neither_wrapped_nor_cut(capsys: pytest.CaptureFixture[str]) -> None:
    failed = result(reconciliation_id="ab" * 12, type="incremental", status="failed", errors=[WHY], issued_by="renee")
    out = console()
    out.print(table_of_runs([failed], out.width), soft_wrap=False)
    show_run(out, result(certificate=certificate(), reconciliation_id="cd" * 12), certificate=True)
    printed_ = capsys.readouterr().out
    assert WHY in printed_
    assert "renee" in printed_.splitlines()[1]
    assert "cd" * 12 in printed_


def test_the_history_in_the_audit_store_can_be_searched(capsys: pytest.CaptureFixture[str]) -> None:
    taken = msgspec.structs.replace(
        DIFFERS, version=2, transition="ACKNOWLEDGED", status="ACKNOWLEDGED",
        handling=Handling(by="bob", assignee="renee", comment="asked the venue"),
    )  # fmt: skip
    source = Source("recon.alerts.v1", 2, 4711, AT_US)
    show_history(taken.alert_id, [Transition(source, DIFFERS), Transition(source, taken)], [])
    lines = capsys.readouterr().out.splitlines()
    assert 'acknowledged by bob, assigned to renee ("asked the venue"); fill_mismatch: both sides' in lines[-1]
    assert lines[-1].rstrip().endswith("recon.alerts.v1-2-4711")


def test_the_audit_of_a_run_keeps_status_and_reason_whole_in_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    out = a_console(80)
    monkeypatch.setattr(audit_screens, "console", lambda: out)
    failed = result(reconciliation_id="ab" * 12, status="failed", errors=[WHY], issued_by="renee")
    audit_screens.show_runs([Run("ab" * 12, [Result(Source("recon.results.v1", 0, 4711, AT_US), failed)])])
    lines = printed(out)
    assert max(map(len, lines)) <= 80
    assert lines[1].startswith(f"{'ab' * 12}  full  failed  partition 0")
    assert "asked by" not in lines[0]
