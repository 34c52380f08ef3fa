"""Shows on a terminal what a broker is waiting for."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from stream_recon.broker.jars import Progress as Callback


@contextmanager
def shown(console: Console) -> Iterator[Callback]:
    """Give a callback for `open_broker`: one changing line, with a bar where there are bytes; in a log, lines."""
    if not console.is_terminal:
        told = set[str]()

        def tell(what: str, _done: int, _total: int) -> None:
            if what not in told:
                told.add(what)
                console.print(f"{what} ...")

        yield tell
        return
    words, amount = TextColumn("{task.description}"), TextColumn("{task.fields[amount]}")
    with Progress(SpinnerColumn(), words, BarColumn(), amount, console=console, transient=True) as progress:
        task = progress.add_task("", visible=False, amount="")

        def show(what: str, done: int, total: int) -> None:
            amount = f"{done / 1e6:.0f} of {total / 1e6:.0f} MB" if total else ""
            progress.update(task, description=what, completed=done, total=total or None, visible=True, amount=amount)

        yield show
