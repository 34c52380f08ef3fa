"""A real broker on any machine: see `ladder`."""

from stream_recon.broker.errors import BrokerError
from stream_recon.broker.ladder import Broker, Choice, open_broker

__all__ = ["Broker", "BrokerError", "Choice", "open_broker"]
