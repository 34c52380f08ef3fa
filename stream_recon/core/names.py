"""What fills are called: the key of a trade, and the names by which corrections and busts are found again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream_recon.core.cases import fold
from stream_recon.core.describe import split_key

if TYPE_CHECKING:
    from stream_recon.core.accounts import Account
    from stream_recon.core.cases import Case
    from stream_recon.domain.events import Fill


def name_of(o: int, account: Account, instrument: str, trade_id: str) -> str:
    """The name of one side's trade id, whichever side of the market it was on."""
    return f"{o}\x1f{account.name}\x1f{instrument}\x1f{trade_id}"


def possible_roots(account: Account, fill: Fill) -> tuple[str, str]:
    """The keys that a correction or bust may refer to: a correction may be of the side of the market itself."""
    one, other = ("buy", "sell") if fill.side == "buy" else ("sell", "buy")
    root = f"{account.name}\x1f{fill.instrument}\x1f{fill.ref_trade_id}\x1f"
    return root + one, root + other


def names_of(case: Case) -> list[str]:
    """What refers to a case: its amendments' own ids, and the root that rootless ones await."""
    account, instrument, trade_id, _ = split_key(case.key)
    found = []
    for o in (0, 1):
        side = case.sides[o]
        found += [f"{o}\x1f{account}\x1f{instrument}\x1f{seen.trade_id}" for seen in side if seen.exec != "trade"]
        if side and fold(side).rootless:
            found.append(f"{o}\x1f{account}\x1f{instrument}\x1f{trade_id}")
    return found
