"""What of all that was published lies inside the scope of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream_recon.core.newest import unpack
from stream_recon.core.runs import covers
from stream_recon.domain.lifecycle import STANDING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from stream_recon.core.newest import Newest
    from stream_recon.domain.discrepancies import Discrepancy, Identity, Kind
    from stream_recon.domain.results import Scope

KINDS: Mapping[Identity, frozenset[Kind]] = {
    "trade": frozenset({"missing_internal", "missing_exchange", "fill_mismatch", "duplicate_conflict"}),
    "order": frozenset({"order_mismatch"}),
    "position": frozenset({"position_mismatch"}),
    "balance": frozenset({"balance_mismatch", "ledger_missing", "duplicate_conflict"}),
    "net_change": frozenset({"net_change_mismatch"}),
}
"""The kinds that an identity may have: what is of no other kind need not be unpacked."""


def standing(newest: Newest, scope: Scope) -> Iterator[Discrepancy]:
    """What stands inside the scope, by id."""
    kinds = frozenset[str]().union(*(KINDS[identity] for identity in scope.identities))
    found = {kept.alert_id: kept for kept in newest.discrepancies() if kept.status in STANDING and kept.kind in kinds}
    for name in sorted(found):
        alert = unpack(found[name])
        if covers(scope, alert):
            yield alert
