"""Which lines of two files need the core: a join in columns takes out the fills that agree beyond doubt.

Taken out are pairs of plain fills of one key, told by each side exactly once, with the same content and in time, so
that they would be MATCHED outright and nothing else would come of them. Everything else is left, and so is whatever
the core would learn from such a pair:

- the first line of each account, origin and source (with all lines of its key), so that accounts, feeds and sources
  come to be in the same order;
- all lines of an account of which anything but plain fills is known: a correction or bust, a line that cannot be
  understood, a contract that promises orders, positions, balances or a ledger;
- all lines of a key of which a line was not proven, or is so late that it may have been due before;
- how far each source had delivered: kept as times, see `stream_recon.columnar.replay`.

Where files hold anything but fills and heartbeats, numbered records, blank lines or carriage returns, or where most
lines would be left, there is nothing to gain: `sift` gives None, and the core takes all.

**What could go wrong.** A key is recognised by a hash of 64 bits, and two that share one go to the core. That a pair
agrees rests on a second hash of 64 bits, over key and content and salted anew for each run. So an accident would need
two fills that differ, alone on their sides, whose 128 bits are the same, if they are of different keys, or the 64 of
the second hash, if they are of one: of a million fills that disagree one is overlooked with a chance of 5e-14. The
hashes are not cryptographic: they are no guard against a forger who can choose both sides' texts and guess the salt.
A speaker (account, origin, source) is told apart by 64 bits: of 10,000, two are taken for one with a chance of 3e-12.
"""

from __future__ import annotations

import secrets
import tempfile
from array import array
from contextlib import ExitStack, contextmanager
from itertools import chain, count
from os import fstat, pread
from typing import TYPE_CHECKING, NamedTuple, Self

import duckdb

from stream_recon.columnar.spool import Unfit, decode_records
from stream_recon.columnar.template import templates_of
from stream_recon.columnar.told import DIVIDER, SIDES, Amounts, Checked, can_be_named, table_of
from stream_recon.core.accounts import MINUTE_US
from stream_recon.domain.amounts import to_decimal
from stream_recon.domain.decode import decode_pack
from stream_recon.domain.events import ORIGINS, Fill, Heartbeat, default_source
from stream_recon.domain.record import Rejected
from stream_recon.files import Line, Places

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path
    from typing import Any

    from stream_recon.columnar.spool import Record, Spool
    from stream_recon.domain.contracts import Contracts, FeedContract
    from stream_recon.domain.events import Event, Origin

MEMORY_LIMIT = "1GB"
"""For DuckDB; beyond that it spills to a temporary folder."""
MOST_LEFT = 0.2
"""Where more than this part of the lines would be left to the core, it takes all."""
SAMPLED = 200
"""Lines at the beginning of each file from which, with some of other places, it is learnt how it is written."""
PLACES = 32
"""In so many parts of a file; what all these lines have in common is expected of the others."""
FEW = 100
_SLICE = 122_880
_BEGINNING = 1 << 18
_PLACE = 1 << 11
_PLAIN: tuple[Any, ...] = (None, "trade")


class PlainFile(NamedTuple):
    """A file that can be read twice."""

    path: Path
    name: str
    origin: Origin | None
    """Whose it is; None: its lines say it."""
    spool: Spool | None = None
    """Its lines are records of a topic."""


class Speaker(NamedTuple):
    """Whose lines are alike: an account, as one source of one origin tells of it."""

    origin: Origin
    account: str
    source: str
    within_us: int
    grace_us: int
    """What its own origin is given."""


class Rest(NamedTuple):
    """What is left of one file."""

    file: PlainFile
    lines: int
    lifting: array[int]
    """The lines (from 0) that are proven and may lift a watermark, in order."""
    times_us: array[int]
    """Of each of these its time; where there is but one origin, source and order_within they never fall."""
    speakers: list[Speaker]
    spoken: array[int] | None
    """And who speaks; None: all are alike to watermarks."""
    left: list[Line]
    """What the core has to see, in order."""


class Sifted(NamedTuple):
    """What two files come to without the pairs that agree."""

    rests: list[Rest]
    taken_out: int
    """Lines."""


