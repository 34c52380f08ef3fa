"""The page that says when to use which type: every example on it is run, and gives what it says."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from stream_recon.domain.control import Reconcile
from stream_recon.domain.control_reading import read_command
from stream_recon.domain.types import ReconciliationType
from tests.commands import environment, run

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "types.md").read_text("utf-8")
CONSOLE = re.findall(r"```console\n\$ stream-recon (.*?(?:\\\n.*?)?)\n(.*?)```", PAGE, re.DOTALL)
NEEDS = (
    "end of day", "before a withdrawal", "after a restart", "something is wrong now", "every five minutes, at low cost",
)  # fmt: skip


def masked(text: str) -> str:
    return re.sub(r"compared in [0-9.]+ s", "compared in S", text)


@pytest.mark.parametrize(("line", "told"), CONSOLE, ids=[line.split()[-1] for line, _ in CONSOLE])
def test_an_example_gives_what_the_page_says(line: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    done = run(*shlex.split(line.replace("\\\n", " ")))
    assert masked(done.out + done.err) == masked(told)


def block(language: str) -> str:
    """The one block in a language."""
    [text] = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(text)


def test_the_command_on_the_page_is_one_that_is_taken() -> None:
    command = read_command(block("json").encode(), None)
    assert isinstance(command, Reconcile), command
    assert command.type == "full"


def test_the_schedules_on_the_page_are_valid(tmp_path: Path) -> None:
    (tmp_path / "recon.yaml").write_text(block("yaml"))
    done = run("config", "validate", tmp_path / "recon.yaml")
    assert done.code == 0, done.err


def test_there_is_an_example_of_each_type() -> None:
    assert {line.split()[-1] for line, _ in CONSOLE} == set(ReconciliationType)


def test_the_python_example_gives_what_the_page_says() -> None:
    [(program, told)] = re.findall(r"```python\n(.*?)```\n\n```\n(.*?)```", PAGE, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT, env=environment()
    )
    assert done.stdout == told


@pytest.mark.parametrize("need", NEEDS)
def test_the_table_answers_what_readers_ask(need: str) -> None:
    [row] = [line for line in PAGE.splitlines() if line.startswith("|") and need in line]
    assert re.search(r"`(full|incremental|balance_only|position_only|emergency)`", row)
