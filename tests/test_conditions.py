"""Feed conditions: what cannot be known, said once."""

from __future__ import annotations

from stream_recon.domain.contracts import FeedContract
from tests.lanes import NOW, SECOND, Book, fill, heartbeat


def test_a_silent_feed_is_one_condition_that_its_recovery_clears() -> None:
    book = Book()
    book.hear(fill("exchange", "0"), fill("internal", "0"))
    for n in range(1, 50):
        book.hear(fill("internal", str(n), n))
    book.tick(29)
    assert book.said == []
    book.tick(30)
    assert book.said == [("OPENED", "STALE", "exchange|venue")]
    assert getattr(book.published[0], "waiting", 0) == 49
    for n in range(1, 50):
        book.hear(fill("exchange", str(n), n))
    assert book.said[1:] == [("CLEARED", "STALE", "exchange|venue")]


def test_a_feed_that_has_never_spoken_is_said_and_nothing_else_is_concluded() -> None:
    book = Book()
    book.hear(fill("internal", "1"), heartbeat("internal", 3600))
    book.tick(60)
    assert book.said == [("OPENED", "NEVER_SENT", "exchange|venue")]


def test_silence_is_trusted_where_the_contract_says_so_and_never_beyond_the_other_feed() -> None:
    book = Book(FeedContract(origin="exchange", silence="trust"))
    book.hear(fill("internal", "1"), heartbeat("internal", 30))
    assert book.lane.trusted_heartbeats({("exchange", "fills"): 4 * SECOND}) == []
    [(origin, stream, beat)] = book.lane.trusted_heartbeats({("exchange", "fills"): 5 * SECOND})
    assert (origin, stream, beat.source) == ("exchange", "fills", "exchange|venue")
    book.hear({"type": "heartbeat", "origin": origin, "source": beat.source, "through_us": beat.through_us})
    assert book.standing == {("missing_exchange", "1")}
    assert book.lane.trusted_heartbeats({("exchange", "fills"): 60 * SECOND}) == []


def test_a_hole_in_the_numbering_puts_only_that_time_in_doubt_and_closes_when_filled() -> None:
    book = Book()
    book.hear(fill("exchange", "a", 0, feed_seq=1), fill("exchange", "c", 20, feed_seq=3))
    book.hear(fill("internal", "a", 0), fill("internal", "b", 10), fill("internal", "c", 20), fill("internal", "d", 40))
    book.hear(heartbeat("exchange", 60))
    assert ("missing_exchange", "d") in book.standing
    assert ("missing_exchange", "b") not in book.standing
    book.tick(0)
    assert ("SEQ_GAP", "exchange|venue") in book.standing
    book.hear(fill("exchange", "b", 10, feed_seq=2))
    assert ("SEQ_GAP", "exchange|venue") not in book.standing
    assert ("missing_exchange", "b") not in book.standing


def test_a_hole_filled_by_another_record_lets_what_waited_be_judged() -> None:
    book = Book()
    book.hear(fill("exchange", "a", 0, feed_seq=1), fill("exchange", "c", 20, feed_seq=3))
    book.hear(fill("internal", "b", 10), heartbeat("exchange", 60))
    assert ("missing_exchange", "b") not in book.standing
    book.hear(fill("exchange", "x", 10, feed_seq=2))
    assert ("missing_exchange", "b") in book.standing


def test_a_record_that_cannot_be_read_blocks_absence_only_for_its_account_and_time() -> None:
    book = Book()
    book.hear(fill("exchange", "a", 0), fill("internal", "a", 0))
    book.hear(b'{"type":"fill"', origin="exchange")
    book.hear(fill("exchange", "c", 10), fill("internal", "c", 10))
    book.hear(fill("internal", "b", 5), fill("internal", "z", 60), heartbeat("exchange", 100))
    assert ("SCHEMA_ERROR", "exchange|venue") in book.standing
    assert ("missing_exchange", "b") not in book.standing
    assert ("missing_exchange", "z") in book.standing
    book.hear(fill("exchange", "b", 5))
    assert ("missing_exchange", "b") not in book.standing


def test_a_flood_of_unreadable_records_under_new_keys_does_not_grow_the_lane() -> None:
    book = Book()
    for n in range(3_000):
        book.lane.conditions.reject(1, "fills", f"venue|{n}", "truncated")
    assert len(book.lane.conditions.unread) <= 1_001
    assert len(book.lane.register.newest) <= 1_001


def test_kafka_time_decides_about_silence_where_another_venue_keeps_the_topic_busy() -> None:
    book = Book()
    book.hear(fill("exchange", "0"), fill("internal", "0"), fill("internal", "1", 1))
    book.hear(fill("exchange", "9", venue="other"), time_us=NOW + 31 * SECOND)
    book.tick(0)
    assert book.standing == {("STALE", "exchange|venue")}


def test_a_feed_that_owes_nothing_is_never_called_silent() -> None:
    book = Book(FeedContract(origin="exchange", fills="absent"))
    book.hear(fill("internal", "1"), heartbeat("internal", 3600))
    book.tick(3600)
    assert book.said == []


def test_many_spells_of_unreadable_records_are_taken_together() -> None:
    book = Book()
    for n in range(1_010):
        book.hear(b"{", fill("exchange", str(n), n))
    [unread] = book.lane.conditions.unread.values()
    assert unread.count == 1_010
    assert len(unread.spans_us) <= 1_000
    assert book.restored().conditions.unread == book.lane.conditions.unread
