"""Whether a Kafka broker answers."""

from __future__ import annotations

import asyncio
import logging
import socket

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

PATIENCE_S = 2.0


def first_listening(servers: str, timeout_s: float = PATIENCE_S) -> str | None:
    """The first of `host:port,...` on which something listens."""
    for server in servers.split(","):
        host, _, port = server.strip().rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout_s).close()
        except (OSError, ValueError):
            continue
        return server.strip()
    return None


def nodes_answering(servers: str) -> int:
    """How many nodes the cluster says it has; 0 while nobody answers. Not to be called from within an event loop."""
    if first_listening(servers) is None:
        return 0
    logger = logging.getLogger("aiokafka")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # a server that is starting is no news
    try:
        return asyncio.run(_nodes(servers))
    finally:
        logger.setLevel(level)


async def _nodes(servers: str) -> int:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers, request_timeout_ms=int(PATIENCE_S * 1000))
    try:
        await admin.start()
        return len((await admin.describe_cluster())["brokers"])
    except (KafkaError, OSError):
        return 0
    finally:
        await admin.close()
