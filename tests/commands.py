"""Runs the product's commands as a user does: as processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

PATIENCE_S = 240
START_US = 1_764_000_000_000_000


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its answer, which must be one JSON value."""
        return json.loads(self.out)


def command(*words: object) -> list[str]:
    """The command line of `stream-recon words`."""
    return [sys.executable, "-m", "stream_recon.cli.main", *map(str, words)]


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Ours, without what would point the commands elsewhere."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("STREAM_RECON_", "KAFKA_"))}
    return {**ours, "COLUMNS": "100", "TERM": "dumb", **(more or {})}


def run(*words: object, stdin: str = "", env: Mapping[str, str] | None = None) -> Done:
    """Run `stream-recon words` to its end."""
    done = subprocess.run(
        command(*words), input=stdin, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        env=environment(env),
    )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr)


def fill(origin: str, number: int, **fields: object) -> dict[str, object]:
    """One of many fills, 10 ms apart."""
    return {
        "type": "fill", "origin": origin, "venue": "simex", "account_id": f"desk-{number % 3}",
        "event_id": f"{origin}-{number}", "ts_us": START_US + number * 10_000, "instrument": "BTC-USD",
        "trade_id": f"T{number}", "order_id": f"O{number // 2}", "side": "buy", "qty": "1.5",
        "price": "60000.25", "fee": "0.1", "fee_asset": "USD", **fields,
    }  # fmt: skip


def write(path: Path, events: Sequence[object]) -> Path:
    """Write events, or lines as they are, to a file."""
    lines = (event if isinstance(event, str) else json.dumps(event) for event in events)
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return path
