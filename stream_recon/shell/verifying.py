"""Checking a result without trusting whoever made it: the log is read again, and must come to the same.

What is checked, in this order: that the result is what its certificate was made for; that the records between the
offsets it names are those it was made of, each of them; and that the same verdicts follow from them. A result of the
live state (emergency, real_time, delta) has no records of its own: of it only the first can be checked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition
from msgspec import structs

from stream_recon.core.corrections import History
from stream_recon.core.results import Rules, conclude, published_form, result_digest
from stream_recon.core.runs import digest
from stream_recon.domain.corrections import Correction
from stream_recon.domain.results import FINAL, LISTED, ReconciliationResult, Summary
from stream_recon.domain.work import ReplayItem
from stream_recon.shell.clients import new_reader, opened, read_spans, require
from stream_recon.shell.replaying import Replay, read_checkpoint
from stream_recon.strategies.registry import registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream_recon.domain.results import Certificate, TopicCut
    from stream_recon.domain.work import CheckpointPart, Partial
    from stream_recon.shell.settings import WorkerSettings

FOLLOWS = (
    "status", "total_records_processed", "discrepancies_found", "manual_resolution_required", "summary",
    "alert_ids", "discrepancies", "conditions",
)  # fmt: skip
"""What of a result follows from the records alone."""
_ENCODE = msgspec.json.Encoder(order="sorted").encode
_SHOWN = 120
RULES_OF = {
    "contracts_digest": "the feed contracts are others than those of the run: give --contracts with the file it used",
    "instruments_digest": "the instruments are others than those of the run: give --instruments with the file it used",
}


class Verified(NamedTuple):
    """What came of a check."""

    wrong: list[str]
    """What does not hold; empty: everything that could be checked does."""
    unchecked: list[str]
    """What could not be checked, and why."""
    records: int
    """How many were read again."""


class _Watched:
    """Tells how far a replay is."""

    def __init__(self, partition: int, tell: Callable[[int, int, int], None]) -> None:
        self._partition, self._tell = partition, tell

    async def step(self, stage: str, records: int, of: int) -> None:
        """As `replaying.Oversight`."""
        del stage
        self._tell(self._partition, records, of)

    async def aside(self, seconds: float) -> None:
        """Nobody else waits, and nothing is waited for: where to end is known."""


async def verify(
    settings: WorkerSettings,
    result: ReconciliationResult,
    earlier: Callable[[str], ReconciliationResult | None],
    tell: Callable[[int, int, int], None],
) -> Verified:
    """Check a result against the log.

    `earlier` gives other results by id, `tell` hears (partition, records, of).

    Raises:
        KafkaError: the log cannot be read.
    """
    certificate = result.certificate
    if result.status not in FINAL or certificate is None:
        return Verified([], [f"run {result.reconciliation_id} is {result.status}: it has no certificate"], 0)
    wrong = []
    if result_digest(result) != certificate.digest:
        wrong.append("the result is not the one that its certificate was made for: something in it was changed")
    if not certificate.topics:
        return Verified(wrong, ["no log was read for it: there is nothing to check it by"], 0)
    if any(not cut.digest for cut in certificate.topics):
        return Verified(wrong, ["it tells of the live state, which is not in the log: nothing was read again"], 0)
    try:
        registry().of(certificate.strategy)
    except ValueError as error:
        return Verified(wrong, [f"{error}: nothing was read again; install the package that adds it"], 0)
    used = {
        "contracts_digest": digest(settings.contracts.model_dump(mode="json")),
        "instruments_digest": digest(settings.instruments.model_dump(mode="json")),
    }
    differ = [why for name, why in RULES_OF.items() if getattr(certificate, name) != used[name]]
    if differ:
        return Verified([*wrong, *differ], ["the log was not read again"], 0)
    async with opened(new_reader(settings)) as reader:
        return await _again(settings, reader, result, certificate, earlier, tell, wrong)


async def _again(  # noqa: PLR0913, PLR0917 - as `verify`
    settings: WorkerSettings, reader: AIOKafkaConsumer, result: ReconciliationResult, certificate: Certificate,
    earlier: Callable[[str], ReconciliationResult | None], tell: Callable[[int, int, int], None], wrong: list[str],
) -> Verified:  # fmt: skip
    partitions = sorted({cut.partition for cut in certificate.topics})
    partials: list[Partial] = []
    unchecked: list[str] = []
    for partition in partitions:
        carried: list[CheckpointPart] = []
        if certificate.checkpoint is not None and partition not in certificate.anew:
            before = earlier(certificate.checkpoint)
            at = before.checkpoints.get(str(partition)) if before is not None else None
            kept = TopicPartition(settings.plan.name("partials"), partition)
            carried = await read_checkpoint(reader, kept, at) if at is not None else []
            if not carried:
                gone = f"partition {partition}: the closing state of run {certificate.checkpoint} is no longer there"
                return Verified(wrong, [gone], 0)
        cuts = [cut for cut in certificate.topics if cut.partition == partition]
        item = ReplayItem(
            run_id=result.reconciliation_id, type=result.type, strategy=certificate.strategy, scope=certificate.scope,
            deadline_us=0, config=certificate.config, absolute=certificate.absolute,
            starts={cut.topic: cut.first_offset for cut in cuts},
            ends={cut.topic: cut.end_offset for cut in cuts},
        )  # fmt: skip
        strategy = registry().of(certificate.strategy)
        try:
            replay = Replay(settings, strategy, partition, item, _Watched(partition, tell), carried)
            partial = (await replay.run(reader)).partial
        except LookupError as error:
            return Verified(wrong, [f"{error}: the log does not keep them as long as the result"], 0)
        partials.append(partial)
        wrong += _differences(cuts, partial.topics)
    if not wrong:
        wrong += _verdicts(result, certificate, partials)
    return Verified(wrong, unchecked, sum(partial.counts["consumed"] for partial in partials))


def _differences(said: list[TopicCut], found: list[TopicCut]) -> list[str]:
    """Where the log does not hold what the certificate says."""
    wrong = []
    for cut in said:
        again = next((each for each in found if each.topic == cut.topic), None)
        where = f"{cut.topic} partition {cut.partition}, offsets {cut.first_offset} to {cut.end_offset - 1}"
        if again is None:
            wrong.append(f"{where}: nothing of it could be read")
        elif again.end_offset < cut.end_offset:
            wrong.append(f"{where}: the log ends at offset {again.end_offset - 1}")
        elif again.records != cut.records:
            wrong.append(f"{where}: {again.records:,} records, not {cut.records:,}")
        elif again.digest != cut.digest:
            wrong.append(f"{where}: a record is not what it was")
        elif again.watermarks != cut.watermarks:
            wrong.append(f"{where}: the sources are not as far as the certificate says")
    return wrong


def _verdicts(result: ReconciliationResult, certificate: Certificate, partials: list[Partial]) -> list[str]:
    """Where other verdicts follow from the same records."""
    rules = Rules(
        strategy=certificate.strategy, config=certificate.config, absolute=certificate.absolute,
        config_version=certificate.config_version,
        config_digest=certificate.config_digest, contracts_digest=certificate.contracts_digest,
        instruments_digest=certificate.instruments_digest, code_version=certificate.code_version,
    )  # fmt: skip
    again = conclude(result, certificate.scope, rules, partials, end_us=0, absolved=certificate.absolved)
    assert again.certificate is not None
    if again.certificate.verdicts_digest == certificate.verdicts_digest:
        shown, told = published_form(again), published_form(result)
        return [
            f"{name}: the records come to {_short(getattr(shown, name))}, not {_short(getattr(told, name))}"
            for name in FOLLOWS
            if _plain(getattr(shown, name)) != _plain(getattr(told, name)) and not (name == "status" and result.errors)
        ]
    found = {each.alert_id: each for each in again.discrepancies}
    said = {each.alert_id: each for each in result.discrepancies}
    listed = len(result.discrepancies) < LISTED  # else the result lists only the first of them
    wrong = [
        f"discrepancy {name} follows from the records, and is not in the result"
        for name in found
        if listed and name not in said
    ]
    wrong += [
        f"discrepancy {name} is in the result, and does not follow from the records"
        for name in said
        if name not in found
    ]
    wrong += [
        f"discrepancy {name} is another one than follows from the records"
        for name in said
        if name in found and msgspec.json.encode(said[name]) != msgspec.json.encode(found[name])
    ]
    if result.discrepancies_found != again.discrepancies_found:
        wrong.append(f"{again.discrepancies_found:,} discrepancies follow, not {result.discrepancies_found:,}")
    return wrong or ["other verdicts follow from the records than those the certificate was made for"]


def _plain(value: object) -> bytes:
    """What of a value follows from the records."""
    return _ENCODE(structs.replace(value, seconds={}) if isinstance(value, Summary) else value)


def _short(value: object) -> str:
    text = _plain(value).decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


async def read_corrections(settings: WorkerSettings) -> History:
    """All that was ever corrected, by recon.corrections.v1."""
    topic, decoder, history = settings.plan.name("corrections"), msgspec.json.Decoder(Correction), History()
    await require(settings.bootstrap, topic)
    async with opened(AIOKafkaConsumer(topic, bootstrap_servers=settings.bootstrap)) as reader:
        tps = sorted(reader.assignment())
        begins, ends = await reader.beginning_offsets(tps), await reader.end_offsets(tps)

    def note(_: object, record: object) -> None:
        history.add(decoder.decode(record.value))  # type: ignore[attr-defined]  # untyped

    await read_spans(settings, {tp: (begins[tp], ends[tp]) for tp in tps}, note)
    return history


async def read_results(settings: WorkerSettings) -> dict[str, ReconciliationResult]:
    """All results that recon.results.v1 holds, by run id; what is final is not replaced by what is not."""
    tp = TopicPartition(settings.plan.name("results"), 0)
    await require(settings.bootstrap, tp.topic)
    decoder = msgspec.json.Decoder(ReconciliationResult)
    async with opened(new_reader(settings)) as reader:
        begins, ends = await reader.beginning_offsets([tp]), await reader.end_offsets([tp])
    found: dict[str, ReconciliationResult] = {}

    def note(_: object, record: object) -> None:
        value = record.value  # type: ignore[attr-defined]  # untyped
        if value is None:
            return
        result = decoder.decode(value)
        known = found.get(result.reconciliation_id)
        if known is None or known.status not in FINAL:
            found[result.reconciliation_id] = result

    await read_spans(settings, {tp: (begins[tp], ends[tp])}, note)
    return found
