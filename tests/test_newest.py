"""What is kept for long is kept small, and comes back as it was."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from stream_recon.core.compress import UnreadableError, compress, decompress
from stream_recon.core.newest import Newest, pack, unpack
from stream_recon.data import state_dictionary
from stream_recon.domain.discrepancies import Handling, Interval, SplitPart
from tests.lanes import Book, fill, heartbeat
from tests.test_lifecycle import condition, found

if TYPE_CHECKING:
    from stream_recon.domain.discrepancies import Alert

DATA = Path(__file__).parent / "data"


@given(st.binary(max_size=2000))
def test_any_text_comes_back_as_it_was(text: bytes) -> None:
    assert decompress(compress(text)) == text


def test_the_dictionary_is_the_one_that_states_out_there_were_written_with() -> None:
    """Whoever changes it must give it another id, and say how to read what was written before."""
    assert sha256(state_dictionary()).hexdigest() == "5a58bf272fbd81076f46832fd231eb967fbf14790a2758e7a98f5e305a614d95"


def test_a_text_compressed_against_another_dictionary_is_refused_not_misread() -> None:
    another = bytearray(state_dictionary())
    another[4:8] = (2).to_bytes(4, "little")  # its id
    small = zstandard.ZstdCompressor(
        dict_data=zstandard.ZstdCompressionDict(bytes(another)),
        compression_params=zstandard.ZstdCompressionParameters(
            format=zstandard.FORMAT_ZSTD1_MAGICLESS, write_dict_id=True
        ),
    ).compress(b"another text")
    with pytest.raises(UnreadableError, match="ictionary"):
        decompress(small)


def test_texts_are_compressed_by_several_threads_at_once() -> None:
    texts = [bytes([65 + number % 26]) * number for number in range(2_000)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda text: decompress(compress(text)), texts)) == texts


@pytest.mark.parametrize("digits", [30, 4_300, 4_301, 60_000])
def test_a_record_with_a_number_beyond_what_python_reads_is_published_as_it_was_sent(digits: int) -> None:
    book = Book()
    value = msgspec.json.encode(fill("internal", "1"))[:-1] + b',"other":' + b"9" * digits + b"}"
    book.hear(value, origin="internal")
    book.hear(heartbeat("exchange", 1000))
    [kept] = book.lane.register.newest.discrepancies()
    assert str(unpack(kept).evidence[0].record["other"]) == "9" * digits


@pytest.mark.parametrize("recording", ["hyperliquid", "binance_usdm"])
def test_a_recorded_fill_takes_less_than_half(recording: str) -> None:
    lines = (DATA / recording / "events.jsonl").read_bytes().splitlines()
    fills = [line for line in lines if json.loads(line)["type"] == "fill"][:500]
    assert sum(map(len, map(compress, fills))) < sum(map(len, fills)) / 2


def test_a_missing_fill_takes_a_fifth_of_its_text_at_most() -> None:
    book = Book()
    for number in range(100):
        book.hear(fill("internal", f"{number * 7919:x}", number, account_id=f"0x{number * 104729:040x}"))
    book.hear(heartbeat("exchange", 1000))
    packed = list(book.lane.register.newest.discrepancies())
    assert len(packed) == 100
    assert all(len(each.text) < 300 for each in packed)


def test_a_discrepancy_comes_back_equal_but_not_the_same() -> None:
    alert = found(
        interval=Interval(1, 2, "a", "b"), residual="-0.10", explained_by=["x"], split=[SplitPart("fees", "1", ["x"])],
        handling=Handling(by="ann", suppressed_until_us=7), opened_us=3, age_limit_us=4, late=True, notify=False,
    )  # fmt: skip
    packed = pack(alert)
    assert unpack(packed) == alert
    assert (packed.alert_id, packed.kind, packed.status) == (alert.alert_id, alert.kind, alert.status)
    newest = Newest()
    newest["1"] = alert
    alert.residual = "0"
    assert newest["1"] == unpack(packed)


def test_what_is_taken_out_can_be_changed_without_harm() -> None:
    newest = Newest()
    kept: list[Alert] = [found("1"), condition()]
    for alert in kept:
        newest[alert.alert_id] = alert
        newest[alert.alert_id].status = alert.status = "CLEARED"
        assert newest[alert.alert_id].status == newest.status(alert.alert_id) == "OPEN"


def test_what_stands_is_counted_by_kind_and_reason() -> None:
    newest = Newest()
    newest["1"], newest["2"], newest["c"] = found("1"), found("2"), condition()
    newest["2"] = found("2", status="ACKNOWLEDGED")
    assert newest.standing == {"fill_mismatch": 2, "STALE": 1}
    newest["1"] = found("1", status="RESOLVED")
    del newest["c"]
    assert +newest.standing == {"fill_mismatch": 1}
    assert (len(newest), "1" in newest, "c" in newest, newest.status("c")) == (2, True, False, None)
