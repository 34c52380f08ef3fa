"""What is summed up beyond the horizon stands as it was said: if nothing comes late, a short horizon changes nothing.

Versions are left out: what a longer horizon takes back and says again, a short one may not.
"""

from __future__ import annotations

import random

import pytest

from stream_recon.domain.events import ORIGINS
from tests.oracles.worlds import SECOND, balance, fill, position
from tests.test_causes import Desk, both

STEPS = 80


def said(seed: int, horizon_us: int, restarts: float = 0.0) -> dict[str, tuple[object, ...]]:
    """The newest state of everything that a drawn day says, by alert id."""
    rng, restarting = random.Random(seed), random.Random(seed)
    sends = (rng.choice([1.0, 0.6]), rng.choice([1.0, 0.6]))
    desk = Desk(horizon_us=horizon_us)
    held, extra = 0, {"internal": 0, "exchange": 0}
    for n in range(STEPS):
        at_s = 10 * n
        if rng.random() < 0.7:
            held += 1
            desk.hear(*both(fill, f"t{n}", at_s + 3, "1", realized_pnl="2"))
        for origin, likely in zip(ORIGINS, sends, strict=True):
            if rng.random() < 0.08:
                extra[origin] = rng.choice([0, 1, 2])
            if rng.random() < likely:
                desk.hear(
                    position(origin, at_s + 6, f"{held + extra[origin]}"),
                    balance(origin, at_s + 6, f"{2 * held + extra[origin]}"),
                )
        desk.pass_by(at_s + 9)
        if restarting.random() < restarts:
            desk.restart()
    desk.pass_by(10 * STEPS + 100)
    return {
        alert.alert_id: (alert.status, alert.compared, alert.residual, str(alert.interval)) for alert in desk.newest()
    }


@pytest.mark.parametrize("seed", range(20))
def test_a_short_horizon_says_what_a_long_one_does(seed: int) -> None:
    long = said(seed, 10**6 * SECOND)
    assert said(seed, 120 * SECOND) == long
    assert said(seed, 120 * SECOND, restarts=0.1) == long
