"""Shows on a terminal what a broker is waiting for."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from stream_recon.broker.jars import Progress as Callback


@contextmanager
def shown(console: Console) -> Iterator[Callback]:
    """Give a callback for `open_broker` whose calls are one line that changes, with a bar where there are bytes."""
    words = (SpinnerColumn(), TextColumn("{task.description}"))
    with Progress(*words, BarColumn(), DownloadColumn(), console=console, transient=True) as progress:
        task = progress.add_task("", start=False, visible=False)

        def show(what: str, done: int, total: int) -> None:
            progress.update(task, description=what, completed=done, total=total or None, visible=True)

        yield show
