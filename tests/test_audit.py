"""What the audit store keeps stays as it was written, and whoever changes it is found; on SQLite and PostgreSQL."""

# ruff: noqa: S608 - whoever tampers writes statements as it suits them

from __future__ import annotations

import random
import threading
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import DBAPIError

from stream_recon.audit import reading
from stream_recon.audit.chain import GENESIS, Head, Place, chained, continued, gap, hash_of, record
from stream_recon.audit.errors import ConflictError, StoreDownError, StoreRefusedError
from stream_recon.audit.labels import labels_of
from stream_recon.audit.store import AuditStore
from stream_recon.audit.tables import ENTRIES
from stream_recon.audit.urls import parse
from stream_recon.audit.verify import check
from stream_recon.domain.results import ReconciliationResult
from tests.databases import execute, unguarded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from stream_recon.audit.chain import Entry
    from stream_recon.audit.verify import Checked, Finding

ALERTS, RESULTS = Place("recon.alerts.v1", 2), Place("recon.results.v1", 0)
T_US = 1_764_000_000_000_000


def said(**fields: object) -> bytes:
    return msgspec.json.encode(fields)


def alert(number: int, version: int = 1, **more: object) -> bytes:
    return said(record="discrepancy", alert_id=f"a{number}", version=version, **more)


