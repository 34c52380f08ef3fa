"""A tenth reconciliation type: fills against fills, and nothing else."""

from __future__ import annotations

from stream_recon.strategies.registry import Strategy

FILLS_ONLY = Strategy("fills_only", ("trade",), purpose="fills against fills, without orders")
