from stream_recon.cli.send import publish
def up() -> None:
    """Up."""
def worker() -> None:
    """Worker."""
