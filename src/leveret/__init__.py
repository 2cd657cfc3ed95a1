"""Leveret: a message broker in Python, with its producers and consumers.

    leveret.connect, connect_sync      a client: producers and consumers
    leveret.App, Retry                 a worker: functions that work messages off
    leveret.Broker, run_in_thread      the broker inside this process

Names are loaded when they are first used: importing this package costs next to nothing, and a program that only talks to a
broker never loads one.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from leveret._version import VERSION as __version__

if TYPE_CHECKING:
    from leveret.client import (
        Backoff,
        Buffer,
        Client,
        Compression,
        Consumer,
        Exchange,
        Message,
        Outcome,
        Queue,
        Retry,
        Serializer,
        Serializers,
        Target,
        connect,
        exchange,
        topic,
    )
    from leveret.client.sync import SyncClient, connect_sync
    from leveret.client.sync_consumer import SyncConsumer, SyncMessage
    from leveret.embed import Broker, run_in_thread
    from leveret.errors import (
        AlreadySettled,
        BufferFull,
        CallFailed,
        CallTimeout,
        ClientError,
        Closed,
        ConnectFailed,
        Disconnected,
        InvalidAddress,
        InvalidMessage,
        LeveretError,
        NotConfirmed,
        Refused,
        Reject,
        RetryLater,
        SpoolError,
        Stale,
        Unroutable,
        Unsupported,
    )
    from leveret.worker import App

_CLIENT = (
    "Backoff Buffer Client Compression Consumer Exchange Message Outcome Queue Retry Serializer Serializers Target"
    " connect exchange topic"
)
_SYNC = "SyncClient SyncConsumer SyncMessage connect_sync"
_EMBED = "Broker run_in_thread"
_WORKER = "App"
_ERRORS = (
    "AlreadySettled BufferFull CallFailed CallTimeout ClientError Closed ConnectFailed Disconnected InvalidAddress"
    " InvalidMessage LeveretError NotConfirmed Refused Reject RetryLater SpoolError Stale Unroutable Unsupported"
)
_WHERE = {
    **dict.fromkeys(_CLIENT.split(), "leveret.client"),
    **dict.fromkeys(_SYNC.split(), "leveret.client.sync"),
    **dict.fromkeys(_EMBED.split(), "leveret.embed"),
    **dict.fromkeys(_WORKER.split(), "leveret.worker"),
    **dict.fromkeys(_ERRORS.split(), "leveret.errors"),
}

__all__ = [
    "AlreadySettled",
    "App",
    "Backoff",
    "Broker",
    "Buffer",
    "BufferFull",
    "CallFailed",
    "CallTimeout",
    "Client",
    "ClientError",
    "Closed",
    "Compression",
    "ConnectFailed",
    "Consumer",
    "Disconnected",
    "Exchange",
    "InvalidAddress",
    "InvalidMessage",
    "LeveretError",
    "Message",
    "NotConfirmed",
    "Outcome",
    "Queue",
    "Refused",
    "Reject",
    "Retry",
    "RetryLater",
    "Serializer",
    "Serializers",
    "SpoolError",
    "Stale",
    "SyncClient",
    "SyncConsumer",
    "SyncMessage",
    "Target",
    "Unroutable",
    "Unsupported",
    "__version__",
    "connect",
    "connect_sync",
    "exchange",
    "run_in_thread",
    "topic",
]


def __getattr__(name: str) -> Any:
    module = _WHERE.get(name)
    if module is None:
        raise AttributeError(f"module 'leveret' has no attribute {name!r}")
    found = getattr(importlib.import_module(module), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__
