"""`topics`, `schema` and `doctor`: what has to be there."""

from __future__ import annotations

import typer

topics = typer.Typer(help="The topics: what they should be, make them, check them.", no_args_is_help=True)
schema = typer.Typer(help="The schemas of what is read and written.", no_args_is_help=True)


def doctor() -> None:
    """Check."""
