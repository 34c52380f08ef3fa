"""What one worker is told, and the ways in which it refuses to go on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from stream_recon.domain.contracts import Contracts
from stream_recon.domain.instruments import Instruments
from stream_recon.domain.topics import TopicPlan
from stream_recon.shell.configuration import Configuration, defaults


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerSettings:
    """One worker of one group; times in seconds."""

    bootstrap: str
    """host:port, comma-separated."""
    group_id: str = "stream-recon"
    plan: TopicPlan = field(default_factory=TopicPlan)
    contracts: Contracts = field(default_factory=Contracts)
    instruments: Instruments = field(default_factory=Instruments)
    configuration: Configuration = field(default_factory=defaults)
    """What holds when it starts."""
    delta_window_s: int = 300
    """How long the windows are in which net changes are compared; 0: they are not."""
    host: Literal["faust", "plain"] = "faust"
    http_port: int | None = None
    """Of /metrics, /livez and /readyz on the loopback interface; 0 takes a free one, None is none."""
    runs: bool = True
    """Have a child process that replays logs for runs, and coordinates them where the control topic is its own."""
    session_timeout_s: float = 10.0
    heartbeat_s: float = 3.0
    stall_timeout_s: float = 60.0
    """A worker that has work and gets nothing done for so long ends itself."""
    snapshot_bytes: int = 64_000_000
    """How much state is written, at least, between two snapshots of a partition."""
    accept_loss: bool = False
    """Go on where the log has been cut off above what was read, instead of refusing to start."""
    log_json: bool = True
    """JSON lines, or lines for people."""
    log_quiet: bool = False
    """From warnings on only."""


class RefusedError(Exception):
    """Something is not as it must be; the message says what, where, and what to do."""


class FencedError(Exception):
    """The partition has another owner by now."""
