"""What a worker's log says from warnings on, for whoever looks at the terminal of `up`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

AGAIN_S = 10.0
"""The same is not said again for so long."""
_LEVELS = frozenset({"warning", "error", "critical"})
_NOT_SAID = frozenset({"event", "level", "timestamp", "exception", "logger"})
_PASSING = "GroupCoordinatorNotAvailableError"
"""Of a broker that has just started; the client asks again."""
_KEPT = 200
_LONGEST = 1_000


class Remarks:
    """Reads a log on as it grows."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._at = 0
        self._said: dict[str, float] = {}

    def more(self) -> Iterator[str]:
        """What has come since the last time, a line each."""
        with self._log.open("rb") as file:
            file.seek(self._at)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._at += len(whole)
        now = time.monotonic()
        for line in whole.splitlines():
            remark = remark_of(line)
            if remark is not None and self._said.get(remark, -AGAIN_S) <= now - AGAIN_S:
                if len(self._said) >= _KEPT:
                    self._said.clear()
                self._said[remark] = now
                yield remark


def remark_of(line: bytes) -> str | None:
    """A line of a log as people read it; None: it is no matter of theirs."""
    import msgspec

    try:
        told: Any = msgspec.json.decode(line)
    except msgspec.MsgspecError:
        return None
    if not isinstance(told, dict) or told.get("level") not in _LEVELS:
        return None
    about = [f"{name}: {_shown(value)}" for name, value in told.items() if name not in _NOT_SAID and value is not None]
    lines = str(told.get("exception") or "").strip().splitlines()
    about += lines[-1:]
    more = f" ({'; '.join(about)})" if about else ""
    text = f"worker {told['level']}: {told.get('event')}{more}"
    text = " ".join(text.split())
    if _PASSING in text:
        return None
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _shown(value: object) -> str:
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value)