def sift(
    files: list[PlainFile],
    contracts: Contracts,
    *,
    most_left: float = MOST_LEFT,
    sifter: type[Sifter] | None = None,
) -> Sifted | None:
    """Take out what agrees; None: the core should take all. Files that are changed meanwhile are the caller's risk.

    `most_left`: what part of the lines the core may be left with. `sifter`: how it is done, for tests.
    """
    origins = [file.origin for file in files]
    if sorted(map(str, origins)) not in (["None"], sorted(ORIGINS)) or not all(can_be_named(f.path) for f in files):
        return None
    try:
        with opened(files, contracts, most_left, sifter or Sifter, MEMORY_LIMIT) as ready:
            return ready.sift()
    except (Unfit, duckdb.OutOfMemoryException):
        return None


@contextmanager
def opened(
    files: list[PlainFile], contracts: Contracts, most_left: float, sifter: type[Sifter], memory_limit: str
) -> Iterator[Sifter]:
    """What sifts files of two sides, or one of both."""
    with ExitStack() as stack:
        spill = stack.enter_context(tempfile.TemporaryDirectory(prefix="stream-recon-"))
        base = stack.enter_context(duckdb.connect(config={
            "threads": 1, "memory_limit": memory_limit, "temp_directory": spill, "autoinstall_known_extensions": False,
        }))  # fmt: skip
        texts = [stack.enter_context(_Text(file.path)) for file in files]
        yield sifter(base, files, texts, contracts, most_left)


