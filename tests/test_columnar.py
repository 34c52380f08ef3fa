"""Files compared with what agrees sorted out in columns first, and without: the same in every field.

That two different contents have one hash of 128 bits cannot be tested.
"""

from __future__ import annotations

import random
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from stream_recon.columnar import replay
from stream_recon.columnar import sift as sifting
from stream_recon.domain.contracts import Contracts, FeedContract
from stream_recon.domain.events import ORIGINS
from stream_recon.files import open_lines, reconcile
from tests.told import faulty, recorded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from stream_recon.files import Outcome

START_US = 1_764_000_000_000_000
CONTRACTS = Contracts(contracts=tuple(FeedContract(origin=o, fills="complete") for o in ORIGINS))


def fills(origin: str, count: int) -> list[dict[str, Any]]:
    """The fills of one side, as they were."""
    return [
        {
            "type": "fill", "origin": origin, "venue": "simex", "account_id": f"desk-{n % 7}",
            "event_id": f"{origin}-{n}", "ts_us": START_US + n * 10_000, "instrument": "BTC-USD", "trade_id": f"T{n}",
            "order_id": f"O{n // 2}", "side": "sell" if n % 3 else "buy", "qty": f"{n % 40 + 1}.5",
            "price": f"{60_000 + n % 50}.25", "fee": "0.1", "fee_asset": "USD",
        }
        for n in range(count)
    ]  # fmt: skip


def spoil(rng: random.Random, told: list[dict[str, Any]]) -> list[Any]:  # noqa: C901, PLR0912 - a fault a line
    """The same with faults of every kind, and told otherwise."""
    lines: list[Any] = []
    for fill in told:
        what = rng.randint(0, 160)
        if what == 0:
            continue
        if what == 1:
            fill = {**fill, "price": "1"}  # noqa: PLW2901
        elif what == 2:
            fill = {**fill, "qty": f"{fill['qty']}00"}  # noqa: PLW2901 - equal amounts
        elif what == 3:
            lines.append(fill)
        elif what == 4:
            lines.append({**fill, "price": "2"})
        elif what == 5:
            lines.append({**fill, "exec": "bust", "trade_id": f"B{fill['trade_id']}", "ref_trade_id": fill["trade_id"]})
        elif what == 6:
            fill = {**fill, "source": "gw-2"}  # noqa: PLW2901
        elif what == 7:
            fill = {**fill, "extra": {"a": [1, "ü"]}}  # noqa: PLW2901
        elif what == 8:
            fill = {**fill, "ts_us": fill["ts_us"] - 9_000_000}  # noqa: PLW2901
        elif what == 9:
            lines.append(msgspec.json.encode(fill).replace(b'"qty":"', b'"qty":"1e'))
        elif what == 10:
            lines.append(msgspec.json.encode(fill)[:-1] + b',"qty":"1"}')
        elif what == 11:
            lines.append(rng.choice((b"", b"   ", b"[]", b"null", b'{"type":"fill"', b"\xff\xfe", b'{"type":"x"}')))
        elif what == 12:
            lines.append(
                {"type": "heartbeat", "origin": fill["origin"], "source": f"{fill['origin']}|simex",
                 "through_us": fill["ts_us"] - 1_000_000}
            )  # fmt: skip
        elif what == 13:
            lines.append(
                {"type": "position", "origin": fill["origin"], "venue": "simex", "account_id": "desk-1",
                 "event_id": "p", "ts_us": fill["ts_us"], "instrument": "BTC-USD", "qty": "1"}
            )  # fmt: skip
        elif what == 14:
            fill = {name: value for name, value in fill.items() if name not in {"fee", "fee_asset"}}  # noqa: PLW2901
        elif what == 15:
            lines.append(msgspec.json.encode(fill).replace(b'"side":"', b'"side": "'))
            continue
        elif what == 16:
            fill = {**fill, "account_id": "désk|?"}  # noqa: PLW2901
        elif what == 17:
            lines.append(msgspec.json.encode({**fill, "qty": 1.5}))
            continue
        lines.append(fill)
    return lines


def jumbled(rng: random.Random, lines: list[Any], within: int) -> list[Any]:
    """Out of order by so many lines."""
    places = {n: n + rng.random() * within for n in range(len(lines))}
    return [lines[n] for n in sorted(places, key=places.__getitem__)]


def write(path: Path, lines: Iterable[Any]) -> Path:
    path.write_bytes(b"".join((x if isinstance(x, bytes) else msgspec.json.encode(x)) + b"\n" for x in lines))
    return path


def compare(
    paths: Sequence[tuple[Path, Any]], contracts: Contracts, instruments: Any = None, *, columnar: bool
) -> Outcome:
    """What files come to."""
    with ExitStack() as stack:
        files = [(stack.enter_context(open_lines(path)), path.name, origin) for path, origin in paths]
        return reconcile(files, contracts, instruments, columnar=columnar)


