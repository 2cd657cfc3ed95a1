"""`leveret.connect`: arguments made into a client."""

from __future__ import annotations

import os
import ssl
from typing import Final

from leveret.client.address import Dialer, parse_addresses
from leveret.client.backoff import Backoff
from leveret.client.client import Client
from leveret.client.compress import Compression
from leveret.client.connector import Connector
from leveret.client.credentials import Credentials
from leveret.client.outcomes import OnOutcome
from leveret.client.payload import Payloads
from leveret.client.publisher import Buffer
from leveret.client.serialize import Serializers

BUSY_POLL_MAX_S: Final = 0.01  # no processor takes longer to wake up


def connect(
    *addresses: str | Dialer,
    credentials: Credentials = None,
    tls: ssl.SSLContext | None = None,
    name: str = "",
    heartbeat_s: float = 30.0,
    connect_timeout_s: float = 10.0,
    reconnect: bool | Backoff = True,
    serializer: Serializers | str | None = None,
    compress: str | Compression | None = None,
    buffer: Buffer | None = None,
    spool: str | os.PathLike[str] | None = None,
    on_outcome: OnOutcome | None = None,
    lazy: bool | None = None,
    tracing: bool | None = None,
    busy_poll_s: float = 0.000_2,
) -> Client:
    """A client, to be opened with `async with` or `await open()`.

    addresses: AMQP URLs, tried in turn, or a `leveret.Broker` of this process; without one $LEVERET_URL, then
    amqp://localhost. credentials: a pair, or a callable (async or not) that is asked at every connect. tls: the context
    for amqps. name: shown by the broker. reconnect: False, or how to back off. serializer: a registry, or the content
    type of values ('json', 'msgpack'). buffer: how much may be posted and not confirmed. spool: a file that keeps what is
    posted until it is confirmed, over restarts. on_outcome: told how every posted message ended. lazy: opening does not wait
    for a broker (the default with a spool). tracing: OpenTelemetry; None: where the application has set it up.
    busy_poll_s: how long the loop may stay awake for an answer that usually comes sooner; 0: never. Raises
    InvalidAddress, ValueError.
    """
    if not 0 <= busy_poll_s <= BUSY_POLL_MAX_S:
        raise ValueError(f"busy_poll_s is 0 (never) to {BUSY_POLL_MAX_S} seconds, not {busy_poll_s!r}")
    connector = Connector(
        parse_addresses(addresses, tls=tls), credentials, name, heartbeat_s, connect_timeout_s, busy_poll_s
    )
    serializers = (
        serializer if isinstance(serializer, Serializers) else Serializers(default=serializer or "json")
    )
    backoff = Backoff() if reconnect is True else reconnect or None
    return Client(
        connector,
        Payloads(serializers, compress),
        buffer or Buffer(),
        backoff,
        on_outcome,
        None if spool is None else os.fspath(spool),
        spool is not None if lazy is None else lazy,
        tracing,
    )
