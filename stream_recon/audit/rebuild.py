"""The topics read from their start: to make a store anew, and to see whether one that is there is right."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from stream_recon.audit.chain import Head
from stream_recon.audit.compare import Comparison
from stream_recon.audit.topics import committed, opened

if TYPE_CHECKING:
    from stream_recon.audit.chain import Place
    from stream_recon.audit.compare import Agreement
    from stream_recon.audit.store import AuditStore
    from stream_recon.audit.verify import Finding
    from stream_recon.shell.settings import WorkerSettings


class Compared(NamedTuple):
    """How a store stands to the topics."""

    agreements: list[Agreement]
    findings: list[Finding]


async def read_topics(settings: WorkerSettings, *, into: AuditStore | None, against: AuditStore | None) -> Compared:
    """Read all audited topics to their present ends; write them `into` a store, compare them with another.

    Without a store to compare with, nothing agrees and nothing differs.

    Raises:
        StoreError: a store cannot be used; what was written so far is right, and can be gone on with.
        KafkaError: the topics cannot be read.
    """
    with ExitStack() as stack:
        if into is not None:
            into.create()
        # The store is looked at first, so that the topics have all that it has.
        view = stack.enter_context(against.reading()) if against is not None else None
        heads = view.heads() if view is not None else {}
        promised = await committed(settings) if view is not None else {}
        comparisons: dict[Place, Comparison] = {}
        async with opened(settings) as topics:
            for place in sorted({*heads, *topics.spans}):
                comparisons[place] = Comparison(place, heads.get(place, Head()))
            async for place, entries in topics.batches():
                if into is not None:
                    into.append({place: entries})
                if view is not None:
                    comparisons[place].feed(view, entries)
            for place, span in topics.spans.items():
                comparisons[place].end(span.end, promised.get(place, 0))
    if view is None:
        return Compared([], [])
    for place in heads.keys() - topics.spans.keys():
        comparisons[place].end(0, 0)
    told = list(comparisons.values())
    return Compared([each.agreement() for each in told], [finding for each in told for finding in each.findings])