def told_of(outcome: Outcome) -> dict[str, Any]:
    """Every field of an outcome, byte by byte; counts that are 0 say nothing."""
    return {
        "newest": [msgspec.json.encode(alert) for alert in sorted(outcome.newest, key=lambda each: each.alert_id)],
        "rejected": sorted(outcome.rejected),
        "lines": outcome.lines,
        "counts": {name: count for name, count in sorted(outcome.counts.items()) if count},
        "unused": outcome.unused,
    }


def same(paths: Sequence[tuple[Path, Any]], contracts: Contracts, instruments: Any = None) -> dict[str, Any]:
    """What files come to either way, which must be the same."""
    with_columns = told_of(compare(paths, contracts, instruments, columnar=True))
    assert with_columns == told_of(compare(paths, contracts, instruments, columnar=False))
    return with_columns


@pytest.mark.parametrize("seed", range(16))
def test_files_with_every_fault_come_to_the_same(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    count = rng.choice((1, 50, 900, 3_000))
    contracts = rng.choice((
        CONTRACTS,
        Contracts(),
        Contracts(contracts=tuple(FeedContract(origin=o, tolerance={"price": "100000"}) for o in ORIGINS)),
        Contracts(contracts=(FeedContract(origin="internal", account="desk-[12]", fills="partial"),
                             FeedContract(origin="exchange", account="desk-3", fills="absent"))),
        Contracts(contracts=tuple(FeedContract(origin=o, silence="trust", grace_us=0) for o in ORIGINS)),
    ))  # fmt: skip
    sides = {origin: jumbled(rng, spoil(rng, fills(origin, count)), rng.choice((1, 50, 900))) for origin in ORIGINS}
    if seed % 3 == 0:
        both = [line for pair in zip(*sides.values(), strict=False) for line in pair]
        same([(write(tmp_path / "both", both), None)], contracts)
    else:
        same([(write(tmp_path / origin, lines), origin) for origin, lines in sides.items()], contracts)


def test_most_of_what_agrees_is_sorted_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sifted = []

    def watched(sift: Any) -> Any:
        def watch(*given: Any) -> Any:
            sifted.append(sift(*given))
            return sifted[-1]

        return watch

    monkeypatch.setattr(replay, "sift", watched(sifting.sift))
    paths = [(write(tmp_path / origin, fills(origin, 5_000)), origin) for origin in ORIGINS]
    assert same(paths, CONTRACTS)["counts"]["matched"] == 10_000
    assert sifted[0].taken_out > 9_000


@pytest.mark.parametrize("in_one_file", [False, True], ids=["two files", "one file"])
def test_fills_that_agree_but_at_times_far_apart_are_left_to_the_core(tmp_path: Path, *, in_one_file: bool) -> None:
    """The one is missing until the other comes: taken out, nobody would say so."""
    sides = {origin: fills(origin, 5_000) for origin in ORIGINS}
    for number in range(100, 4_000, 100):
        sides["exchange"][number]["ts_us"] += 10_000_000
    sides["exchange"].sort(key=lambda fill: fill["ts_us"])
    if in_one_file:
        both = sorted([*sides["internal"], *sides["exchange"]], key=lambda fill: fill["ts_us"])
        told = same([(write(tmp_path / "both", both), None)], CONTRACTS)
    else:
        told = same([(write(tmp_path / origin, lines), origin) for origin, lines in sides.items()], CONTRACTS)
    assert len(told["newest"]) == 39


@pytest.mark.parametrize("name", ["hyperliquid", "binance_usdm"])
def test_real_recordings_come_to_the_same(tmp_path: Path, name: str) -> None:
    one = recorded(name)
    same([(write(tmp_path / "events", one.lines), None)], one.contracts, one.instruments)


@pytest.mark.parametrize("seed", [3, 4])
def test_a_day_with_faults_in_orders_positions_and_balances_comes_to_the_same(tmp_path: Path, seed: int) -> None:
    one = faulty(seed)
    same([(write(tmp_path / "events", one.lines), None)], one.contracts, one.instruments)


def that_counts_wrongly(sift: Callable[..., Any]) -> Callable[..., Any]:
    """A sift that says it has taken out more than it has."""

    def wrong(files: Any, contracts: Any) -> Any:
        found = sift(files, contracts)
        return found._replace(taken_out=found.taken_out + 2) if found is not None else None

    return wrong


def test_the_comparison_bites_a_sift_that_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [(write(tmp_path / origin, fills(origin, 500)), origin) for origin in ORIGINS]
    same(paths, CONTRACTS)
    monkeypatch.setattr(replay, "sift", that_counts_wrongly(sifting.sift))
    with pytest.raises(AssertionError):
        same(paths, CONTRACTS)
