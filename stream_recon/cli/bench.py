import typer
bench = typer.Typer()
