"""From what the partitions of a run answered to its result: a pure function, whatever the order of the answers."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import structs

from stream_recon.core.runs import digest
from stream_recon.domain.amounts import EXACT, plain, to_decimal
from stream_recon.domain.discrepancies import auto_resolvable
from stream_recon.domain.results import LISTED, NAMED, Certificate, ReconciliationResult, Scope, Summary

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from stream_recon.core.promises import Class
    from stream_recon.domain.discrepancies import Discrepancy, FeedCondition, Identity
    from stream_recon.domain.work import Partial

NEEDED: Mapping[Identity, frozenset[Class]] = {
    "trade": frozenset({"fill"}),
    "order": frozenset({"order"}),
    "position": frozenset({"position"}),
    "balance": frozenset({"balance", "ledger"}),
    "net_change": frozenset({"fill", "ledger"}),
}
"""Records without any of which there is nothing to compare."""
_SEVERITY_RANK = {"critical": 0, "warning": 1, "info": 2}
TOP_ACCOUNTS = 10


class Rules(NamedTuple):
    """What a run was done by, for its certificate."""

    strategy: str
    config: dict[str, Any]
    absolute: dict[str, tuple[str | None, str | None]]
    config_version: int
    config_digest: str
    contracts_digest: str
    instruments_digest: str
    code_version: str


def gather(parts: Iterable[Partial]) -> Partial:
    """The parts of one partition's answer as one."""
    ordered = sorted({part.part: part for part in parts}.values(), key=lambda part: part.part)
    return structs.replace(
        ordered[0],
        discrepancies=[each for part in ordered for each in part.discrepancies],
        conditions=[each for part in ordered for each in part.conditions],
        parts=1,
    )


def conclude(  # noqa: PLR0913 - all that a result is made of
    begun: ReconciliationResult,
    scope: Scope,
    rules: Rules,
    partials: Sequence[Partial],
    *,
    end_us: int,
    corrected: Collection[str] = (),
    absolved: Collection[str] = (),
    missing: Collection[int] = (),
    checkpoint: str | None = None,
) -> ReconciliationResult:
    """The result of a run whose partitions have answered.

    `corrected`: ids of discrepancies that this run corrected; `absolved`: of those that earlier ones did; `missing`:
    partitions that did not answer in time; `checkpoint`: the run on whose closing state they were asked to go on.
    """
    ordered = sorted(partials, key=lambda each: each.partition)
    everything = sorted(
        (each for partial in ordered for each in partial.discrepancies),
        key=lambda each: (_SEVERITY_RANK[each.severity], each.alert_id),
    )
    found = [each for each in everything if each.alert_id not in absolved]
    conditions = [each for partial in ordered for each in partial.conditions]
    late = [each for partial in ordered for each in partial.unsettled]
    counts = Counter[str]()
    for partial in ordered:
        counts.update(partial.counts)
    summary = _summary(found, conditions, counts, ordered, scope)
    nothing = summary.not_reported == [*scope.identities]
    notes = [*begun.notes, *(note for partial in ordered for note in partial.notes)]
    if nothing:
        notes.append(f"nothing was compared: nobody has reported any {words_of(summary.not_reported)}")
    errors = [f"partition {partial.partition}: {error}" for partial in ordered for error in partial.errors]
    errors += [f"partition {number}: it did not answer in time" for number in sorted(missing)]
    certificate = Certificate(
        scope=scope,
        topics=[cut for partial in ordered for cut in partial.topics],
        unsettled=late,
        records=counts["consumed"],
        duplicates=counts["duplicate"],
        rejected=counts["rejected"],
        absolved=sorted(absolved),
        verdicts_digest=digest(everything, conditions, late, sorted(counts.items())),
        checkpoint=checkpoint if any(partial.checkpoint_of == checkpoint for partial in ordered) else None,
        anew=[partial.partition for partial in ordered if checkpoint is not None and partial.checkpoint_of is None],
        **rules._asdict(),
    )
    result = structs.replace(
        begun,
        status="failed" if errors and all(partial.errors for partial in ordered) else
        "partial" if errors or late or conditions or nothing else "completed",
        end_time_us=end_us,
        total_records_processed=counts["consumed"],
        discrepancies_found=len(found),
        auto_resolved_count=len(corrected),
        manual_resolution_required=sum(
            not each.explained_by and each.alert_id not in corrected and not auto_resolvable(each) for each in found
        ),
        summary=summary,
        errors=[*begun.errors, *errors],
        notes=list(dict.fromkeys(notes)),
        config_version=rules.config_version,
        certificate=certificate,
        alert_ids=[each.alert_id for each in found],
        discrepancies=found,
        conditions=conditions,
    )  # fmt: skip
    certificate.digest = result_digest(result)
    return result


