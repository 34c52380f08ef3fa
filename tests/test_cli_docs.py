from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import environment, run

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"
MAKE = [sys.executable, "-m", "typer", "stream_recon.cli.main", "utils", "docs", "--name", "stream-recon"]


def test_the_page_of_commands_is_what_the_commands_say() -> None:
    made = subprocess.run(MAKE, capture_output=True, text=True, check=True, env=environment()).stdout
    assert PAGE.read_text("utf-8").strip() == made.strip(), f"make it anew: {' '.join(MAKE)} --output docs/cli.md"


def test_every_command_is_there_and_helps() -> None:
    helped = run("--help")
    assert helped.code == 0
    for command in ("demo", "up", "worker", "publish", "reconcile", "tail", "breaks", "break", "explain", "topics",
                    "schema", "doctor", "audit", "bench", "config"):  # fmt: skip
        assert f" {command} " in helped.out
        assert run(command, "--help").code == 0


def test_the_version_is_told() -> None:
    assert run("--version").out.strip()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("up", "--port", "80000"), "--port"),
        (("worker", "--http-port", "70000"), "--http-port"),
        (("breaks", "-b", "foo:bar"), "--bootstrap"),
        (("publish", "-", "-b", "kafka"), "--bootstrap"),
        (("explain", "abc", "-b", "one:1,:9092"), "--bootstrap"),
        (("tail", "--kind", "gremlins"), "there is no kind 'gremlins'"),
        (("breaks", "--account", "desk-1"), "--account 'desk-1': an account is venue|account_id"),
        (("tail", "--account", "binance|"), "--account 'binance|': an account is venue|account_id"),
        (("reconcile", "-", "--account", "binance|"), "--account 'binance|': an account is venue|account_id"),
        (("trigger", "full", "--yes", "--account", "|desk-1"), "--account '|desk-1': an account is venue|account_id"),
        (("trigger", "full", "--yes", "--at", "tomorrow"), "--at tomorrow: give a time"),
        (("trigger", "full", "--yes", "--at", "1900-01-01"), "cut_us"),
    ],
)
def test_options_that_cannot_be_are_wrong_usage(words: tuple[str, ...], says: str) -> None:
    done = run(*words)
    assert done.code == 2
    assert "compares" not in done.err
    assert says in done.err
    assert "Traceback" not in done.err
