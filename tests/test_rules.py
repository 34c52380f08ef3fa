"""The page of rules names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "rules.md"


def test_every_rule_names_a_test_that_exists() -> None:
    sources = [path.read_text("utf-8") for path in TESTS.glob("test_*.py")]
    there = {name for source in sources for name in re.findall(r"def (test_\w+)", source)}
    rows = re.findall(r"^\| (?!rule|-)(.*?) \| (.*?) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert len(rows) > 60
    named = [name for _, cell in rows for name in re.findall(r"`(test_\w+)`", cell)]
    assert len(named) >= len(rows)
    assert sorted(set(named) - there) == []
