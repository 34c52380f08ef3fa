"""A worker that lacks a safeguard, or dies at a chosen point: `python -m tests.broken_worker WHICH worker ...`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from stream_recon.cli import main
from stream_recon.shell.publishing import Publisher
from stream_recon.shell.restoring import Restorer

if TYPE_CHECKING:
    from stream_recon.shell.publishing import Held
    from stream_recon.shell.state_log import Fold


async def die(_: Publisher, *__: object) -> NoReturn:
    """End when the state of a pack is durable, and nothing that follows from it is published."""
    os._exit(9)


async def die_between(publisher: Publisher, topic: str, *rest: Any) -> Any:
    """End when alerts are published, and the newest states are not."""
    if topic == publisher._breaks:
        await publisher.producer.flush()
        os._exit(9)
    return await SEND(publisher, topic, *rest)


async def forget(_: Restorer, mine: Held, __: Fold) -> None:
    """Take for published what the state says."""
    mine.position.delivered = mine.tail


SEND = Publisher._send
BROKEN = {
    "dies before publishing": lambda: setattr(Publisher, "publish", die),
    "dies between alerts and breaks": lambda: setattr(Publisher, "_send", die_between),
    "forgets what was not published": lambda: setattr(Restorer, "_publish_rest", forget),
}

if __name__ == "__main__":
    BROKEN[sys.argv.pop(1)]()
    main.run()