def entry(number: int, value: bytes | None = b"") -> Entry:
    """Every third offset has no record, as where there were transactions."""
    return record(number + number // 2, T_US + number * 1000, b"k%d" % number, alert(number) if value == b"" else value)


@pytest.fixture
def store(store_url: str) -> Iterator[AuditStore]:
    made = AuditStore(store_url)
    made.create()
    yield made
    made.close()


@pytest.fixture
def filled(store: AuditStore) -> AuditStore:
    store.append({ALERTS: [entry(n) for n in range(10)], RESULTS: [entry(n) for n in range(5)]})
    return store


def checked(store: AuditStore, anchors: Any = None) -> Checked:
    with store.reading() as view:
        return check(view, anchors or {})


def findings(store: AuditStore, anchors: Any = None) -> list[tuple[str, int]]:
    return [(each.problem, each.offset) for each in checked(store, anchors).findings]


def at(number: int, place: Place = ALERTS) -> str:
    return f"topic = '{place.topic}' AND partition = {place.partition} AND first_offset = {entry(number).first_offset}"


# -- the chain --------------------------------------------------------------------------------------------------------


def test_anybody_can_compute_the_hash_of_an_entry_as_the_docs_say() -> None:
    one = record(7, 1_764_000_000_000_000, b"key", None)
    plain = b"6:record,15:recon.alerts.v1,1:2,1:7,1:7,16:1764000000000000,3:key,-,"
    assert hash_of(GENESIS, ALERTS, one) == sha256(bytes(32) + plain).digest()


def test_no_two_entries_have_the_same_hash_because_fields_run_together() -> None:
    told = [
        (ALERTS, record(1, 2, b"a", b"bc")), (ALERTS, record(1, 2, b"ab", b"c")), (ALERTS, record(1, 2, None, b"abc")),
        (ALERTS, record(1, 2, b"", b"abc")), (ALERTS, record(1, 2, b"abc", None)), (ALERTS, record(1, 2, b"abc", b"")),
        (ALERTS, record(12, 2, b"a", b"bc")), (RESULTS, record(1, 2, b"a", b"bc")), (ALERTS, gap(1, 1, "expired")),
        (Place("recon.alerts.v1", 21), record(1, 2, b"a", b"bc")), (ALERTS, gap(1, 1, "compacted")),
    ]  # fmt: skip
    assert len({hash_of(GENESIS, *each) for each in told}) == len(told)


@pytest.mark.parametrize(
    ("offsets", "start", "compacted", "expected"),
    [
        ([3, 4], 0, False, [3, 4]),
        ([3, 4], 3, False, [3, 4]),
        ([5, 6], 5, False, [(3, 4, "expired"), 5, 6]),
        ([5, 6], 0, False, [5, 6]),
        ([5, 8], 0, True, [(3, 4, "compacted"), 5, (6, 7, "compacted"), 8]),
        ([6], 5, True, [(3, 4, "expired"), (5, 5, "compacted"), 6]),
        ([6], 5, False, [(3, 4, "expired"), 6]),
        ([], 6, False, [(3, 5, "expired")]),
        ([], 3, True, []),
    ],
)
def test_what_expired_or_was_compacted_is_a_gap_and_marks_of_transactions_are_none(
    offsets: list[int], start: int, *, compacted: bool, expected: list[Any]
) -> None:
    entries = continued(3, [record(offset, 0, None, b"") for offset in offsets], start, compacted=compacted)
    told = [
        each.first_offset
        if each.form == "record"
        else (each.first_offset, each.last_offset, (each.value or b"").decode())
        for each in entries
    ]
    assert told == expected


# -- what is kept -----------------------------------------------------------------------------------------------------


def test_what_was_kept_is_whole_and_its_heads_are_those_of_the_records(filled: AuditStore) -> None:
    assert checked(filled).findings == []
    assert filled.heads() == {
        ALERTS: chained(ALERTS, [entry(n) for n in range(10)]),
        RESULTS: chained(RESULTS, [entry(n) for n in range(5)]),
    }
    assert [(c.topic, c.entries, c.next_offset) for c in checked(filled).chains] == [
        (ALERTS.topic, 10, 14), (RESULTS.topic, 5, 7),
    ]  # fmt: skip


ODD: list[bytes | None] = [
    None, b"", b"\x00\xff\xfe", b"not json", b"[1]", b'"text"', b"7", b"{", b'{"record":', b"[" * 100_000,
    b'{"a":' * 5_000, said(record={"a": 1}, alert_id=[1]), said(alert_id="x\0y", record="discrepancy"),
    said(command_id="c" * 5_000, command="reconcile"), b'{"command":"x","command_id":"\\ud800"}',
    said(correction_id=7, command="set_config"), b"x" * 1_000_000, said(record="discrepancy", alert_id="ä"),
    said(record="discrepancy", alert_id="a", text="y" * 1_000_000), b'{"command_id":"a","command_id":"b","command":1}',
]  # fmt: skip


def test_whatever_a_record_holds_is_kept_byte_for_byte(store: AuditStore) -> None:
    entries = [record(n, T_US, value if n % 2 else None, value) for n, value in enumerate(ODD)]
    store.append({ALERTS: entries})
    assert checked(store).findings == []
    with store.reading() as view:
        assert list(view.entries(ALERTS, 0, 100)) == entries
    assert store.append({ALERTS: entries}) == store.heads()


def test_what_a_record_is_is_read_from_its_json() -> None:
    def of(value: bytes) -> tuple[str | None, ...]:
        return tuple(labels_of(record(0, 0, None, value)))

    assert of(alert(1)) == ("discrepancy", "a1", None, "a1", None)
    assert of(said(record="feed_condition", alert_id="f")) == ("feed_condition", "f", None, "f", None)
    assert of(said(reconciliation_id="r", command_id="c")) == ("result", "r", "r", None, "c")
    assert of(said(correction_id="x", run_id="r", alert_id="a")) == ("correction", "x", "r", "a", None)
    assert of(said(command="reconcile", command_id="c")) == ("command", "c", None, None, "c")
    assert of(said(command="set_config", command_id="c")) == ("config", "c", None, None, "c")
    assert of(said(type="alert_command", command_id="c", alert_id="a")) == ("command", "c", None, "a", "c")
    assert of(said(anything="else")) == ("unknown", None, None, None, None)
    assert of(b"") == ("empty", None, None, None, None)


def test_to_append_again_changes_nothing_also_where_old_and_new_come_together(filled: AuditStore) -> None:
    heads = filled.heads()
    assert filled.append({ALERTS: [entry(n) for n in range(3, 7)]})[ALERTS] == heads[ALERTS]
    filled.append({ALERTS: [entry(n) for n in range(8, 12)]})
    assert filled.heads()[ALERTS] == chained(ALERTS, [entry(n) for n in range(12)])
    assert checked(filled).findings == []


@pytest.mark.parametrize(
    "other",
    [
        entry(4)._replace(value=b"other"),
        entry(4)._replace(value=None),
        entry(4)._replace(key=None),
        entry(4)._replace(time_us=1),
        record(2, T_US, None, b"where there was none"),
    ],
)
def test_another_record_under_a_known_offset_is_refused_and_nothing_of_its_batch_is_kept(
    filled: AuditStore, other: Entry
) -> None:
    heads = filled.heads()
    with pytest.raises(ConflictError, match=rf"recon.alerts.v1-2 offset {other.first_offset} is another record"):
        filled.append({RESULTS: [entry(5)], ALERTS: [other, entry(10)]})
    assert filled.heads() == heads


def test_a_gap_is_kept_shown_and_never_filled_or_doubled(store: AuditStore) -> None:
    store.append({ALERTS: [gap(0, 4, "expired"), record(5, T_US, None, b"x")]})
    heads = store.heads()
    store.append({ALERTS: [record(3, T_US, None, b"late")]})
    store.append({ALERTS: [gap(0, 4, "expired")]})
    assert store.heads() == heads
    store.append({ALERTS: [gap(3, 9, "expired"), record(10, T_US, None, b"y")]})
    with store.reading() as view:
        assert [(g.first_offset, g.last_offset, g.reason) for g in reading.gaps(view)] == [
            (0, 4, "expired"), (6, 9, "expired"),
        ]  # fmt: skip
    assert checked(store).findings == []
    assert checked(store).chains[0].gap_records == 9


LOG = [entry(n) for n in range(30)]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.tuples(st.integers(0, 29), st.integers(1, 12)), max_size=12), number=st.integers(0, 1_000_000))
def test_any_batches_with_any_repetitions_make_the_chain_of_one_pass(
    store: AuditStore, cuts: list[tuple[int, int]], number: int
) -> None:
    place = Place(f"topic-{number}-{hash(tuple(cuts))}", 0)
    reached = 0
    for start, length in [*cuts, (0, 30), (0, 30)]:
        start = min(start, reached)  # noqa: PLW2901 - a reader never leaves anything out
        store.append({place: LOG[start : start + length]})
        reached = max(reached, min(start + length, 30))
    assert store.heads()[place] == chained(place, LOG)


