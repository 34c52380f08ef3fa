"""Runs while processes die at every stage: each command ends in one final result, that of an undisturbed run."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from stream_recon.data import hyperliquid_instruments
from stream_recon.domain.contracts import Contracts, FeedContract
from stream_recon.domain.events import ORIGINS
from stream_recon.domain.results import FINAL, ReconciliationResult, run_id_of
from stream_recon.domain.work import Answer, Partial, Progress
from tests.deployment import Deployment
from tests.runs import ask, now_us, perform, result_of, results_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stream_recon.broker import Broker

SECOND_US = 1_000_000
PROMPT = Contracts(contracts=tuple(FeedContract(origin=o, grace_us=SECOND_US, order_within_us=0) for o in ORIGINS))
_ANSWER: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)
SLOWLY = {"batch_size": 2}
"""So that there is time to die in the middle."""


@pytest.fixture(scope="module")
def place(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Three thousand fills, some of which one side never told, and a worker that has read them."""
    folder = tmp_path_factory.mktemp("chaos")
    one = Deployment(broker.bootstrap_servers, folder, PROMPT, hyperliquid_instruments())
    start_us = now_us() - 120 * SECOND_US
    lines = [
        {
            "type": "fill", "origin": origin, "venue": "simex", "account_id": f"desk-{number % 16}",
            "event_id": f"{origin}-{number}", "ts_us": start_us + number * 10_000, "instrument": "BTC-USD",
            "trade_id": f"T{number}", "order_id": "O1", "side": "buy", "qty": "1.5", "price": "60000.25",
        }
        for number in range(3_000)
        for origin in ORIGINS
        if origin == "internal" or number % 100
    ]  # fmt: skip
    path = folder / "fills"
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    one.worker()
    one.publish(path)
    one.settle()
    one.cut_us = start_us + 2_999 * 10_000  # type: ignore[attr-defined]
    yield one
    one.close()


def cut_us(place: Deployment) -> int:
    return place.cut_us  # type: ignore[attr-defined, no-any-return]


@pytest.fixture(scope="module")
def undisturbed(place: Deployment) -> ReconciliationResult:
    """What a run comes to where nothing dies."""
    result = perform(place, "full", cut_us=cut_us(place), params=SLOWLY)
    assert (result.status, result.discrepancies_found) == ("completed", 30)
    return result


def runner_of(place: Deployment) -> int:
    """The pid of the worker's child that runs and coordinates."""
    pid = place.workers[-1].process.pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
            return int(child)
    return 0


def kill_runner(place: Deployment) -> None:
    found: set[int] = set()

    def there() -> bool:
        found.add(runner_of(place))
        return bool(found - {0})

    place.until(there)
    [pid] = found - {0}  # 0 would be all of us
    os.kill(pid, signal.SIGKILL)


def kill_worker(place: Deployment) -> None:
    place.workers[-1].kill()
    place.worker()


def answers(place: Deployment, command_id: str, kind: type[Any]) -> list[Any]:
    decoded = [_ANSWER.decode(record.value) for record in place.records("partials")]
    return [each for each in decoded if isinstance(each, kind) and each.run_id == run_id_of(command_id)]


STAGES: dict[str, Callable[[Deployment, str], bool]] = {
    "when the command is sent": lambda _place, _command: True,
    "when it has begun": lambda place, command: bool(results_of(place, command)),
    "in the middle of a partition": lambda place, command: bool(answers(place, command, Progress)),
    "when one partition has answered": lambda place, command: bool(answers(place, command, Partial)),
}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("kill", [kill_runner, kill_worker])
def test_whatever_dies_a_run_ends_once_as_if_nothing_had(
    place: Deployment, undisturbed: ReconciliationResult, kill: Callable[[Deployment], None], stage: str
) -> None:
    command_id = ask(place, type="full", cut_us=cut_us(place), params=SLOWLY)
    place.until(lambda: STAGES[stage](place, command_id))
    kill(place)
    result = result_of(place, command_id)
    time.sleep(0.5)
    assert [each.status for each in results_of(place, command_id) if each.status in FINAL] == ["completed"]
    assert result.certificate is not None
    assert undisturbed.certificate is not None
    assert result.certificate.verdicts_digest == undisturbed.certificate.verdicts_digest
    assert result.alert_ids == undisturbed.alert_ids


def test_an_emergency_is_answered_while_a_full_run_goes_on_and_that_goes_on_after_it(
    place: Deployment, undisturbed: ReconciliationResult
) -> None:
    full = ask(place, type="full", cut_us=cut_us(place), params=SLOWLY)
    place.until(lambda: bool(answers(place, full, Progress)))
    emergency = perform(place, "emergency")
    assert not [each for each in results_of(place, full) if each.status in FINAL]
    assert set(emergency.alert_ids) == set(undisturbed.alert_ids)
    assert result_of(place, full).alert_ids == undisturbed.alert_ids
