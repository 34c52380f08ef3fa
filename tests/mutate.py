"""Do the tests bite? Change the core in one place at a time, and see whether any test that concerns it fails.

`python -m tests.mutate [--sample N] [--seed S] [FILE...]`; files are those of `stream_recon/core`, by name. A mutant
lives in a copy of the package that comes before the tree on the path. A test run that hangs counts as a kill.
"""

from __future__ import annotations

import argparse
import ast
import compileall
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, NamedTuple

from hypothesis import Phase, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

TREE = Path(__file__).parents[1]
CORE = "stream_recon/core"
PROCESSES = 2
ACCOUNTS = ("test_causes", "test_accounts_against_oracle")
TRADES = ("test_trades", "test_interleavings", "test_conditions", "test_lifecycle", "test_core_against_oracle")
TESTS = {
    "sights": (*ACCOUNTS, "test_windows"),
    "states": ACCOUNTS,
    "orders": ACCOUNTS,
    "ledger": ACCOUNTS,
    "causes": (*ACCOUNTS, "test_windows", "test_explain"),
    "counting": (*ACCOUNTS, "test_windows", "test_explain"),
    "cases": TRADES,
    "watermarks": TRADES,
    "register": ("test_lifecycle", "test_newest", "test_core_against_oracle"),
}
"""The fast tests that concern each file; those that only show that a harness bites are left out."""

SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    one: other
    for pair in (
        (ast.Lt, ast.LtE), (ast.Gt, ast.GtE), (ast.Eq, ast.NotEq), (ast.Is, ast.IsNot), (ast.In, ast.NotIn),
        (ast.Add, ast.Sub), (ast.And, ast.Or),
    )
    for one, other in (pair, pair[::-1])
}  # fmt: skip


class Mutant(NamedTuple):
    """One place of a file, and what to put there."""

    node: ast.expr | ast.stmt
    instead: str


class Outcome(NamedTuple):
    """What the tests said of a mutant."""

    killed: bool
    text: str


def pytest_configure() -> None:
    """As a plugin of the runs on mutants: what fails need not be made small."""
    settings.register_profile("mutants", phases=(Phase.explicit, Phase.generate), database=None)
    settings.load_profile("mutants")


def mutants_of(source: bytes) -> list[Mutant]:
    """All that can be changed in a file, in order."""
    return sorted(_within(ast.parse(source)), key=lambda each: (each.node.lineno, each.node.col_offset, each.instead))


def _within(node: ast.AST) -> Iterator[Mutant]:
    if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
        return
    yield from _mutants(node)
    for field, child in ast.iter_fields(node):
        if field not in {"annotation", "returns"}:
            for each in child if isinstance(child, list) else [child]:
                if isinstance(each, ast.AST):
                    yield from _within(each)


def _mutants(node: ast.AST) -> Iterator[Mutant]:  # noqa: C901 - one case for each kind of change
    match node:
        case ast.Compare():
            for at, op in enumerate(node.ops):
                if type(op) in SWAPPED:
                    changed = deepcopy(node)
                    changed.ops[at] = SWAPPED[type(op)]()  # type: ignore[call-overload]
                    yield Mutant(node, f"({ast.unparse(changed)})")
        case ast.BinOp(op=ast.Add() | ast.Sub()) | ast.BoolOp():
            swapped = deepcopy(node)
            swapped.op = SWAPPED[type(node.op)]()  # type: ignore[assignment]
            yield Mutant(node, f"({ast.unparse(swapped)})")
        case ast.UnaryOp(op=ast.Not()):
            yield Mutant(node, f"({ast.unparse(node.operand)})")
        case ast.Name(id="min" | "max"):
            yield Mutant(node, "max" if node.id == "min" else "min")
        case ast.Constant(value=bool()):
            yield Mutant(node, str(not node.value))
        case ast.Constant(value=int() as number):
            yield Mutant(node, f"({number} + 1)")
        case ast.Return(value=ast.expr() as value) if ast.unparse(value) != "None":
            yield Mutant(node, "return None")
        case ast.If():
            yield from (Mutant(each, "pass") for each in node.body if not isinstance(each, ast.Pass))


