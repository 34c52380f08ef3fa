"""What ships with the package beside its code: recordings, so that the demo runs on real trades.

`hyperliquid_fills.jsonl.gz`: 3,393 fills of three public accounts on Hyperliquid, in the order of their execution, as
canonical `fill` events of origin `internal`. Times have minute resolution and trade ids are row numbers, because the
recording was published that way.

`instruments.json`: what their instruments are, which says what a fill of each moves.

And what state is compressed against: `state.zdict`, trained by bench/state_dictionary.py.
"""

from __future__ import annotations

import gzip
import json
from importlib.resources import files
from typing import Any

from stream_recon.domain.instruments import Instruments


def hyperliquid_fills() -> list[dict[str, Any]]:
    """The recorded fills, oldest first, as decoded JSON objects (amounts are decimal text)."""
    packed = files(__name__).joinpath("hyperliquid_fills.jsonl.gz").read_bytes()
    return [json.loads(line) for line in gzip.decompress(packed).splitlines()]


def hyperliquid_instruments() -> Instruments:
    """The kinds of their instruments: perpetuals, and the spot pair @107."""
    return Instruments.model_validate_json(files(__name__).joinpath("instruments.json").read_bytes())


def state_dictionary() -> bytes:
    """The dictionary of zstd against which state is compressed."""
    return files(__name__).joinpath("state.zdict").read_bytes()
