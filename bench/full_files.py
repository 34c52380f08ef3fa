"""A full run over two files of fills, beside DuckDB doing a bare full outer join with decimals on the same files.

python bench/full_files.py [--fills 1000000] [--runs 3]

Each in a process of its own, in turn; CPU seconds without what it takes to start Python. DuckDB runs on one thread:
once it reads only the fields that it compares and counts the rows that differ, once it gives these rows, with all
their fields. Ours checks every line by all rules, and gives every discrepancy with its evidence.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import job

if TYPE_CHECKING:
    from collections.abc import Callable

START_US = 1_700_000_000_000_000


def write(folder: Path, fills: int) -> None:
    """Both sides."""
    one = job.Job(fills, 1, START_US)
    for origin in ("internal", "exchange"):
        with (folder / origin).open("wb") as file:
            file.writelines(value + b"\n" for _, value in one.records(origin))  # type: ignore[arg-type]


def ours(folder: Path) -> int:
    """Compare by `full`; gives how many discrepancies there are."""
    from stream_recon.files import reconcile  # noqa: PLC0415 - measured

    with ExitStack() as stack:
        files = [(stack.enter_context((folder / o).open("rb")), o, o) for o in ("internal", "exchange")]
        return len(reconcile(files, job.contracts()).newest)  # type: ignore[arg-type]


def duck(folder: Path, *, rows: bool = False) -> int:
    """Compare by SQL; gives how many rows differ. `rows`: with all that they say, not only counted."""
    import duckdb  # noqa: PLC0415 - measured

    columns = (
        "{account_id: 'VARCHAR', instrument: 'VARCHAR', trade_id: 'VARCHAR', side: 'VARCHAR', qty: 'DECIMAL(38,18)', "
        "price: 'DECIMAL(38,18)', fee: 'DECIMAL(38,18)', fee_asset: 'VARCHAR', ts_us: 'BIGINT'}"
    )
    amounts = ("qty", "price", "fee")
    decimals = ", ".join(f"{amount}::DECIMAL(38,18) AS {amount}" for amount in amounts)
    read = f"SELECT * REPLACE ({decimals}) FROM" if rows else "FROM"
    fields = "" if rows else f", columns = {columns}"
    sides = [f"({read} read_json('{folder}/{o}', format = 'newline_delimited'{fields}))" for o in
             ("internal", "exchange")]  # fmt: skip
    keys = ("account_id", "instrument", "trade_id", "side")
    query = (
        f"SELECT {'a.*, b.*' if rows else 'count(*)'} FROM {sides[0]} a FULL OUTER JOIN {sides[1]} b "  # noqa: S608
        f"ON {' AND '.join(f'a.{k} = b.{k}' for k in keys)} "
        f"WHERE {' OR '.join(f'a.{f} IS DISTINCT FROM b.{f}' for f in (*amounts, 'fee_asset'))}"
    )
    connection = duckdb.connect()
    connection.execute("SET threads = 1")
    found = connection.execute(query).fetchall()
    return len(found) if rows else int(found[0][0])


DOERS: dict[str, Callable[[Path], int]] = {
    "ours": ours, "duckdb": duck, "duckdb with rows": partial(duck, rows=True),
}  # fmt: skip


def measured(what: str, folder: Path) -> dict[str, Any]:
    """One of them in a process of its own."""
    done = subprocess.run([sys.executable, __file__, "--do", what, str(folder)], capture_output=True, check=True)
    return dict(json.loads(done.stdout))


def main() -> None:
    """Write the files, run both in turn, print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--fills", type=int, default=1_000_000)
    options.add_argument("--runs", type=int, default=3)
    options.add_argument("--do", nargs=2, default=None, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.do is not None:
        began = time.process_time()
        found = DOERS[given.do[0]](Path(given.do[1]))
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(json.dumps({"cpu_s": time.process_time() - began, "peak_mb": peak_mb, "found": found}))
        return
    with tempfile.TemporaryDirectory() as name:
        write(Path(name), given.fills)
        told: dict[str, list[dict[str, Any]]] = {what: [] for what in DOERS}
        for _ in range(given.runs):
            for what, results in told.items():
                results.append(measured(what, Path(name)))
    medians = {what: statistics.median(each["cpu_s"] for each in results) for what, results in told.items()}
    for what, results in told.items():
        peak = max(each["peak_mb"] for each in results)
        ratio = f"; {medians['ours'] / medians[what]:.2f} times that is ours" if what != "ours" else ""
        print(f"{what:<16} {medians[what]:6.2f} s of CPU, {peak:,} MB at most, {results[0]['found']:,} found{ratio}")


if __name__ == "__main__":
    main()
