"""Sees that a configuration file has changed, without being told and without a library for it.

A file counts as changed once its content is another one, whatever its times say, and once two looks in a row have
found the same: an editor or a copy writes in steps, and half a YAML file is often a valid one. One that is broken, or
gone, is told once; what held before goes on to hold.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from stream_recon.domain.layers import ConfigurationError
from stream_recon.shell.config_sources import hash_of, read_file

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from stream_recon.shell.configuration import Configuration

EVERY_S = 1.0


class FileWatch:
    """Remembers what was seen last."""

    def __init__(self) -> None:
        self._last: object = None
        self._told: object = None

    def look(self, current: Configuration) -> Configuration | ConfigurationError | None:
        """What a changed file makes of the current configuration, or why it makes none; None: nothing is new."""
        path = current.origin.path
        if path is None:
            return None
        content, found = b"", ""
        try:
            content = read_file(path)
            found = hash_of(content)
        except ConfigurationError as error:
            found = str(error)
        settled, self._last = found == self._last, found
        if found == current.origin.read:
            self._told = None
            return None
        if not settled or self._told == (found, current.version):
            return None
        self._told = (found, current.version)
        try:
            return current.reloaded(content if found == hash_of(content) else None)
        except ConfigurationError as error:
            return error


async def watch(
    current: Callable[[], Configuration], every_s: float = EVERY_S
) -> AsyncIterator[Configuration | ConfigurationError]:
    """Each change of the file of the configuration that holds at the time: what it makes, or why it makes none."""
    looking = FileWatch()
    while True:
        found = looking.look(current())
        if found is not None:
            yield found
        await asyncio.sleep(every_s)
