"""What a worker counts, and where it can be asked: /metrics, /livez and /readyz on the loopback interface."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from collections.abc import Callable

EVENTS = Counter("stream_recon_events", "Records read (rejected: not understood)", ["origin", "kind"])
VERDICTS = Gauge("stream_recon_records", "Records by what became of them, over all partitions held", ["verdict"])
OPEN = Gauge("stream_recon_open", "Open discrepancies and feed conditions, by kind or reason", ["kind"])
TRANSITIONS = Counter("stream_recon_transitions", "Transitions published", ["kind", "transition"])
DLQ = Counter("stream_recon_dlq", "Records sent to the DLQ", ["reason"])
PACK = Histogram(
    "stream_recon_pack_records", "Records per pack", buckets=(1, 3, 10, 30, 100, 300, 1000, 2000)
)  # fmt: skip
STAGE = Counter("stream_recon_stage_seconds", "Time spent, by stage of a pack", ["stage"])
LATENCY = Histogram(
    "stream_recon_publish_latency_seconds",
    "From Kafka's time of the record that made a transition due to its delivery",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 60),
)
LAG = Gauge("stream_recon_lag_records", "Records of a source topic that are not yet applied", ["topic"])
WATERMARK_LAG = Gauge(
    "stream_recon_watermark_lag_seconds", "How far the slowest watermark of a source topic is behind now", ["topic"]
)  # fmt: skip
RESTORED = Counter("stream_recon_restored_messages", "Messages of state read back")
SNAPSHOTS = Counter("stream_recon_snapshots", "Complete snapshots of state written")
STATE_BYTES = Counter("stream_recon_state_bytes", "Bytes of state written")
LOST = Counter("stream_recon_lost_records", "Records that were deleted before they were read, and accepted", ["topic"])
PARTITIONS = Gauge("stream_recon_partitions", "Partition numbers held")
RUNS = Counter("stream_recon_runs", "Runs, by reconciliation type and what they came to", ["type", "status"])
RUN_SECONDS = Histogram(
    "stream_recon_run_seconds", "How long runs took, by type", ["type"],
    buckets=(0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000),
)  # fmt: skip
RUN_RECORDS = Counter("stream_recon_run_records", "Records that runs have processed, by type", ["type"])
RUN_SUCCEEDED = Gauge("stream_recon_run_last_success_timestamp_seconds", "When a type last completed", ["type"])
RETRIES = Counter("stream_recon_run_retries", "Attempts beyond the first, by type", ["type"])
COMMANDS = Counter(
    "stream_recon_commands", "Commands read, by name and whether they took effect", ["command", "answer"]
)
FALLBACKS = Counter("stream_recon_run_fallbacks", "Runs in place of a type that is not supported, by type", ["type"])


def count_run(kind: str, status: str, took_s: float, records: int, end_us: int | None) -> None:
    """Note what a run came to."""
    RUNS.labels(kind, status).inc()
    RUN_SECONDS.labels(kind).observe(took_s)
    RUN_RECORDS.labels(kind).inc(records)
    if status == "completed" and end_us is not None:
        RUN_SUCCEEDED.labels(kind).set(end_us / 1e6)


def serve(port: int, alive: Callable[[], bool], ready: Callable[[], bool]) -> int:
    """Answer on 127.0.0.1 from a thread of its own; gives the port (another one, where 0 was asked for).

    Raises:
        OSError: the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(200, generate_latest(), CONTENT_TYPE_LATEST)
            elif self.path in {"/livez", "/readyz"}:
                fine = alive() if self.path == "/livez" else ready()
                self._answer(200 if fine else 503, b"ok\n" if fine else b"no\n", "text/plain")
            else:
                self._answer(404, b"", "text/plain")

        def _answer(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Requests are not worth a line each."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    return int(server.server_address[1])