def test_writers_at_the_same_time_make_the_chain_of_one(store_url: str) -> None:
    log = [entry(n) for n in range(200)]
    failed: list[BaseException] = []

    def write(seed: int) -> None:
        rng, reached = random.Random(seed), 0
        mine = AuditStore(store_url)
        try:
            mine.create()
            while reached < len(log):
                start, length = rng.randint(0, reached), rng.randint(1, 40)
                heads = mine.append({ALERTS: log[start : start + length], RESULTS: log[:length]})
                reached = next((n for n, each in enumerate(log) if each.first_offset >= heads[ALERTS].next_offset), 200)
        except BaseException as error:  # noqa: BLE001 - told below
            failed.append(error)
        finally:
            mine.close()

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert failed == []
    store = AuditStore(store_url)
    assert store.heads()[ALERTS] == chained(ALERTS, log)
    assert checked(store).findings == []
    store.close()


# -- what was done to it ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE recon_audit_entries SET value = NULL",
        "DELETE FROM recon_audit_entries",
        "DELETE FROM recon_audit_heads",
        "UPDATE recon_audit_heads SET next_offset = 3",
        "UPDATE recon_audit_heads SET next_offset = 300, entries = 2",
    ],
)
def test_the_database_itself_refuses_to_change_what_is_kept(filled: AuditStore, store_url: str, statement: str) -> None:
    with pytest.raises(DBAPIError, match="the audit store only grows"):
        execute(store_url, statement)
    assert checked(filled).findings == []


def test_postgresql_refuses_to_empty_the_tables(filled: AuditStore, store_url: str) -> None:
    if store_url.startswith("postgresql"):
        for table in ("recon_audit_entries", "recon_audit_heads"):
            with pytest.raises(DBAPIError, match="the audit store only grows"):
                execute(store_url, f"TRUNCATE {table}")
    assert checked(filled).findings == []


CHANGES: dict[str, tuple[object, set[tuple[str, int]]]] = {
    "topic": ("recon.results.v1", {("missing", 7)}),
    "partition": (3, {("missing", 7)}),
    "first_offset": (5, {("changed", 5)}),
    "last_offset": (7, {("changed", 6)}),
    "form": ("gap", {("changed", 6)}),
    "time_us": (1, {("changed", 6)}),
    "key": (b"other", {("changed", 6)}),
    "value": (b"other", {("changed", 6)}),
    "previous": (b"\1" * 32, {("changed", 6), ("missing", 6)}),
    "hash": (b"\1" * 32, {("changed", 6), ("missing", 7)}),
    "kind": ("command", {("changed", 6)}),
    "subject": ("other", {("changed", 6)}),
    "run_id": ("other", {("changed", 6)}),
    "alert_id": (None, {("changed", 6)}),
    "command_id": ("other", {("changed", 6)}),
}


