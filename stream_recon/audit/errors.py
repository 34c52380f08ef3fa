"""How an audit store can fail whoever uses it; each message says what happened, where, and what to do."""

from __future__ import annotations


class StoreError(Exception):
    """The audit store does not do what it should."""


class StoreDownError(StoreError):
    """It does not answer, or cannot write now: to try again later may do."""


class StoreRefusedError(StoreError):
    """It is no audit store, or one that this version must not touch."""


class ConflictError(StoreError):
    """What is kept is not what the topic says: one of them was changed, or they do not belong together."""
