"""What an audit writer counts; beside the worker's metrics, where it runs inside one."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

LAG = Gauge("stream_recon_audit_lag_records", "Records of an audited topic that are not kept yet", ["topic"])
UP = Gauge("stream_recon_audit_up", "1: the audit store takes what is written; 0: it does not, and the audit waits")
KEPT = Counter("stream_recon_audit_records", "Records written to the audit store", ["topic"])
GAPS = Counter("stream_recon_audit_gap_records", "Records that were gone before they could be audited", ["topic"])
