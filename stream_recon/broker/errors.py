"""What can go wrong before there is a broker."""

from __future__ import annotations


class BrokerError(Exception):
    """No broker could be had; the text says why, and what to do."""
