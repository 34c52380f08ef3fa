"""The page that shows how events are written: what it shows is taken as what it says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from stream_recon.domain.decode import decode_pack
from stream_recon.domain.events import STREAM_OF, Event, Fill, Heartbeat
from stream_recon.domain.record import Rejected

PAGE = (Path(__file__).parents[1] / "docs" / "events.md").read_text("utf-8")
LINES = [line for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


def decoded(line: str) -> Event | Rejected:
    told = json.loads(line)
    streams = {kind.__struct_config__.tag: stream or "fills" for kind, stream in STREAM_OF.items()}
    return decode_pack([line.encode()], None, None, told["origin"], streams[told["type"]])[0]


@pytest.mark.parametrize("line", LINES)
def test_each_line_is_an_event(line: str) -> None:
    event = decoded(line)
    assert not isinstance(event, Rejected), event
    assert event.__struct_config__.tag == json.loads(line)["type"]


def test_every_type_and_way_to_amend_is_shown() -> None:
    events = [decoded(line) for line in LINES]
    assert {type(event) for event in events} == set(STREAM_OF)
    assert {event.exec for event in events if isinstance(event, Fill)} == {None, "correction", "bust"}
    assert any(isinstance(event, Heartbeat) for event in events)
