"""`bench`: how fast it is, beside the plain program."""

from __future__ import annotations

import typer

bench = typer.Typer(help="Measure, beside the plainest program that does the same.", no_args_is_help=True)
