"""`demo`: the whole product at work on real fills with faults, in a minute."""

from __future__ import annotations

from typing import Annotated

import typer

from stream_recon.cli.options import BrokerChoice, Failure, Format, Ladder, Output, Quiet, opening, wait_for


def demo(
    seed: Annotated[int, typer.Option(help="Which fills get which fault; the same seed, the same demo.")] = 1,
    speed: Annotated[float, typer.Option(min=1, help="Fills a second.")] = 200,
    faults: Annotated[
        str, typer.Option(help="What goes wrong: `all`, `none`, or a list such as `price=3,drop_internal=2`.")
    ] = "all",
    broker: BrokerChoice = Ladder.auto,
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running afterwards, to look around.")] = False,
    output: Output = Format.table,
    quiet: Quiet = False,
) -> None:
    """Replay 3,393 real fills as both sides tell them, put faults into them, and see which are found.

    Starts a real Kafka broker and a worker, shows the alerts as they come, and ends in a scorecard. Exit code 0: every
    fault was found and nothing else was said.
    """
    from stream_recon.app import WorkerError
    from stream_recon.cli.play import Play, perform
    from stream_recon.cli.screens import Json, Silent, Terminal, opening_words
    from stream_recon.shell.topics import TopicsError

    try:
        play = Play.of(seed, speed, faults)
    except ValueError as error:
        raise Failure(f"--faults: {error}") from error
    screen: Silent = Json() if output is Format.json else Silent() if quiet else Terminal(keep=keep)
    screen.say(opening_words(play))
    try:
        with opening(broker, quiet=quiet or output is Format.json) as kafka:
            wait_for(perform(play, kafka, screen, keep=keep))
    except (TopicsError, WorkerError) as error:
        raise Failure(str(error), code=3) from error
    except KeyboardInterrupt:
        if screen.report is None:
            raise
    finally:
        screen.close()
    if screen.report is None or not screen.report.perfect:
        raise typer.Exit(1)