class _Text:
    """A file's bytes, read where they are asked for: of a mapped file ever more would stay in memory."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        self.size = fstat(self._file.fileno()).st_size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def is_ended(self) -> bool:
        """Whether its last line has an end."""
        return pread(self._file.fileno(), 1, max(self.size - 1, 0)) == b"\n"

    def some_lines(self) -> list[bytes]:
        """Lines of its beginning, the last of which may be cut off, and of places all over it."""
        found = pread(self._file.fileno(), _BEGINNING, 0).split(b"\n")[:SAMPLED]
        if self.size > _BEGINNING:
            for place in range(1, PLACES):
                start = _BEGINNING + (self.size - _BEGINNING) * place // PLACES
                found += pread(self._file.fileno(), _PLACE, start).split(b"\n")[1:-1]
        return found

    def line(self, start: int, end: int) -> bytes | None:
        """The line that lies there; None: it is none."""
        first = max(start - 1, 0)
        found = pread(self._file.fileno(), end + 1 - first, first)
        value = found[start - first : end - first]
        is_line = (not start or found[:1] == b"\n") and found[end - first :] in {b"\n", b""}
        return value if is_line and len(value) == end - start else None


class Sifter:
    """The steps, one after the other, over tables told_0 and told_1."""

    def __init__(
        self,
        base: duckdb.DuckDBPyConnection,
        files: list[PlainFile],
        texts: list[_Text],
        contracts: Contracts,
        most_left: float,
    ) -> None:
        self.most_left = most_left
        self.base = base
        self.files = files
        self.texts = texts
        self.contracts = contracts
        self.places = [Places(file.origin) for file in files]
        self.lines: list[int] = []
        self.speakers: list[dict[int, Speaker]] = []
        """By file, by the hash in its table."""
        self.unproven: list[set[int]] = [set() for _ in files]
        self.found: list[dict[int, Event | Rejected]] = [{} for _ in files]
        """By file, what has been decoded of it, by line."""
        self.values: list[dict[int, bytes]] = [{} for _ in files]
        self.origins: list[dict[int, Origin]] = [{} for _ in files]
        self.barred: set[str] = set()
        """Accounts of which all lines are left."""
        self.strictly = False
        """Whether accounts are barred of which anything but fills may be heard yet."""
        self.carried_us: int | None = None
        """What lies within that time of the end is left, to be remembered."""
        self.forgotten_us = 0
        """What was taken out lies before that."""

    def sift(self) -> Sifted:
        """Do it.

        Raises:
            Unfit: there is nothing to gain.
        """
        self._tell()
        self._meet()
        self._recall()
        self._pair()
        self._bar()
        self._late()
        taken_out = sum(self.lines) - self._leave()
        rests = [self._rest(number) for number in range(len(self.files))]
        return Sifted(rests, taken_out)

    # -- columns ------------------------------------------------------------------------------------------------------

    def _tell(self) -> None:
        """Read the files into their tables."""
        samples = [text.some_lines() for text in self.texts]
        samples = [[line.rpartition(DIVIDER)[2] for line in sample] if file.spool is not None else sample
                   for sample, file in zip(samples, self.files, strict=True)]  # fmt: skip
        templates = [templates_of(sample, file.origin) for sample, file in zip(samples, self.files, strict=True)]
        if not all(found.each for found in templates):
            raise Unfit
        amounts, salt = _how_amounts_agree(samples, self.files), secrets.token_hex(16)
        for number, (file, text) in enumerate(zip(self.files, self.texts, strict=True)):
            patterns = amounts is Amounts.DECIMAL or file.origin != "exchange"
            checked = Checked(templates[number], amounts, patterns, salt, SIDES[file.origin or "internal"],
                              file.spool is not None)  # fmt: skip
            self._read(number, file.path, checked)
            counted = f"SELECT count(*), count(at_us), max(end_) FROM told_{number}"  # noqa: S608 - a number
            lines, proven, size = self._row(counted)
            # Nothing was passed over: each line, and one sign after each, the last one perhaps without.
            if size != text.size + (not text.is_ended) or proven < (1 - self.most_left) * lines:
                raise Unfit
            self.lines.append(lines)

    def _read(self, number: int, path: Path, checked: Checked) -> None:
        for careful in (False, True):  # what is not JSON is rare, and to be ready for it costs
            try:
                self.base.execute(f"CREATE TABLE told_{number} AS {table_of(path, checked, careful=careful)}")
            except duckdb.InvalidInputException:  # or not UTF-8, a carriage return, the sign that divides columns
                if careful:
                    raise Unfit from None
            else:
                return

    def _slices(self, number: int, what: str) -> Iterator[list[Any]]:
        """A column in the order of lines, some thousand at a time."""
        for first in range(0, self.lines[number], _SLICE):
            where = f"rowid >= {first} AND rowid < {first + _SLICE}"
            yield self._row(f"SELECT list({what}) FROM told_{number} WHERE {where}")[0]  # noqa: S608 - our own words

    def _row(self, query: str) -> tuple[Any, ...]:
        row = self.base.execute(query).fetchone()
        assert row is not None
        return row

    # -- who speaks, and what else there is ---------------------------------------------------------------------------

    def _meet(self) -> None:
        """Decode the first line of each speaker, and all that is not proven."""
        self.base.execute("CREATE TABLE kept (key UBIGINT)")
        for number in range(len(self.files)):
            firsts = self.base.execute(
                f"""SELECT speaker, min(rowid), max(at_us - time_us) FROM told_{number}
                    WHERE at_us IS NOT NULL GROUP BY speaker"""  # noqa: S608
            ).fetchall()
            self.base.execute(f"CREATE TABLE first_{number} (line BIGINT)")
            self.base.execute(f"INSERT INTO first_{number} SELECT unnest(?::BIGINT[])", [[at for _, at, _ in firsts]])
            if self.files[number].origin is None:  # a line that does not say whose it is follows the one before it
                self.base.execute(
                    f"INSERT INTO first_{number} SELECT rowid - 1 FROM told_{number} WHERE at_us IS NULL AND rowid > 0"  # noqa: S608
                )
            self.base.execute(
                f"INSERT INTO kept SELECT key FROM told_{number} WHERE rowid IN (FROM first_{number})"  # noqa: S608
            )
            self._fetch(number, f"at_us IS NULL OR rowid IN (FROM first_{number})")
            self.speakers.append({speaker: self._speaker(number, line) for speaker, line, _ in firsts})
            if any(ahead_us is not None and ahead_us > self.speakers[number][speaker].within_us
                   for speaker, _, ahead_us in firsts):  # fmt: skip
                raise Unfit  # a clock is ahead of Kafka's: each record says anew how far

    def _speaker(self, number: int, line: int) -> Speaker:
        fill = self.found[number][line]
        if not isinstance(fill, Fill):  # an amount that was not looked at is wrong in the first line of all
            raise Unfit
        contracts = {origin: self.contracts.of(origin, fill.venue, fill.account_id) for origin in ORIGINS}
        name = f"{fill.venue}|{fill.account_id}"
        if any(promises_more(contract, strictly=self.strictly) for contract in contracts.values()):
            self.barred.add(name)
        own = contracts[fill.origin]
        source = fill.source or default_source(fill.origin, fill.venue)
        return Speaker(fill.origin, name, source, own.order_within_us, own.grace_us)

    def _fetch(self, number: int, where: str) -> int:
        """Decode further lines; gives how many of the file are decoded now."""
        rows = self.base.execute(
            f"SELECT rowid, end_ - len - 1, end_ - 1, at_us IS NULL FROM told_{number} WHERE {where}"  # noqa: S608
        ).fetchall()
        if len(rows) > self.most_left * self.lines[number]:
            raise Unfit
        text, known, spool = self.texts[number], self.found[number], self.files[number].spool
        groups: dict[Origin, list[int]] = {}
        records: dict[int, Record] = {}
        for line, start, end, is_unproven in sorted(rows):
            if line in known:
                continue
            if is_unproven:
                self.unproven[number].add(line)
            value = text.line(start, end)
            if value is None or not value.strip():
                raise Unfit
            if spool is not None:
                records[line] = spool.record(line, value)
            self.values[number][line] = value if spool is None else records[line].value or b""
            groups.setdefault(self._origin_of(number, value), []).append(line)
        for origin, lines in groups.items():
            self._decode(number, origin, lines, records)
        return len(known)

    def _decode(self, number: int, origin: Origin, lines: list[int], records: dict[int, Record]) -> None:
        """Decode lines of one origin; `records`: what those are, if they are records."""
        if records:
            events = decode_records([records[line] for line in lines], origin)
        else:
            events = decode_pack([self.values[number][line] for line in lines], None, None, origin, "fills")
        for line, event in zip(lines, events, strict=True):
            self._take(number, line, origin, event)
            if line in records and self._is_ahead(event, records[line].time_us):
                raise Unfit

    def _origin_of(self, number: int, value: bytes) -> Origin:
        """Whose line it is."""
        file = self.files[number]
        if file.spool is not None and file.origin is not None:
            return file.origin
        [(origin, stream), *others] = self.places[number].of(value)
        if stream != "fills" or others:
            raise Unfit
        return origin

    def _is_ahead(self, event: Event | Rejected, time_us: int) -> bool:
        """Whether a source would be known to have a clock ahead of Kafka's."""
        if isinstance(event, Heartbeat):
            return event.through_us > time_us
        if not isinstance(event, Fill):
            return False
        return event.ts_us - self.contracts.of(event.origin, event.venue, event.account_id).order_within_us > time_us

    def _take(self, number: int, line: int, origin: Origin, event: Event | Rejected) -> None:
        self.found[number][line] = event
        self.origins[number][line] = origin
        if isinstance(event, Rejected):
            if event.account is not None:
                self.barred.add(event.account)
        elif isinstance(event, Fill):
            if event.feed_seq is not None:
                raise Unfit
            if event.exec not in _PLAIN:
                self.barred.add(f"{event.venue}|{event.account_id}")
        elif not isinstance(event, Heartbeat):
            raise Unfit

    # -- what is left -------------------------------------------------------------------------------------------------

    def _recall(self) -> None:
        """Leave what a checkpoint remembers: whole minutes, up to what the slowest source has delivered."""
        if self.carried_us is None:
            return
        newest_us: dict[tuple[Origin, str], int] = {}
        for number, speakers in enumerate(self.speakers):
            rows = self.base.execute(
                f"SELECT speaker, max(at_us) FROM told_{number} WHERE at_us IS NOT NULL GROUP BY speaker"  # noqa: S608
            ).fetchall()
            for speaker, at_us in rows:
                origin, _, source, within_us, _ = speakers[speaker]
                newest_us[origin, source] = max(newest_us.get((origin, source), -1), at_us - within_us)
        delivered_us = min(newest_us.values(), default=0)
        self.forgotten_us = (delivered_us - self.carried_us) // MINUTE_US * MINUTE_US
        for number in range(len(self.files)):
            self.base.execute(
                f"INSERT INTO kept SELECT key FROM told_{number} WHERE at_us >= {self.forgotten_us}"  # noqa: S608
            )

    @property
    def accounts(self) -> set[str]:
        """Of which anything may have been taken out."""
        return {each.account for each in chain(*(s.values() for s in self.speakers))} - self.barred

    def takes_out(self, keys: Sequence[tuple[str, ...]]) -> bool:
        """Whether any of these keys (as `told.KEY`) has been taken out, as far as can be told at once."""
        if not keys:
            return False
        hashes = ", ".join("hash(?, ?, ?, ?, ?)" for _ in keys)
        sides = " UNION ALL ".join(f"SELECT key FROM told_{number}" for number in range(len(self.files)))  # noqa: S608
        query = f"SELECT count(*) FROM ({sides}) WHERE key IN ({hashes}) AND key NOT IN (FROM kept)"  # noqa: S608
        row = self.base.execute(query, list(chain(*keys))).fetchone()
        return row is None or row[0] > 0

    def _pair(self) -> None:
        """Find the keys that are not told once by each side, alike and at about the same time."""
        self.apart_us = min((each.grace_us for each in chain(*(s.values() for s in self.speakers))), default=0) // 2
        once_each = SIDES["internal"] ^ SIDES["exchange"]
        proven = "SELECT key, said, at_us FROM told_{} WHERE at_us IS NOT NULL"
        sides = [proven.format(number) for number in range(len(self.files))]
        if len(sides) > 1:  # of one origin each; a join and two counts take half as long as one count over both
            ours, theirs = sides[0], f"SELECT key, xor(said, {once_each}::UBIGINT) AS said, at_us FROM ({sides[1]})"  # noqa: S608
            self.base.execute(
                f"""INSERT INTO kept SELECT key FROM ({ours}) a FULL JOIN ({theirs}) b USING (key, said)
                    WHERE a.at_us IS NULL OR b.at_us IS NULL OR abs(a.at_us - b.at_us) > {self.apart_us}"""  # noqa: S608
            )
            for side in sides:
                self.base.execute(f"INSERT INTO kept SELECT key FROM ({side}) GROUP BY key HAVING count(*) > 1")  # noqa: S608
            return
        self.base.execute(
            f"""INSERT INTO kept SELECT key FROM ({sides[0]}) GROUP BY key
                HAVING count(*) <> 2 OR bit_xor(said) <> {once_each}
                    OR max(at_us) - min(at_us) > {self.apart_us}"""  # noqa: S608
        )

    def _bar(self) -> None:
        """Leave the keys of which a line was not proven."""
        for number in range(len(self.files)):
            keys = [
                (fill.venue, fill.account_id, fill.instrument, fill.trade_id, fill.side)
                for line, fill in self.found[number].items()
                if isinstance(fill, Fill) and line in self.unproven[number]
            ]
            if keys:
                self.base.executemany("INSERT INTO kept SELECT hash(?, ?, ?, ?, ?)", keys)

    def _late(self) -> None:
        """Leave the keys of which a line came when its own feed may have passed its counterpart's time and grace."""
        for number in range(len(self.files)):
            late = self._late_of_one(number)
            if late is None:
                late = list(self._late_of_many(number))
            if len(late) > self.most_left * self.lines[number]:
                raise Unfit
            self.base.execute(f"CREATE TABLE late_{number} (line BIGINT)")
            self.base.execute(f"INSERT INTO late_{number} SELECT unnest(?::BIGINT[])", [late])
            self.base.execute(
                f"INSERT INTO kept SELECT key FROM told_{number} WHERE rowid IN (FROM late_{number})"  # noqa: S608
            )

    def _lifts(self, number: int) -> list[tuple[int, Origin, int]]:
        """What is not proven, but lifts a watermark: by which line, whose, up to when."""
        found: list[tuple[int, Origin, int]] = []
        for line in sorted(self.unproven[number]):
            event = self.found[number][line]
            if isinstance(event, Heartbeat):
                found.append((line, event.origin, event.through_us))
            elif isinstance(event, Fill):
                own = self.contracts.of(event.origin, event.venue, event.account_id)
                found.append((line, event.origin, event.ts_us - own.order_within_us))
        return found

    def _late_of_one(self, number: int) -> list[int] | None:
        """Late lines of a file with one origin and the same terms for all; None: it is not so simple."""
        terms = {(each.origin, each.within_us, each.grace_us) for each in self.speakers[number].values()}
        lifts = self._lifts(number)
        if len(terms) > 1 or len(lifts) > FEW:
            return None
        [(_, within_us, grace_us)] = terms
        slack_us = grace_us - self.apart_us
        if slack_us + within_us <= 0:  # a line would be late by itself
            return None
        late = f"newest_us - {within_us} >= at_us + {slack_us}"
        late += "".join(f" OR (rowid > {line} AND at_us + {slack_us} <= {to_us})" for line, _, to_us in lifts)
        rows = self.base.execute(
            f"SELECT rowid FROM told_{number} WHERE {late}"  # noqa: S608 - our own words and numbers
        ).fetchall()
        return [line for (line,) in rows]

    def _late_of_many(self, number: int) -> Iterator[int]:
        """The same for any file: no clock is further than all of its origin say."""
        newest_us = dict.fromkeys(ORIGINS, -1)
        lifts = {line: (origin, to_us) for line, origin, to_us in self._lifts(number)}
        spoken = chain.from_iterable(self._slices(number, "speaker"))
        times_us = chain.from_iterable(self._slices(number, "coalesce(at_us, -1)"))
        for line, (speaker, at_us) in enumerate(zip(spoken, times_us, strict=True)):
            if at_us < 0:
                if line in lifts:
                    origin, to_us = lifts[line]
                    newest_us[origin] = max(newest_us[origin], to_us)
                continue
            origin, _, _, within_us, grace_us = self.speakers[number][speaker]
            if newest_us[origin] >= at_us + grace_us - self.apart_us:
                yield line
            newest_us[origin] = max(newest_us[origin], at_us - within_us)

    def _leave(self) -> int:
        """Decode all that is left; gives how many lines that is."""
        while True:
            barred = set(self.barred)
            left = 0
            for number in range(len(self.files)):
                theirs = [key for key, each in self.speakers[number].items() if each.account in barred]
                also = f" OR speaker IN ({', '.join(map(str, theirs))})" if theirs else ""
                left += self._fetch(number, f"at_us IS NULL OR key IN (FROM kept){also}")
            if barred == self.barred:
                return left

    def _rest(self, number: int) -> Rest:
        file, speakers = self.files[number], self.speakers[number]
        misread = {line for line, event in self.found[number].items() if isinstance(event, Rejected)}
        misread -= self.unproven[number]  # they look like fills to the columns, and lift nothing all the same
        spoken = None
        if len({(each.origin, each.source, each.within_us) for each in speakers.values()}) > 1:
            numbers = {speaker: at for at, speaker in enumerate(speakers)}
            lifting, times_us, spoken = array("Q"), array("q"), array("I")
            every = zip(
                count(),
                chain.from_iterable(self._slices(number, "coalesce(at_us, -1)")),
                chain.from_iterable(self._slices(number, "speaker")),
                strict=False,
            )
            for line, at_us, speaker in every:
                if at_us >= 0 and line not in misread:
                    lifting.append(line)
                    times_us.append(at_us)
                    spoken.append(numbers[speaker])
        else:
            lifting, times_us = self._rising(number, misread)
        left = [
            Line(line + 1, self.values[number][line], self.origins[number][line], "fills", event)
            for line, event in sorted(self.found[number].items())
        ]
        return Rest(file, self.lines[number], lifting, times_us, list(speakers.values()), spoken, left)

    def _rising(self, number: int, misread: set[int]) -> tuple[array[int], array[int]]:
        """The lines that are not older than any before them, with their times: what is older lifts nothing."""
        lifting, rising_us, newest_us = array("Q"), array("q"), -1
        rises = "at_us IS NOT NULL" if misread else "at_us = newest_us"  # there what is misread counts as newest too
        for first in range(0, self.lines[number], _SLICE):
            lines, times_us = self._row(
                f"""SELECT list(rowid), list(at_us) FROM told_{number}
                    WHERE {rises} AND rowid >= {first} AND rowid < {first + _SLICE}"""  # noqa: S608
            )
            for line, at_us in zip(lines or (), times_us or (), strict=True):
                if at_us >= newest_us and line not in misread:
                    lifting.append(line)
                    rising_us.append(at_us)
                    newest_us = at_us
        return lifting, rising_us


