from __future__ import annotations

from typing import Any

import msgspec

from stream_recon.cli.run_view import show_run
from stream_recon.core.corrections import History, undo
from stream_recon.domain.corrections import Correction
from stream_recon.domain.results import Certificate, ReconciliationResult, Scope
from tests.findings import AT_US, DIFFERS
from tests.test_look import a_console, printed


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