def put(source: bytes, mutant: Mutant) -> bytes:
    """The file with that change."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    node = mutant.node
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    first = starts[node.lineno - 1] + node.col_offset
    last = starts[node.end_lineno - 1] + node.end_col_offset
    return source[:first] + mutant.instead.encode() + source[last:]


def shown(source: bytes, mutant: Mutant) -> str:
    """The lines that change, before and after, each as one."""
    first, last = mutant.node.lineno, mutant.node.end_lineno or mutant.node.lineno
    before, after = source.decode().splitlines(), put(source, mutant).decode().splitlines()
    old = before[first - 1 : last]
    new = after[first - 1 : last + len(after) - len(before)]
    return " -> ".join(" ".join(line.strip() for line in lines) for lines in (old, new))


class Copy:
    """A copy of the package, to be broken."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(
            TREE / "stream_recon", folder / "stream_recon", ignore=shutil.ignore_patterns("__pycache__", "jars")
        )
        compileall.compile_dir(folder / "stream_recon", quiet=2)

    def passes(self, name: str, source: bytes, timeout_s: float) -> bool:
        """Whether the tests of a file pass with this as its text."""
        file = self.folder / CORE / f"{name}.py"
        before = file.read_bytes()
        for cached in (file.parent / "__pycache__").glob(f"{name}.*.pyc"):
            cached.unlink()
        file.write_bytes(source)
        try:
            done = subprocess.run(
                [
                    sys.executable, "-P", "-m", "pytest", "-x", "-q", "-k", "not bites", "-p", "tests.mutate",
                    "-p", "no:cacheprovider", "--hypothesis-seed=0", "-o", "pythonpath=",
                    *(f"tests/{test}.py" for test in TESTS[name]),
                ],
                cwd=TREE, timeout=timeout_s, capture_output=True, check=False,
                env=os.environ | {
                    "PYTHONPATH": f"{self.folder}{os.pathsep}{TREE}", "PYTHONDONTWRITEBYTECODE": "1",
                    "HYPOTHESIS_STORAGE_DIRECTORY": str(self.folder / "hypothesis"),
                },
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return False
        finally:
            file.write_bytes(before)
        return done.returncode == 0


def try_all(name: str, chosen: list[Mutant], copies: SimpleQueue[Copy]) -> list[Outcome]:
    """What the tests say of some mutants of a file."""
    source = (TREE / CORE / f"{name}.py").read_bytes()
    copy = copies.get()
    begun = time.monotonic()
    assert copy.passes(name, source, 600), f"the tests of {name} fail as it is"
    limit_s = 10 + 2 * (time.monotonic() - begun)
    assert not copy.passes(name, b"raise SystemError\n" + source, limit_s), f"the tests of {name} do not see the copy"
    copies.put(copy)

    def outcome(mutant: Mutant) -> Outcome:
        copy = copies.get()
        killed = not copy.passes(name, put(source, mutant), limit_s)
        copies.put(copy)
        text = f"{'killed  ' if killed else 'SURVIVED'} {CORE}/{name}.py:{mutant.node.lineno} {shown(source, mutant)}"
        print(text, flush=True)
        return Outcome(killed, text)

    with ThreadPoolExecutor(PROCESSES) as pool:
        return list(pool.map(outcome, chosen))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", metavar="FILE", help=f"of {', '.join(TESTS)}; all if none is named")
    parser.add_argument("--sample", type=int, default=20, metavar="N", help="how many mutants of each file (20)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="which of them are drawn (0)")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        copies: SimpleQueue[Copy] = SimpleQueue()
        for number in range(PROCESSES):
            copies.put(Copy(Path(folder, str(number))))
        for file in asked.files or TESTS:
            name = Path(file).stem
            every = mutants_of((TREE / CORE / f"{name}.py").read_bytes())
            chosen = random.Random(asked.seed).sample(every, min(asked.sample, len(every)))
            outcomes = try_all(name, chosen, copies)
            killed = sum(outcome.killed for outcome in outcomes)
            print(f"{name}: {killed} of {len(chosen)} killed; {len(every)} could be drawn", flush=True)


if __name__ == "__main__":
    main()
