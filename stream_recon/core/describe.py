"""What is said of a discrepancy: its id, the fields that differ, the records, its size and severity, and a sentence."""

from __future__ import annotations

import json
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from stream_recon.core.cases import AMOUNT_FIELDS, CONTENT_FIELDS, EXACTLY, differing_fields, fold
from stream_recon.domain.amounts import difference, plain, relative_size, to_decimal
from stream_recon.domain.discrepancies import Discrepancy, Evidence, FieldDifference, alert_id, severity_of, worst
from stream_recon.domain.events import ORIGINS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stream_recon.core.cases import Claim, Seen, Tolerance
    from stream_recon.core.findings import Finding
    from stream_recon.domain.discrepancies import Kind, Severity, SplitPart, Thresholds
    from stream_recon.domain.events import Stream


_LONG_INTEGER = 4_300
"""Digits: longer ones, in fields that mean nothing to us, stay the text they were written as."""
_READ = msgspec.json.Decoder(dict[str, object], float_hook=str).decode


def record_of(value: bytes) -> dict[str, object]:
    """The fields of an accepted record as they were sent, fractions as text."""
    try:
        return _READ(value)
    except msgspec.ValidationError:  # an integer beyond what Python turns into one
        return dict(json.loads(value, parse_float=str, parse_int=lambda d: int(d) if len(d) <= _LONG_INTEGER else d))


class Place(NamedTuple):
    """Where the records of a lane lie."""

    topics: tuple[str | None, str | None]
    """Of internal and exchange fills; None for files."""
    partition: int | None


def split_key(key: str) -> tuple[str, str, str, str]:
    """(account, instrument, root trade id, side) of a trade key."""
    account, instrument, trade_id, side = key.split("\x1f")
    return account, instrument, trade_id, side


@lru_cache(1024)
def trade_alert_id(key: str, kind: Kind, origin: int) -> str:
    """The id of a discrepancy of the trade identity: account, identity, the origins compared, business key."""
    account, instrument, trade_id, side = split_key(key)
    return alert_id(account, "trade", kind, compared_of(kind, origin), instrument, trade_id, side)


def compared_of(kind: Kind, origin: int) -> str:
    """Which origins a finding of the trade identity compares."""
    return ORIGINS[origin] if kind == "duplicate_conflict" else "internal:exchange"


def discrepancy_of(key: str, claim: Claim, tolerance: Tolerance, place: Place, thresholds: Thresholds) -> Discrepancy:
    """The published form of a claim. Its version, transition and status are the register's."""
    account, instrument, trade_id, side = split_key(key)
    venue, account_id = account.split("|", 1)
    fields = _fields(claim, tolerance)
    size = _size(fields)
    event_us = max(seen.ts_us for records in claim.sides for seen in records)
    return Discrepancy(
        alert_id=trade_alert_id(key, claim.kind, claim.origin),
        version=0,
        transition="OPENED",
        status="OPEN",
        kind=claim.kind,
        identity="trade",
        severity=_severity(claim, fields, size, thresholds, instrument),
        account=account,
        venue=venue,
        account_id=account_id,
        compared=compared_of(claim.kind, claim.origin),
        instrument=instrument,
        trade_id=trade_id,
        side=side,
        event_us=event_us,
        due_us=claim.due_us if claim.clocks else event_us,
        cause=_cause(claim, fields),
        fields=fields,
        evidence=[
            Evidence(
                origin=ORIGINS[o],
                topic=place.topics[o],
                partition=place.partition if seen.offset is not None else None,
                offset=seen.offset,
                record=_record(seen),
            )
            for o in (0, 1)
            for seen in claim.sides[o]
        ],
        size=plain(size),
    )


def published_form(  # noqa: PLR0913, PLR0917 - a finding, and what only its publisher knows
    account: str,
    name: str,
    finding: Finding,
    parts: list[SplitPart],
    explained_by: list[str],
    topics: Mapping[tuple[int, Stream], str | None],
    partition: int | None,
    thresholds: Thresholds,
) -> Discrepancy:
    """The published form of a finding about orders, positions, balances or ledgers."""
    venue, account_id = account.split("|", 1)
    asset = finding.names.get("asset", finding.names.get("instrument"))
    return Discrepancy(
        alert_id=name,
        version=0,
        transition="OPENED",
        status="OPEN",
        kind=finding.kind,
        identity=finding.identity,
        severity=worst(
            severity_of(
                finding.kind,
                _numeric_size(field),
                thresholds,
                asset=asset,
                amount=to_decimal(field.difference) if field.difference is not None else None,
            )
            if field.field != "status"
            else "warning"
            for field in finding.fields
        ),
        account=account,
        venue=venue,
        account_id=account_id,
        compared=finding.compared,
        instrument=finding.names.get("instrument"),
        position_side=finding.names.get("position_side"),
        asset=finding.names.get("asset"),
        order_id=finding.names.get("order_id"),
        ledger_id=finding.names.get("ledger_id"),
        event_us=finding.event_us,
        due_us=finding.due_us,
        cause=finding.cause,
        fields=finding.fields,
        evidence=[
            Evidence(
                origin=ORIGINS[told.origin],
                topic=topics.get((told.origin, told.stream)),
                partition=partition if told.offset is not None else None,
                offset=told.offset,
                record=record_of(told.value),
            )
            for told in finding.evidence
        ],
        size=plain(max(map(_numeric_size, finding.fields), default=Decimal(0))),
        interval=finding.interval,
        residual=plain(finding.residual) if finding.residual is not None else None,
        split=parts,
        explained_by=explained_by,
    )


