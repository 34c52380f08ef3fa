"""Auto-resolution: which discrepancies are corrected without a person, within a budget, once.

- Only what is small (`auto_resolvable`), follows from nothing else, sets the internal books against the exchange, and
  differs in one amount whose unit is known. Everything else is a person's.
- A budget limits how much of an asset (or instrument) is moved on one day, either way. It is given out in the order of
  ids; what does not fit is left, but not what comes after it and fits. What is taken back is not given out again.
- The id of a correction is a function of what was found: a run that is made again, or goes on after a crash in the
  midst of writing, makes the same. What a person took back is not corrected again until its substance changes.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, NamedTuple

from msgspec import Struct, structs

from stream_recon.domain.amounts import EXACT, plain, to_decimal
from stream_recon.domain.corrections import Correction, correction_id, undo_id
from stream_recon.domain.discrepancies import auto_resolvable, substance_digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from stream_recon.domain.discrepancies import Discrepancy, Kind

_ZERO = Decimal(0)
_BOOKS_AGAINST_EXCHANGE = frozenset({"internal:exchange", "exchange:cross"})

Unit = Literal["asset", "instrument", "fee_asset"]
CORRECTED: dict[tuple[Kind, str], Unit] = {
    ("position_mismatch", "qty"): "instrument",
    ("balance_mismatch", "total"): "asset",
    ("balance_mismatch", "delta"): "asset",
    ("fill_mismatch", "qty"): "instrument",
    ("fill_mismatch", "fee"): "fee_asset",
    ("order_mismatch", "cum_qty"): "instrument",
}
"""The fields that can be corrected, and what their amounts are of. A price is no amount of anything."""


class Terms(NamedTuple):
    """On whose behalf, and for which run, corrections are made."""

    run_id: str
    day: str
    """The UTC date of the cut."""
    by: str
    dry_run: bool = True


class NotUndone(Struct, frozen=True):
    """Why a correction is not taken back."""

    reason: Literal["unknown_correction", "undone_before"]
    detail: str
    """One sentence."""


class History:
    """All corrections there ever were, as far as they bear on what comes; in whatever order they are read."""

    def __init__(self, corrections: Iterable[Correction] = ()) -> None:
        self.made: dict[str, Correction] = {}
        """By id, without dry runs and what takes back; in the order they were read."""
        self.undone: set[str] = set()
        """Ids of those that were taken back."""
        self.spent: dict[tuple[str, str], Decimal] = {}
        """By (asset or instrument, day), what was moved, either way."""
        for correction in corrections:
            self.add(correction)

    def add(self, correction: Correction) -> None:
        """Take one in; again, it changes nothing."""
        if correction.dry_run:
            return
        if correction.reverses is not None:
            self.undone.add(correction.reverses)
        elif correction.correction_id not in self.made:
            self.made[correction.correction_id] = correction
            _charge(self.spent, correction)

    def standing(self) -> dict[str, Correction]:
        """By alert id, the correction that holds: the last one that was not taken back."""
        return {each.alert_id: each for each in self.made.values() if each.correction_id not in self.undone}


def absolved(discrepancy: Discrepancy, standing: Mapping[str, Correction]) -> bool:
    """Whether it was corrected, and is the same in substance since: then a run does not find it."""
    correction = standing.get(discrepancy.alert_id)
    return correction is not None and correction.substance == substance_digest(discrepancy)


def choose(
    discrepancies: Iterable[Discrepancy], budget: Mapping[str, Decimal], history: History, terms: Terms
) -> list[Correction]:
    """The corrections to make of what a run found, in the order of alert ids.

    `budget` is of a day, by asset or instrument; of what it does not name nothing is corrected. All that can be
    corrected is of one severity, so the order by severity and id is that by id.
    """
    standing, spent = history.standing(), dict(history.spent)
    chosen: list[Correction] = []
    for discrepancy in sorted(discrepancies, key=lambda each: each.alert_id):
        correction = _correction(discrepancy, standing, terms)
        if correction is None or correction.correction_id in history.made:
            continue
        unit = unit_of(correction)
        limit = budget.get(unit, _ZERO)
        if EXACT.add(spent.get((unit, terms.day), _ZERO), abs(to_decimal(correction.amount))) <= limit:
            _charge(spent, correction)
            chosen.append(correction)
    return chosen


def undo(corrected: str, history: History, by: str) -> Correction | NotUndone:
    """What takes a correction back, or why it cannot be."""
    correction = history.made.get(corrected)
    if correction is None:
        return NotUndone("unknown_correction", f"there is no correction {corrected} that was made, beyond a dry run")
    if corrected in history.undone:
        return NotUndone("undone_before", f"the correction {corrected} was taken back before")
    return structs.replace(
        correction,
        correction_id=undo_id(corrected),
        amount=plain(-to_decimal(correction.amount)),
        by=by,
        replaces=None,
        reverses=corrected,
    )


def day_of(cut_us: int) -> str:
    """The UTC date of a time."""
    return datetime.fromtimestamp(cut_us // 1_000_000, UTC).date().isoformat()


def unit_of(correction: Correction) -> str:
    """The asset or instrument that a correction moves."""
    return correction.asset or correction.instrument or ""


def _charge(spent: dict[tuple[str, str], Decimal], correction: Correction) -> None:
    key = unit_of(correction), correction.day
    spent[key] = EXACT.add(spent.get(key, _ZERO), abs(to_decimal(correction.amount)))


def _correction(discrepancy: Discrepancy, standing: Mapping[str, Correction], terms: Terms) -> Correction | None:
    """What would correct it; None: that is a person's to say.

    A state's residual is what its interval added to those before it, which have corrections of their own; so it counts
    and not the difference of the states.
    """
    if not auto_resolvable(discrepancy) or discrepancy.compared not in _BOOKS_AGAINST_EXCHANGE or _hangs(discrepancy):
        return None
    field = discrepancy.fields[0] if len(discrepancy.fields) == 1 else None
    unit = CORRECTED.get((discrepancy.kind, field.field)) if field is not None else None
    name = _named(discrepancy, unit) if unit is not None else None
    gap = field.difference if field is not None else None
    if field is None or name is None or gap is None:
        return None
    amount = to_decimal(discrepancy.residual) if discrepancy.residual is not None else -to_decimal(gap)
    if not amount:
        return None
    substance = substance_digest(discrepancy)
    before = standing.get(discrepancy.alert_id)
    return Correction(
        correction_id=correction_id(discrepancy.alert_id, substance),
        alert_id=discrepancy.alert_id,
        account=discrepancy.account,
        asset=None if unit == "instrument" else name,
        instrument=name if unit == "instrument" else None,
        position_side=discrepancy.position_side,
        field=field.field,
        amount=plain(amount),
        substance=substance,
        run_id=terms.run_id,
        day=terms.day,
        by=terms.by,
        dry_run=terms.dry_run,
        replaces=before.correction_id if before is not None else None,
    )


def _hangs(discrepancy: Discrepancy) -> bool:
    """Whether something else is to be mended, or waited for, first."""
    return bool(discrepancy.explained_by) or any(
        part.name == "pending" and to_decimal(part.amount) for part in discrepancy.split
    )


def _named(discrepancy: Discrepancy, unit: Unit) -> str | None:
    """What the amount is of; None: that is not known."""
    if unit == "fee_asset":
        said = {each.record.get("fee_asset") for each in discrepancy.evidence}
        asset = said.pop() if len(said) == 1 else None
        return asset if isinstance(asset, str) else None
    return discrepancy.asset if unit == "asset" else discrepancy.instrument