def test_there_is_a_change_for_each_column() -> None:
    assert set(CHANGES) == set(ENTRIES.columns.keys())


@pytest.mark.parametrize("column", CHANGES)
def test_whatever_is_changed_in_a_row_is_found_in_that_row(filled: AuditStore, store_url: str, column: str) -> None:
    value, expected = CHANGES[column]
    unguarded(store_url, (f"UPDATE recon_audit_entries SET {column} = :value WHERE {at(4)}", {"value": value}))
    found = [each for each in checked(filled).findings if each.topic == ALERTS.topic and each.partition == 2]
    assert expected <= {(each.problem, each.offset) for each in found}
    assert {each.offset for each in found if each.problem != "head"} <= {5, 6, 7}
    assert all(each.expected and each.found for each in found)
    if column in {"topic", "partition"}:
        assert len(checked(filled).findings) > len(found), "the chain that it was put into is wrong too"


def test_a_value_of_another_type_in_sqlite_is_found(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'audit.db'}"
    store = AuditStore(url)
    store.create()
    store.append({ALERTS: [entry(n) for n in range(5)]})
    for column, value in (("value", 7), ("hash", "text"), ("time_us", "soon"), ("partition", "two"), ("key", 1.5)):
        unguarded(url, (f"UPDATE recon_audit_entries SET {column} = :value WHERE {at(3)}", {"value": value}))
        assert checked(store).findings != []


@pytest.mark.parametrize(
    ("number", "expected"), [(0, [("missing", 1)]), (4, [("missing", 7)]), (9, [("truncated", 13)])]
)
def test_a_row_that_was_taken_away_is_missed(
    filled: AuditStore, store_url: str, number: int, expected: list[tuple[str, int]]
) -> None:
    unguarded(store_url, f"DELETE FROM recon_audit_entries WHERE {at(number)}")
    found = findings(filled)
    assert found[0] == expected[0]
    assert found[1:] in ([], [("head", 14)])
    [first, *_] = checked(filled).findings
    assert "expected" in str(first)


def rows(filled: AuditStore, *numbers: int) -> list[dict[str, Any]]:
    with filled.reading() as view:
        kept = {row.entry.first_offset: row for row in view.rows(ALERTS)}
    found: list[dict[str, Any]] = []
    for number in numbers:
        row = kept[entry(number).first_offset]
        found.append({
            "time_us": row.entry.time_us, "key": row.entry.key, "value": row.entry.value, "previous": row.previous,
            "hash": row.hash, "subject": row.labels.subject, "alert_id": row.labels.alert_id,
        })  # fmt: skip
    return found


@pytest.mark.parametrize("hashes", [True, False])
def test_rows_that_have_changed_places_are_told_as_such(filled: AuditStore, store_url: str, *, hashes: bool) -> None:
    first, second = rows(filled, 3, 6)
    moved = [name for name in first if hashes or name not in {"previous", "hash"}]
    put = ", ".join(f"{name} = :{name}" for name in moved)
    unguarded(
        store_url,
        *(
            (f"UPDATE recon_audit_entries SET {put} WHERE {at(number)}", {name: content[name] for name in moved})
            for number, content in ((3, second), (6, first))
        ),
    )
    found = findings(filled)
    assert ("reordered", entry(3).first_offset) in found
    assert ("reordered", entry(6).first_offset) in found
    assert {offset for _, offset in found} <= {4, 6, 9, 10}