def _numeric_size(field: FieldDifference) -> Decimal:
    """The size of a difference between what was explained and what was reported."""
    return Decimal(1) if field.field in {"status", "asset"} else _size_of(field)


def _record(seen: Seen) -> dict[str, object]:
    """The record as it was sent; of one that was agreed and put away, the fields that are kept."""
    if seen.value is not None:
        return record_of(seen.value)
    return {"trade_id": seen.trade_id, **_contents(seen)}


def _contents(seen: Seen) -> dict[str, str]:
    return {f: v for f, v in zip(CONTENT_FIELDS, seen.content.split("\x1f"), strict=True) if v}


def _fields(claim: Claim, tolerance: Tolerance) -> list[FieldDifference]:
    """The differing fields; for a missing fill every field that the other side has."""
    faces = fold(claim.sides[0]), fold(claim.sides[1])
    if claim.kind == "duplicate_conflict":
        first, second = faces[claim.origin].live[:2]
        names = differing_fields(first.content, second.content, EXACTLY)
        return [_difference(name, _contents(first).get(name), _contents(second).get(name)) for name in names]
    ours, theirs = (_contents(face.live[0]) if face.live else {} for face in faces)
    if ours and theirs:
        names = differing_fields(faces[0].live[0].content, faces[1].live[0].content, tolerance)
        return [_difference(name, ours.get(name), theirs.get(name)) for name in names]
    return [FieldDifference(name, ours.get(name), theirs.get(name)) for name in ours or theirs]


def _difference(field: str, internal: str | None, exchange: str | None) -> FieldDifference:
    if field in AMOUNT_FIELDS and internal is not None and exchange is not None:
        return FieldDifference(field, internal, exchange, plain(difference(internal, exchange)))
    return FieldDifference(field, internal, exchange)


def _severity(
    claim: Claim, fields: list[FieldDifference], size: Decimal, thresholds: Thresholds, instrument: str
) -> Severity:
    """That of the worst field. A fee is an amount of its asset, a quantity one of its instrument."""
    if not thresholds.absolute:
        return severity_of(claim.kind, size, thresholds)
    asset_of = {"qty": instrument}
    for side in claim.sides:
        for seen in side:
            asset_of["fee"] = _contents(seen).get("fee_asset", asset_of.get("fee", ""))
    return worst(
        severity_of(
            claim.kind,
            _size_of(field),
            thresholds,
            asset=asset_of.get(field.field),
            amount=to_decimal(field.difference) if field.difference is not None else None,
        )
        for field in fields
    )


def _size(fields: list[FieldDifference]) -> Decimal:
    """The size of the field that differs most."""
    return max(map(_size_of, fields), default=Decimal(0))


def _size_of(field: FieldDifference) -> Decimal:
    """The size of a difference; 1 where one side has none, or that is no number."""
    if field.difference is None or field.internal is None or field.exchange is None:
        return Decimal(1)
    return relative_size(field.internal, field.exchange)


def _cause(claim: Claim, fields: list[FieldDifference]) -> str:
    sides = claim.sides
    if claim.kind == "duplicate_conflict":
        origin = ORIGINS[claim.origin]
        return f"{origin} sent this fill more than once, with different {_names(fields)}; no copy is believed"
    if claim.kind == "fill_mismatch":
        corrected = [ORIGINS[o] for o in (0, 1) if fold(sides[o]).amended]
        if len(corrected) == 1:
            return f"{corrected[0]} corrected this fill, the other side did not: {_names(fields)} differ"
        return f"both sides have this fill, but disagree on {_names(fields)}"
    here, lacking = ORIGINS[1 - claim.origin], ORIGINS[claim.origin]
    if sides[claim.origin]:
        return f"{lacking} busted this fill, {here} still counts it"
    return f"{here} has this fill, {lacking} never sent it"


def _names(fields: list[FieldDifference]) -> str:
    return ", ".join(field.field for field in fields) or "content"
