"""Small helpers around pika's blocking connection: open, expect an error, take messages."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pika
import pika.exceptions
import pytest

from .broker import Address
from .waiting import DEADLINE_S, eventually

_CLOSE_TIMEOUT_S = 5


def parameters(address: Address, **changes: Any) -> pika.ConnectionParameters:
    values: dict[str, Any] = {
        "host": address.host,
        "port": address.port,
        "virtual_host": address.vhost,
        "credentials": pika.PlainCredentials(address.user, address.password),
        "socket_timeout": 10,
        "blocked_connection_timeout": 30,
        "connection_attempts": 1,
    }
    return pika.ConnectionParameters(**(values | changes))


@contextlib.contextmanager
def connection(address: Address, **changes: Any) -> Iterator[pika.BlockingConnection]:
    opened = pika.BlockingConnection(parameters(address, **changes))
    try:
        yield opened
    finally:
        _close(opened)


def _close(opened: pika.BlockingConnection) -> None:
    """Close politely; a broker that owes an answer, which pika waits for first, is given up on in the end."""
    if opened.is_closed:
        return
    lost = pika.exceptions.StreamLostError("the broker owes an answer")
    opened._impl._adapter_call_later(_CLOSE_TIMEOUT_S, lambda: opened._impl._terminate_stream(lost))
    with contextlib.suppress(pika.exceptions.AMQPError):
        opened.close()


def delete_all(conn: pika.BlockingConnection, names: list[str]) -> None:
    """Delete the queues and exchanges of these names. Exclusive queues go with the connections that own them."""
    channel = conn.channel()
    for name in names:
        try:
            channel.queue_delete(name)
        except pika.exceptions.ChannelClosedByBroker as error:
            assert error.reply_code == 405, error
            channel = conn.channel()
        channel.exchange_delete(name)


def server_properties(conn: pika.BlockingConnection) -> dict[str, Any]:
    return conn._impl.server_properties  # type: ignore[no-any-return]  # pika has no public way to it


@contextlib.contextmanager
def expect_channel_error(code: int, text: str) -> Iterator[None]:
    """The block must end with the channel closed by the broker with exactly this code and text."""
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as caught:
        yield
    assert (caught.value.reply_code, caught.value.reply_text) == (code, text)


@contextlib.contextmanager
def expect_connection_error(code: int, text: str) -> Iterator[None]:
    """The block must end with the connection closed by the broker with exactly this code and text."""
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker) as caught:
        yield
    assert (caught.value.reply_code, caught.value.reply_text) == (code, text)


@dataclass(frozen=True)
class Received:
    method: Any
    properties: Any
    body: bytes

    @property
    def tag(self) -> int:
        return int(self.method.delivery_tag)

    @property
    def redelivered(self) -> bool:
        return bool(self.method.redelivered)


def get(channel: Any, queue: str, auto_ack: bool = False) -> Received | None:
    method, properties, body = channel.basic_get(queue, auto_ack=auto_ack)
    return None if method is None else Received(method, properties, body)


def must_get(channel: Any, queue: str, auto_ack: bool = False) -> Received:
    """The next message of `queue`, which may take a moment to arrive."""
    return eventually(lambda: get(channel, queue, auto_ack), f"a message in {queue}")


def drain(channel: Any, queue: str) -> list[bytes]:
    """The bodies of all that is ready now."""
    return [found.body for found in iter(lambda: get(channel, queue, auto_ack=True), None)]


def count(channel: Any, queue: str) -> int:
    """Messages that are ready, by a passive declare."""
    return int(channel.queue_declare(queue, passive=True).method.message_count)


def await_count(channel: Any, queue: str, ready: int) -> None:
    eventually(lambda: count(channel, queue) == ready, f"{ready} messages ready in {queue}")


class Inbox:
    """What a consumer was sent, in order. `wait` runs the connection's input until there are `total`."""

    def __init__(self, channel: Any, queue: str, **options: Any) -> None:
        self.received: list[Received] = []
        self.channel = channel
        self.tag = channel.basic_consume(queue, self._take, **options)

    def _take(self, _channel: Any, method: Any, properties: Any, body: bytes) -> None:
        self.received.append(Received(method, properties, body))

    @property
    def bodies(self) -> list[bytes]:
        return [each.body for each in self.received]

    def wait(self, total: int, deadline_s: float = DEADLINE_S) -> list[Received]:
        run_until(self.channel, lambda: len(self.received) >= total, f"{total} deliveries", deadline_s)
        return self.received


def run_until(channel: Any, done: Any, what: str, deadline_s: float = DEADLINE_S) -> None:
    """Process the input of `channel`'s connection until `done` holds."""

    def step() -> bool:
        channel.connection.process_data_events(0.01)
        return bool(done())

    eventually(step, what, deadline_s)


def settle(channel: Any) -> None:
    """A round trip on `channel`: whatever the broker sent before its answer has been processed after it."""
    channel.exchange_declare("amq.direct", passive=True)
    channel.connection.process_data_events(0)


def publish_all(channel: Any, queue: str, bodies: list[bytes]) -> None:
    """Publish `bodies` in order to `queue` and wait until all are in."""
    before = count(channel, queue)
    for body in bodies:
        channel.basic_publish("", queue, body)
    await_count(channel, queue, before + len(bodies))
