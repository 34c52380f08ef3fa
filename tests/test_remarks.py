"""What `up` passes on of its worker's log."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from stream_recon.cli import remarks
from stream_recon.cli.remarks import Remarks, remark_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"event": "owns", "level": "info"}, None),
        ({"event": "not a work item", "level": "warning"}, "worker warning: not a work item"),
        (
            {"event": "not valid", "level": "error", "problems": ["one", "two"], "timestamp": "now"},
            "worker error: not valid (problems: one; two)",
        ),
        (
            {"event": "failed", "level": "error", "exception": "Traceback\n  line 1\nKeyError: 'x'\n"},
            "worker error: failed (KeyError: 'x')",
        ),
        ({"event": "asked\n  in two lines", "level": "error"}, "worker error: asked in two lines"),
        ({"event": "failed: [Error 15] GroupCoordinatorNotAvailableError", "level": "error"}, None),
        ([1], None),
    ],
)
def test_it_says_warnings_and_errors_in_one_line(line: object, said: str | None) -> None:
    assert remark_of(json.dumps(line).encode()) == said


def test_what_is_no_json_is_left_in_the_log() -> None:
    assert remark_of(b"Traceback (most recent call last):") is None


def test_a_log_is_read_on_by_whole_lines_and_the_same_is_not_said_again_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, line = tmp_path / "log", b'{"event": "lost", "level": "warning"}\n'
    log.write_bytes(line + line + line[:10])
    one = Remarks(log)
    assert list(one.more()) == ["worker warning: lost"]
    with log.open("ab") as file:
        file.write(line[10:] + b'{"event": "again", "level": "warning"}\n')
    assert list(one.more()) == ["worker warning: again"]
    monkeypatch.setattr(remarks, "AGAIN_S", 0.0)
    with log.open("ab") as file:
        file.write(line)
    assert list(one.more()) == ["worker warning: lost"]
