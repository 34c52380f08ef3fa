"""Drawn logs in every order in which two topics can be read."""

from __future__ import annotations

from tests.schedules import try_all


def test_no_order_of_reading_changes_what_stands() -> None:
    assert sum(try_all(seed) for seed in range(100)) > 1_000
