"""Reconcile a trading firm's own books with what the exchange says, as events flow through Kafka."""

__version__ = "0.1.0"
