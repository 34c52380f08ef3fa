"""One valid command of each kind, as it comes from Kafka."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

NOW_US = 1_764_000_000_000_000
SECOND_US = 1_000_000
ALERT = "0f3a5c7e9b1d2f4a6c8e0b2d4f6a8c0e"
COMMON: dict[str, Any] = {"command_id": "c-1", "issued_by": "renee", "issued_us": NOW_US}
OWN: dict[str, dict[str, Any]] = {
    "reconcile": {
        "type": "full", "accounts": ["binance|desk-1", "b|a|c"], "cut_us": NOW_US - 1,
        "params": {
            "max_discrepancy_threshold": 0.02, "auto_resolve_threshold": "0.001", "include_pending_trades": False,
            "historical_lookback_hours": 48, "enable_alerts": True, "batch_size": 500, "timeout_seconds": 60,
            "retry_attempts": 0,
        },
    },
    "cancel": {"run_id": "6f1c0c1ab81f4c0e9f0e2a4d"},
    "set_config": {"values": {"reconciliation.batch_size": 2000, "a.b": [1, {"c": None}], "d": "x"}},
    "acknowledge": {"alert_id": ALERT},
    "resolve": {"alert_id": ALERT, "comment": "see ticket\n4711", "assignee": "", "until_us": NOW_US},
    "reopen": {"alert_id": ALERT},
    "comment": {"alert_id": ALERT, "comment": ""},
    "assign": {"alert_id": ALERT, "assignee": "bob"},
    "suppress": {"alert_id": ALERT, "until_us": NOW_US + 1},
    "undo": {"correction_id": "a1b2"},
    "dismiss": {"topic": "recon.internal.fills.v1", "partition": 0, "offset": 8812},
}  # fmt: skip
SIGNED = {"key_id": "alice-1", "signature": "A" * 86 + "=="}


def example(name: str, **changes: Any) -> dict[str, Any]:
    """The command of that name, with other fields."""
    return {"command": name, **COMMON, **OWN[name], **changes}


def written(command: Mapping[str, Any]) -> bytes:
    """As JSON writes it."""
    return json.dumps(command).encode()
