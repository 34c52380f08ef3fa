"""The comparison with the truth bites workers that lack a safeguard, and holds where one dies at the worst point."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.test_end_to_end import TIMING, told, truth, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.deployment import Deployment, Worker


def broken(place: Deployment, which: str) -> Worker:
    return place.worker(words=[sys.executable, "-m", "tests.broken_worker", which, "worker", "--host", "plain"])


@pytest.mark.parametrize("point", ["dies before publishing", "dies between alerts and breaks"])
def test_what_a_worker_had_no_time_to_publish_is_published_by_the_next(
    deploy: Callable[..., Deployment], tmp_path: Path, point: str
) -> None:
    one, place = told(6, {"price": 5, "drop_internal": 5}), deploy(TIMING.contracts())
    place.publish(write(tmp_path / "both", one))
    assert broken(place, point).process.wait(60) == 9
    assert not place.records("breaks")
    place.worker("plain")
    place.settle()
    assert place.wrong(*truth(one)) == []


def test_the_comparison_bites_a_worker_that_forgets_what_was_not_published(
    deploy: Callable[..., Deployment], tmp_path: Path
) -> None:
    one, place = told(6, {"price": 5, "drop_internal": 5}), deploy(TIMING.contracts())
    place.publish(write(tmp_path / "both", one))
    assert broken(place, "dies before publishing").process.wait(60) == 9
    broken(place, "forgets what was not published")
    place.settle()
    assert [line for line in place.wrong(*truth(one)) if line.startswith("missed")]
