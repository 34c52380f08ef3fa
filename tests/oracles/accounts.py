"""The oracle of identities 2 (order), 3 (position) and 4 (balance): plain loops over all records of an account.

It shares no code with the core, reads all logs of one partition to their ends, and says what is true then; what was
open on the way is not its matter, nor is the horizon. The theory of snapshots is in `movements`.

What is settled here, beyond the design:

- **Origins compared.** Snapshots of an origin are held against its own fills and ledger (`own`), those of the exchange
  against ours too (`cross`); a class that a contract calls absent, or that was never sent and never promised, is taken
  from the other origin, and listed as unverified; if that makes own and cross the same, it is one comparison, `cross`.
  `equal`: where snapshots of one origin lie between two of the other (or at the same time), the drifts of both against
  the same movements must be the same; a difference is a break once, not at each snapshot, until they agree again.
- **Snapshots.** Of several unanchored ones of one time and key the last in the log is judged. A complete snapshot
  (`snapshot_end`, as many records as it counts) says zero of each key of which the account has told something, in the
  classes this feed sends. Anchored ones stand in the order of their fills. An anchor to a fill that is not there: not
  known (ANCHOR_MISSING). Anchors tell nothing of ledger entries, and nothing where the ledger covers trades too.
- **Openings.** A first snapshot that all movements up to its time explain from nothing is taken as that. Any other may
  have seen any state near its time: where later snapshots bear out one of these, but not the strict one, either it saw
  another moment or a movement is missing, and nobody can tell: AMBIGUOUS_OPENING, once.
- **Doubt.** A residual is a claim that no movement is missing. Where a class of movements is only partial (PARTIAL),
  sent by nobody (NEVER_SENT), where a fill of an unmapped instrument or without its profit or fee lies in the interval
  (UNMAPPED_INSTRUMENT, PARTIAL), or a hole in feed_seq (SEQ_GAP), a residual is not known, and the next run starts with
  it; agreement is agreement all the same. A class promised complete that moved and has no snapshot: LOOKBACK_TRUNCATED.
- **Due.** Nothing is said before the watermarks of all topics it rests on have passed the newest record it rests on by
  grace and order_within together, so that what explains a difference is known before it: WAITING. Where only one origin
  sends fills, states rest on orders too: these tell of fills that nobody sent.
- **Ledger.** Where both origins send entries they pair one to one: by ledger_id; else one's ref_id is the other's
  ref_id or ledger_id, with asset and reason; else asset, delta and reason within grace, oldest first. Entries of trades
  are owed only where the ledger covers all, and move nothing where it does not. A pair that differs in asset or delta
  is a balance_mismatch. `free` + `locked` = `total` is judged in the newest balance, beside everything else.
- **Orders.** The newest update is the one with the highest (cum_qty, status, time, place in the log), statuses in the
  order in which the events list them. Client ids lead to the order id said with them. An order that one origin lacks,
  or of which it has fewer fills than cum_qty, is a break only if an update of it with cum_qty 0 was seen: else it may
  be older than the log (LOOKBACK_TRUNCATED). One that we rejected before the venue gave it an id is owed by nobody.
"""

from __future__ import annotations

from collections import defaultdict
from decimal import localcontext
from typing import TYPE_CHECKING

from tests.oracles.book import Book, Truth, watermarks_of
from tests.oracles.ledger import judge_ledger
from tests.oracles.orders import judge_orders
from tests.oracles.snapshots import judge_ends, judge_parts, judge_states

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stream_recon.domain.contracts import Contracts
    from stream_recon.domain.events import Origin, Stream
    from tests.oracles.movements import Event, Instruments

    Logs = Mapping[tuple[Origin, Stream], Sequence[tuple[int, Event]]]
    """Of one partition: each topic in log order, Kafka's time (us) and the event."""


def truth(logs: Logs, contracts: Contracts, instruments: Instruments) -> Truth:
    """Judge all accounts of one partition."""
    found = Truth()
    events = [event for log in logs.values() for _, event in log if event["type"] != "heartbeat"]
    venues = {event["venue"] for event in events}
    reached = {topic: watermarks_of(topic[0], log, contracts, venues) for topic, log in logs.items()}
    with localcontext() as exact:
        exact.prec = 200
        for venue, account_id in sorted({(event["venue"], event["account_id"]) for event in events}):
            own: dict[tuple[Origin, str], list[Event]] = defaultdict(list)
            for event in events:
                if (event["venue"], event["account_id"]) == (venue, account_id):
                    own[event["origin"], event["type"]].append(event)
            book = Book(
                f"{venue}|{account_id}",
                contracts,
                own,
                {topic: at[venue] for topic, at in reached.items() if venue in at},
                {(event["origin"], event["type"]) for event in events if event["venue"] == venue},
                instruments.get(venue, {}),
                found,
            )
            judge_orders(book)
            judge_states(book, "position")
            judge_states(book, "balance")
            judge_ends(book)
            judge_parts(book)
            judge_ledger(book)
    return found