def published_form(result: ReconciliationResult) -> ReconciliationResult:
    """The result with no more discrepancies than one record should list."""
    return structs.replace(
        result, alert_ids=result.alert_ids[:NAMED], discrepancies=result.discrepancies[:LISTED],
        conditions=result.conditions[:LISTED],
    )  # fmt: skip


def result_digest(result: ReconciliationResult) -> str:
    """A hash over all that a result says, but for its id, its times, and who asked for it."""
    certificate = result.certificate
    assert certificate is not None
    shown = published_form(result)
    return digest(
        structs.replace(
            shown,
            reconciliation_id="", start_time_us=0, end_time_us=0, command_id=None, issued_by=None, plan=None,
            command_offset=None, checkpoints={},
            summary=structs.replace(shown.summary, seconds={}), certificate=structs.replace(certificate, digest=""),
        )
    )  # fmt: skip


def _summary(
    found: Sequence[Discrepancy],
    conditions: Sequence[FeedCondition],
    counts: Counter[str],
    partials: Sequence[Partial],
    scope: Scope,
) -> Summary:
    heard = {kind for partial in partials for kind in partial.reported}
    accounts = Counter(each.account for each in found)
    seconds = Counter[str]()
    for partial in partials:
        seconds.update(partial.seconds)
    return Summary(
        not_reported=[identity for identity in scope.identities if not NEEDED[identity] & heard],
        by_kind=_count(each.kind for each in found),
        by_severity=_count(each.severity for each in found),
        by_identity=_count(each.identity for each in found),
        by_verdict={
            "MATCHED": counts["matched"] if "trade" in scope.identities else 0,
            "BREAK": len(found), "UNVERIFIED": counts["unheard"],
            "INDETERMINATE": counts["waiting"] + counts["unverified"] + counts["rejected"],
        },
        indeterminate=_count(each.reason for each in conditions),
        critical_issues=sum(each.severity == "critical" for each in found),
        pending=sum(partial.pending for partial in partials),
        explained=sum(bool(each.explained_by) for each in found),
        net_amounts=_net(found),
        top_accounts=sorted(accounts.items(), key=lambda each: (-each[1], each[0]))[:TOP_ACCOUNTS],
        seconds={stage: round(took, 3) for stage, took in sorted(seconds.items())},
    )  # fmt: skip


def words_of(identities: Iterable[Identity]) -> str:
    """The records that identities compare, in words."""
    words = {"trade": "fills", "order": "orders", "position": "positions", "balance": "balances",
             "net_change": "fills or ledger entries"}  # fmt: skip
    return ", ".join(words[identity] for identity in identities)


def _count(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _net(found: Iterable[Discrepancy]) -> dict[str, str]:
    """What is unexplained, added up by asset, or by instrument where it is one of a position."""
    net: dict[str, Decimal] = {}
    with localcontext(EXACT):
        for each in found:
            name = each.asset or each.instrument
            if name is None or each.residual is None or each.identity == "order":
                continue
            unexplained = [part.amount for part in each.split if part.name == "unexplained"]
            amounts = unexplained if each.split else [each.residual]
            net[name] = sum(map(to_decimal, amounts), net.get(name, Decimal(0)))
    return {name: plain(amount) for name, amount in sorted(net.items()) if amount}
