"""A configuration file that changes, breaks or goes while a worker looks at it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from stream_recon.domain.layers import ConfigurationError
from stream_recon.shell.configuration import Configuration, load
from stream_recon.shell.watching import FileWatch, watch

if TYPE_CHECKING:
    from pathlib import Path

SIZE = "reconciliation.batch_size"


class Desk:
    """A file, the configuration that holds, and who looks at the one and lets the other hold."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "recon.yaml"
        self.write(f"reconciliation: {{batch_size: 1}}\non_unsupported: reject # {'-' * 40}\n")
        self.current = load(self.path, None, {})
        self.watch = FileWatch()

    def write(self, text: str) -> None:
        """Put another content into the file."""
        self.path.write_text(text, "utf-8")

    def look(self) -> Configuration | ConfigurationError | None:
        """Look once."""
        found = self.watch.look(self.current)
        if isinstance(found, Configuration):
            self.current = found
        return found

    @property
    def size(self) -> object:
        """What holds."""
        return self.current.value(SIZE)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_changed_file_holds_once_two_looks_have_found_the_same(desk: Desk) -> None:
    assert desk.look() is None
    desk.write("reconciliation: {batch_size: 2}\n")
    assert desk.look() is None
    desk.write("reconciliation: {batch_size: 3}\n")
    assert (desk.look(), desk.size) == (None, 1)
    assert desk.look() is desk.current
    assert (desk.size, desk.current.version) == (3, 1)
    assert desk.look() is None


def test_a_file_that_is_written_as_before_changes_nothing(desk: Desk) -> None:
    desk.write(desk.path.read_text())
    assert [desk.look() for _ in range(3)] == [None] * 3
    assert desk.current.version == 0


@pytest.mark.parametrize("broken", ["", "reconciliation: [", "reconciliation: {bach_size: 5}\n", None])
def test_a_broken_file_is_told_once_and_what_held_goes_on_to_hold(desk: Desk, broken: str | None) -> None:
    if broken is None:
        desk.path.unlink()
    else:
        desk.write(broken)
    found = [desk.look() for _ in range(4)]
    assert [type(one) for one in found] == [type(None), ConfigurationError, type(None), type(None)]
    assert str(desk.path.name) in str(found[1])
    assert (desk.size, desk.current.version) == (1, 0)
    desk.write("reconciliation: {batch_size: 9}\n")
    assert [desk.look(), desk.look()] == [None, desk.current]
    assert desk.size == 9


def test_no_beginning_of_a_file_that_is_being_written_is_ever_taken_for_it(desk: Desk) -> None:
    whole = "reconciliation:\n  batch_size: 5555\nstrategies:\n  full:\n    batch_size: 77\n"
    for end in range(len(whole)):
        desk.write(whole[:end])
        assert desk.look() is None
        assert desk.current.version == 0
    desk.write(whole)
    desk.look()
    desk.look()
    assert (desk.size, desk.current.version) == (5555, 1)


def test_a_broken_file_is_tried_again_when_what_was_set_beside_it_changes(desk: Desk) -> None:
    desk.current = desk.current.changed({"reconciliation.auto_resolve_threshold": "0.005"})
    desk.write("reconciliation: {max_discrepancy_threshold: 0.002, batch_size: 4}\n")
    assert isinstance([desk.look(), desk.look()][1], ConfigurationError)
    desk.current = desk.current.changed({"reconciliation.auto_resolve_threshold": None})
    assert desk.look() is desk.current
    assert (desk.size, desk.current.version) == (4, 3)


def test_who_watches_hears_of_changes_and_of_what_is_broken(desk: Desk) -> None:
    async def hear() -> list[object]:
        heard: list[object] = []
        async for found in watch(lambda: desk.current, 0.001):
            heard.append(found)
            if isinstance(found, Configuration):
                desk.current = found
                desk.write("nonsense: 1\n")
            else:
                break
        return heard

    desk.write("reconciliation: {batch_size: 2}\n")
    first, second = asyncio.run(hear())
    assert first is desk.current
    assert isinstance(second, ConfigurationError)
    assert "there is no key 'nonsense'" in str(second)
