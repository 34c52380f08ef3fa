"""The audit store of runs that are made from Python, without Kafka: one chain, of their results."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from stream_recon.audit.chain import Place, record
from stream_recon.audit.errors import StoreError
from stream_recon.audit.store import AuditStore
from stream_recon.core.results import published_form

if TYPE_CHECKING:
    from stream_recon.domain.results import ReconciliationResult

RESULTS = Place("python.results", 0)
_ENCODE = msgspec.json.Encoder().encode


class LocalAudit:
    """Keeps the results of a `ReconciliationService`."""

    def __init__(self, url: str) -> None:
        """`url`: as `sqlite:///audit.db` or `postgresql+psycopg://...`.

        Raises:
            StoreRefusedError: it is of no use.
        """
        self._store = AuditStore(url)

    async def is_writable(self) -> bool:
        """Whether it can be written to now; makes it, if it is not there."""
        try:
            await asyncio.to_thread(self._store.create)
            await asyncio.to_thread(self._store.check_writable)
        except StoreError:
            return False
        return True

    async def record_result(self, result: ReconciliationResult) -> None:
        """Append a result to the chain.

        Raises:
            StoreError: it could not be; nothing was appended.
        """
        await asyncio.to_thread(self._append, result)

    def _append(self, result: ReconciliationResult) -> None:
        head = self._store.heads().get(RESULTS)
        offset = head.next_offset if head is not None else 0
        entry = record(
            offset, result.end_time_us or result.start_time_us, result.reconciliation_id.encode(),
            _ENCODE(published_form(result)),
        )  # fmt: skip
        self._store.append({RESULTS: [entry]})