def _how_amounts_agree(samples: list[list[bytes]], files: list[PlainFile]) -> Amounts:
    """Whether both files write equal amounts in the same digits, as far as their first lines tell."""
    if len(files) == 1:
        return Amounts.DECIMAL
    told: list[dict[tuple[str, ...], tuple[str, ...]]] = []
    for sample, file in zip(samples, files, strict=True):
        events = decode_pack(list(sample), None, None, file.origin or "internal", "fills")
        fills = [event for event in events if isinstance(event, Fill)]
        told.append({_key(fill): (fill.qty, fill.price, fill.fee or "0") for fill in fills})
    for key in told[0].keys() & told[1].keys():
        ours, theirs = told[0][key], told[1][key]
        if ours != theirs and _numbers(ours) == _numbers(theirs):
            return Amounts.DECIMAL
    return Amounts.TEXT


def _key(fill: Fill) -> tuple[str, ...]:
    return fill.venue, fill.account_id, fill.instrument, fill.trade_id, fill.side


def _numbers(amounts: Iterable[str]) -> list[object]:
    return [to_decimal(amount) for amount in amounts]


def promises_more(contract: FeedContract, *, strictly: bool = False) -> bool:
    """Whether anything but fills is promised; `strictly`: or may be heard of, so that fills are counted for it."""
    nothing = {"absent"} if strictly else {None, "absent"}
    return any(
        promise not in nothing for promise in (contract.orders, contract.positions, contract.balances, contract.ledger)
    )