def test_a_row_that_was_put_in_is_found(filled: AuditStore, store_url: str) -> None:
    forged = record(5, T_US, None, b"never happened")
    with filled.reading() as view:
        before = view.hash_at(ALERTS, 5)
    insert = (
        "INSERT INTO recon_audit_entries (topic, partition, first_offset, last_offset, form, time_us, value, previous, "
        "hash, kind) VALUES (:topic, :partition, 5, 5, 'record', :time, :value, :previous, :hash, 'unknown')"
    )
    execute(
        store_url,
        (insert, {**ALERTS._asdict(), "time": T_US, "value": forged.value, "previous": before,
                  "hash": hash_of(before, ALERTS, forged)}),
    )  # fmt: skip
    assert findings(filled) == [("missing", 6), ("head", 14)]


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("DELETE FROM recon_audit_heads", "head"),
        ("UPDATE recon_audit_heads SET next_offset = 3", "head"),
        ("UPDATE recon_audit_heads SET next_offset = 300", "truncated"),
        ("UPDATE recon_audit_heads SET entries = 3", "head"),
        ("UPDATE recon_audit_heads SET hash = :hash", "head"),
    ],
)
def test_a_head_that_was_changed_is_found(filled: AuditStore, store_url: str, statement: str, problem: str) -> None:
    unguarded(store_url, (statement, {"hash": b"\1" * 32} if ":hash" in statement else {}))
    assert [each for each, _ in findings(filled)] == [problem, problem]


def cut_off(url: str, place: Place, entries: Sequence[Entry]) -> None:
    """Take away all of a chain but these entries, and compute its head anew, as whoever knows how could."""
    head = chained(place, entries)
    here = f"topic = '{place.topic}' AND partition = {place.partition}"
    unguarded(
        url,
        f"DELETE FROM recon_audit_entries WHERE {here} AND first_offset >= {head.next_offset}",
        (f"UPDATE recon_audit_heads SET next_offset = :next_offset, hash = :hash, entries = :entries WHERE {here}",
         head._asdict()),
    )  # fmt: skip


def test_a_chain_cut_off_together_with_its_head_shows_against_a_head_kept_elsewhere(
    filled: AuditStore, store_url: str
) -> None:
    heads = filled.heads()
    anchors = {place: [(head.next_offset, head.hash)] for place, head in heads.items()}
    assert findings(filled, anchors) == []
    cut_off(store_url, ALERTS, [entry(n) for n in range(6)])
    assert findings(filled) == [], "in itself it is whole"
    assert findings(filled, anchors) == [("anchor", 14)]
    filled.append({ALERTS: [entry(n)._replace(value=b"another past") for n in range(6, 12)]})
    assert findings(filled) == []
    assert findings(filled, anchors) == [("anchor", 14)]


def test_a_chain_that_is_gone_as_a_whole_shows_against_a_head_kept_elsewhere(
    filled: AuditStore, store_url: str
) -> None:
    anchors = {place: [(head.next_offset, head.hash)] for place, head in filled.heads().items()}
    unguarded(store_url, "DELETE FROM recon_audit_entries", "DELETE FROM recon_audit_heads")
    assert findings(filled) == []
    assert {problem for problem, _ in findings(filled, anchors)} == {"head", "anchor"}
    assert len(findings(filled, anchors)) == 4


# -- what cannot be used ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("audit.db", "is no place for an audit store; give sqlite:///FILE or"),
        ("mysql://host/db", "an audit store cannot be in mysql"),
        ("sqlite://", "would keep nothing"),
        ("sqlite:///:memory:", "would keep nothing"),
        ("postgresql+psycopg2://host/db", "cannot be in postgresql"),
    ],
)
def test_a_url_of_no_use_is_refused(url: str, says: str) -> None:
    with pytest.raises(StoreRefusedError, match=says):
        AuditStore(url)


def test_the_password_of_a_url_is_not_shown() -> None:
    assert "hush" not in AuditStore("postgresql+psycopg://ann:hush@db.example/audit").name
    assert parse("postgresql://ann@db.example/audit").drivername == "postgresql+psycopg"


def test_a_store_of_a_newer_version_is_left_alone(filled: AuditStore, store_url: str) -> None:
    execute(store_url, "UPDATE recon_audit_schema SET version = 99")
    for use in (filled.create, filled.heads):
        with pytest.raises(
            StoreRefusedError, match=r"of a newer stream-recon .its schema is 99, this one knows 1.: up"
        ):
            use()


def test_what_holds_no_store_is_not_read_as_an_empty_one(store_url: str) -> None:
    store = AuditStore(store_url)
    with pytest.raises(StoreRefusedError, match="no audit store"):
        store.heads()
    if store_url.startswith("sqlite"):
        execute(store_url, "CREATE TABLE other (a int)")
        with pytest.raises(StoreRefusedError, match="holds no audit store"):
            store.heads()


