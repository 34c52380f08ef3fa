"""Correcting entries (recon.corrections.v1): what auto-resolution moves the books by, and what takes that back.

They change no record of a source. A discrepancy that a standing correction is for counts as settled as long as its
substance is the same.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from stream_recon.domain.discrepancies import Handling


class Correction(Struct, kw_only=True, frozen=True, omit_defaults=True, tag_field="record", tag="correction"):
    """One correcting entry, or one that takes an earlier one back."""

    correction_id: str
    """32 hex digits over the alert and its substance, so that the same is never corrected twice."""
    alert_id: str
    account: str
    asset: str | None = None
    """What the amount is of; where it is not one, `instrument` says it."""
    instrument: str | None = None
    position_side: str | None = None
    field: str
    """The field of the internal books that is moved."""
    amount: str
    """What is to be added to what the internal books say, so that they agree: exchange - internal.
    Of a state, what its interval added to the difference."""
    substance: str
    """32 hex digits over what was found; as long as it is the same, it is settled."""
    run_id: str
    """The run that found it; of what was taken back too."""
    day: str
    """The UTC date of the run's cut, whose budget it is charged to: 2026-01-31."""
    by: str
    """Who let the run correct, or took it back."""
    dry_run: bool = False
    """It only says what would be corrected: it settles nothing and costs nothing."""
    replaces: str | None = None
    """The correction of the same alert in whose place this one stands: what it moved is not moved beside this."""
    reverses: str | None = None
    """The correction that this one takes back."""


def correction_id(alert_id: str, substance: str) -> str:
    """The id of the correction of what was found."""
    return blake2b(f"correction\x1f{alert_id}\x1f{substance}".encode(), digest_size=16).hexdigest()


_CORRECTOR = "auto-resolution"
_REMARK = "correction "


def corrector(by: str) -> str:
    """In whose name an alert is settled that a correction is for."""
    return f"{_CORRECTOR} ({by})"


def is_corrector(by: str | None) -> bool:
    """Whether a correction did it, and no person."""
    return by is not None and by.startswith(f"{_CORRECTOR} (")


def remark(corrected: str) -> str:
    """The comment that such an alert is left with."""
    return f"{_REMARK}{corrected}"


def corrected_by(handling: Handling) -> str | None:
    """The id of the correction that settled an alert; "": one that a later comment covers; None: none did."""
    if not is_corrector(handling.resolved_by):
        return None
    comment = handling.comment or ""
    return comment.removeprefix(_REMARK) if comment.startswith(_REMARK) else ""


def undo_id(corrected: str) -> str:
    """The id of what takes a correction back: there can be only one."""
    return blake2b(f"undo\x1f{corrected}".encode(), digest_size=16).hexdigest()
