"""The comparison with the truth bites workers that lack a safeguard, and holds where one dies at the worst point."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import msgspec
import pytest

from stream_recon.domain.discrepancies import Discrepancy
from stream_recon.faults.plan import plan
from stream_recon.faults.score import is_expected_of
from tests.deployment import misjudged
from tests.test_end_to_end import MANY, TIMING, told, truth, write
from tests.test_faults import BRISK, START_US, play, some_fills

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from stream_recon.domain.discrepancies import Alert
    from stream_recon.faults.changes import Fault
    from tests.deployment import Deployment, Worker

FEW: dict[Fault, int] = dict.fromkeys(MANY, 2)


def broken(place: Deployment, which: str) -> Worker:
    return place.worker(words=[sys.executable, "-m", "tests.broken_worker", which, "worker", "--host", "plain"])


@pytest.mark.parametrize("point", ["dies before publishing", "dies between alerts and breaks"])
def test_what_a_worker_had_no_time_to_publish_is_published_by_the_next(
    deploy: Callable[..., Deployment], tmp_path: Path, point: str
) -> None:
    one, place = told(6, FEW), deploy(TIMING.contracts())
    place.publish(write(tmp_path / "both", one))
    assert broken(place, point).process.wait(60) == 9
    assert not place.records("breaks")
    place.worker("plain")
    place.settle()
    assert place.wrong(truth(one)) == []


def test_the_comparison_bites_a_worker_that_forgets_what_was_not_published(
    deploy: Callable[..., Deployment], tmp_path: Path
) -> None:
    one, place = told(6, FEW), deploy(TIMING.contracts())
    place.publish(write(tmp_path / "both", one))
    assert broken(place, "dies before publishing").process.wait(60) == 9
    broken(place, "forgets what was not published")
    place.settle()
    assert [line for line in place.wrong(truth(one)) if line.startswith("missed")]


def test_the_comparison_bites_whatever_is_changed_in_what_was_said() -> None:
    one = plan(some_fills(1), 1, FEW, timing=BRISK, start_us=START_US)
    true, alerts = truth(one, BRISK), play(one, BRISK, 1)

    def wrong(changed: list[Alert]) -> set[str]:
        newest = {alert.alert_id: alert for alert in changed}
        return {line.partition(":")[0] for line in misjudged(true, changed, newest.values())}

    assert wrong(alerts) == set()
    newest = {alert.alert_id: alert for alert in alerts}
    for alert_id, alert in newest.items():
        rest = [each for each in alerts if each.alert_id != alert_id]
        assert isinstance(alert, Discrepancy)
        if alert.status == "OPEN":
            assert "missed" in wrong(rest), f"nobody misses {alert}"
            cleared = msgspec.structs.replace(alert, version=alert.version + 1, transition="CLEARED", status="CLEARED")
            assert "missed" in wrong([*alerts, cleared])
        if alert.explained_by and not any(is_expected_of(each, alert) for each in one.injected):
            nameless = msgspec.structs.replace(alert, version=alert.version + 1, explained_by=[])
            assert "without a cause" in wrong([*alerts, nameless])
        other = msgspec.structs.replace(
            alert, alert_id="0", version=1, transition="OPENED", account="hyperliquid|nobody", explained_by=[]
        )
        assert "false" in wrong([*alerts, other])