def test_a_store_that_cannot_be_had_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreDownError, match="file: File exists; see that the file and its folder can be written to"):
        AuditStore(f"sqlite:///{tmp_path / 'file' / 'audit.db'}").create()
    (tmp_path / "other").write_text("not a database, but long enough to be taken for one" * 100)
    with pytest.raises(StoreDownError, match="not a database; see that"):
        AuditStore(f"sqlite:///{tmp_path / 'other'}").create()
    with pytest.raises(StoreDownError, match="see that PostgreSQL runs"):
        AuditStore("postgresql+psycopg://127.0.0.1:1/audit").create()


# -- what is asked of it ----------------------------------------------------------------------------------------------


def result(run_id: str, status: str, **more: Any) -> bytes:
    return msgspec.json.encode(
        ReconciliationResult(reconciliation_id=run_id, type="full", status=status, start_time_us=T_US, **more)  # type: ignore[arg-type]
    )


def kept(store: AuditStore, place: Place, *values: bytes) -> None:
    head = store.heads().get(place, Head())
    store.append({place: [record(head.next_offset + n, T_US + n, None, value) for n, value in enumerate(values)]})


def test_commands_are_told_with_what_came_of_them(store: AuditStore) -> None:
    control = Place("recon.control.v1", 0)
    kept(
        store, control,
        *(said(command="reconcile", command_id=name, issued_by="ann") for name in ("done", "refused", "failed", "new")),
        said(command="set_config", command_id="config", set={"batch_size": 7}), said(command="reconcile"),
    )  # fmt: skip
    kept(
        store, RESULTS,
        result("r1", "running", command_id="done"), result("r1", "completed", command_id="done"),
        result("r2", "failed", command_id="refused", errors=["expired at 10:04"]),
        result("r3", "running", command_id="failed"), result("r3", "failed", command_id="failed"), b"{}",
    )  # fmt: skip
    with store.reading() as view:
        told = {each.command_id: (each.outcome, each.reason, each.run_ids) for each in reading.commands(view)}
        runs = {run.run_id: [each.result.status for each in run.results] for run in reading.runs(view)}  # type: ignore[union-attr]
        configured = [each.command_id for each in reading.configurations(view)]
    assert told == {
        "done": ("accepted", "", ["r1"]),
        "refused": ("refused", "expired at 10:04", ["r2"]),
        "failed": ("accepted", "", ["r3"]),
        "new": ("unanswered", "", []),
        "config": ("unanswered", "", []),
        None: ("unanswered", "", []),
    }
    assert runs == {"r1": ["running", "completed"], "r2": ["failed"], "r3": ["running", "failed"]}
    assert configured == ["config"]


def test_corrections_are_found_by_their_run_and_their_alert(store: AuditStore) -> None:
    kept(
        store, Place("recon.corrections.v1", 1),
        said(correction_id="c1", alert_id="a1", run_id="r1", amount="1.50", asset="USD"),
        said(correction_id="c2", alert_id="a2", run_id="r1"),
    )  # fmt: skip
    with store.reading() as view:
        assert [each.subject for each in reading.corrections(view, run_id="r1")] == ["c1", "c2"]
        [one] = reading.corrections(view, alert_id="a1")
        assert msgspec.json.decode(bytes(one.content))["amount"] == "1.50"
        assert view.ids("alert_id", "a", 9) == ["a1", "a2"]
        assert view.ids("alert_id", "a%", 9) == []


def test_what_is_labelled_as_an_alert_and_is_none_is_given_as_it_is(store: AuditStore) -> None:
    kept(store, ALERTS, alert(1), alert(1), alert(1, version=2))
    with store.reading() as view:
        assert [each.alert for each in reading.history(view, "a1")] == [alert(1), alert(1, version=2)]


def test_findings_say_which_row_and_what_was_expected(filled: AuditStore, store_url: str) -> None:
    unguarded(store_url, (f"UPDATE recon_audit_entries SET value = :v WHERE {at(4)}", {"v": b"forged"}))
    found: Finding = checked(filled).findings[0]
    with filled.reading() as view:
        written = next(row.hash for row in view.rows(ALERTS) if row.entry.first_offset == 6)
    assert str(found).startswith(
        f"recon.alerts.v1-2 offset 6: changed: expected content with the hash {written.hex()}, found "
    )
