"""Recordings that ship with the package, so that the demo runs on real trades.

`hyperliquid_fills.jsonl.gz`: 3,393 fills of three public accounts on Hyperliquid, in the order of their execution, as
canonical `fill` events of origin `internal`. Times have minute resolution and trade ids are row numbers, because the
recording was published that way.
"""

from __future__ import annotations

import gzip
import json
from importlib.resources import files
from typing import Any


def hyperliquid_fills() -> list[dict[str, Any]]:
    """The recorded fills, oldest first, as decoded JSON objects (amounts are decimal text)."""
    packed = files(__name__).joinpath("hyperliquid_fills.jsonl.gz").read_bytes()
    return [json.loads(line) for line in gzip.decompress(packed).splitlines()]
