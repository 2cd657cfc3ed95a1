"""Leveret's client: producers and consumers over AMQP 0-9-1, for Leveret's broker and for RabbitMQ.

`connect` makes one for asyncio, `connect_sync` for everything else. It imports nothing of the broker.
"""

from __future__ import annotations

from leveret.client.backoff import Backoff
from leveret.client.client import Client
from leveret.client.compress import Compression
from leveret.client.consumer import Consumer
from leveret.client.engine.message import Message
from leveret.client.features import Features, ServerInfo
from leveret.client.opening import connect
from leveret.client.outcomes import Outcome
from leveret.client.publisher import Buffer
from leveret.client.serialize import Serializer, Serializers
from leveret.client.stats import Stats
from leveret.client.targets import Options, Target, exchange, topic
from leveret.client.topology import Binding, Exchange, Queue, QueueInfo, Retry

__all__ = [
    "Backoff",
    "Binding",
    "Buffer",
    "Client",
    "Compression",
    "Consumer",
    "Exchange",
    "Features",
    "Message",
    "Options",
    "Outcome",
    "Queue",
    "QueueInfo",
    "Retry",
    "Serializer",
    "Serializers",
    "ServerInfo",
    "Stats",
    "Target",
    "connect",
    "exchange",
    "topic",
]
