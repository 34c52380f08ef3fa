"""Train the dictionary against which state is compressed (`stream_recon.core.compress`).

    python bench/state_dictionary.py FILE

The samples are what is kept of discrepancies of every kind: of the recordings of tests/data with a part of their lines
left out, of the demo's plans with faults of every kind, of feeds of which one side is silent, and of all of these with
their names changed, so that it is the form that is learnt, not the names. Only for a new format: what was written
against another dictionary cannot be read.
"""

from __future__ import annotations

import json
import re
import sys
from functools import partial
from io import BytesIO
from itertools import chain
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING
from zlib import crc32

import memory
import msgspec
import zstandard

from stream_recon.cli.options import load_contracts, load_instruments
from stream_recon.core import newest, shelf, window_books
from stream_recon.core.compress import compress
from stream_recon.core.lane import Lane
from stream_recon.data import hyperliquid_fills, hyperliquid_instruments
from stream_recon.domain.contracts import Contracts
from stream_recon.domain.events import ORIGINS
from stream_recon.faults.changes import Timing
from stream_recon.faults.plan import FAULTS, plan
from stream_recon.files import reconcile

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream_recon.domain.events import Origin
    from stream_recon.domain.instruments import Instruments

ROOT = Path(__file__).parents[1]
DICTIONARY_ID = 1
SIZE_BYTES = 16_384
TRIES = 8
CHUNK = 50
EACH = 400
"""Texts of one world and one kind of text."""
_NAMES = re.compile(
    rb'"(?:venue|account_id|event_id|instrument|trade_id|order_id|client_order_id|entry_id|asset|fee_asset|source|anchor)"'
    rb':"([^"]+)"'
)


def kept(act: Callable[[], object]) -> list[list[bytes]]:
    """What is kept meanwhile, as texts: cases, alerts, and what waits for its twin in windows."""
    found: list[list[bytes]] = [[], [], []]
    for module, texts in zip((shelf, newest, window_books), found, strict=True):
        module.compress = lambda text, texts=texts: texts.append(text) or compress(text)  # type: ignore[attr-defined]
    act()
    return found


def silence(origin: Origin, lines: list[bytes]) -> None:
    """Fills of one side, and nothing of the other."""
    lane, other = Lane(0, Contracts()), ORIGINS[1 - ORIGINS.index(origin)]
    source = f"{other}|{json.loads(lines[0])['venue']}"
    for first in range(0, len(lines), CHUNK):
        some = lines[first : first + CHUNK]
        memory.step(lane, origin, list(range(first, first + len(some))), some, list(map(key_of, some)))
        beat = {"type": "heartbeat", "origin": other, "source": source, "through_us": json.loads(some[-1])["ts_us"]}
        memory.step(lane, other, [first], [msgspec.json.encode(beat)], [None])


def key_of(line: bytes) -> bytes:
    """The key under which a fill is sent."""
    event = json.loads(line)
    return f"{event['venue']}|{event['account_id']}".encode()


def renamed(lines: list[bytes], rng: Random) -> list[bytes]:
    """The same, with other names of the same make."""

    def changed(found: re.Match[bytes]) -> bytes:
        name = found[1]
        draw = Random(name + seed)
        digits, letters = b"0123456789", b"abcdefghijklmnopqrstuvwxyz"
        other = bytes(
            draw.choice(digits) if sign in digits else draw.choice(letters) if sign in letters
            else draw.choice(letters.upper()) if sign in letters.upper() else sign for sign in name
        )  # fmt: skip
        return found[0][: found.start(1) - found.start()] + other + b'"'

    seed = rng.randbytes(4)
    return [_NAMES.sub(changed, line) for line in lines]


def samples(rng: Random) -> list[bytes]:
    """Texts of all worlds."""
    found: list[bytes] = []
    worlds: list[tuple[list[bytes], Contracts, Instruments]] = []
    kinds = load_instruments(ROOT / "examples" / "instruments.json")
    for name in ("hyperliquid", "binance_usdm"):
        lines = (ROOT / "tests" / "data" / name / "events.jsonl").read_bytes().splitlines()
        contracts = load_contracts(ROOT / "examples" / "contracts" / f"{name}.yaml")
        worlds += [([line for line in lines if rng.random() > 0.2], contracts, kinds) for _ in range(2)]
    timing = Timing()
    for seed in range(6):
        fills = [
            fill | {"account_id": f"{fill['account_id']}-{crc32(fill['order_id'].encode()) % 4}"}
            for fill in hyperliquid_fills()
        ]
        one = plan(fills, seed, dict.fromkeys(set(FAULTS) - {"silent_feed"}, 12), timing=timing,
                   start_us=1_760_000_070_000_000 + seed * 10**13)  # fmt: skip
        events = [step.event for step in one.steps if step.event["type"] != "heartbeat" or step.stream == "fills"]
        lines = [msgspec.json.encode(event) for event in events]
        worlds.append((lines, timing.contracts(), hyperliquid_instruments()))
    for lines, contracts, instruments in worlds:
        for each in (lines, renamed(lines, rng), renamed(lines, rng)):
            files = [(BytesIO(b"\n".join(each)), "-", None)]
            cases, alerts, _ = kept(partial(reconcile, files, contracts, instruments))
            states = [text for text in alerts if b'"kind":"position_mismatch"' in text]  # of these there are too many
            others = [text for text in alerts if b'"kind":"position_mismatch"' not in text]
            for texts in (cases, states[:: len(states) // 100 or 1], others):
                found += rng.sample(texts, min(EACH, len(texts)))
    for origin in ORIGINS * 3:
        lines = renamed(memory.fills(origin, list(range(0, 1_000_000, 2_000)), 64)[0], rng)
        found += chain.from_iterable(kept(partial(silence, origin, lines)))
    return found


def trained(texts: list[bytes]) -> tuple[int, bytes]:
    """The dictionary of several orders of the texts that makes most of them, and to how many bytes it brings them."""
    found = []
    for seed in range(TRIES):
        ordered = list(texts)
        Random(seed).shuffle(ordered)
        one = zstandard.train_dictionary(SIZE_BYTES, ordered, dict_id=DICTIONARY_ID, level=3)
        small = zstandard.ZstdCompressor(dict_data=one, level=3)
        found.append((sum(len(small.compress(text)) for text in texts), one.as_bytes()))
    return min(found)


if __name__ == "__main__":
    every = samples(Random(1))
    size, best = trained(every)
    Path(sys.argv[1]).write_bytes(best)
    print(f"{len(every):,} texts, {sum(map(len, every)):,} bytes, {size:,} compressed")
