"""A broker process under people who behave badly: it stays small, serves the others, and recovers unaided.

Rates are not asserted. Waits are polls with a deadline; memory and file descriptors are read from /proc.
"""

from __future__ import annotations

import contextlib
import resource
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.compat.waiting import eventually
from tests.torture.broker import Broker
from tests.torture.client import Client, Closed, Delivery, Window, frame, login_frames

MB = 1 << 20
DEADLINE_S = 20.0
TRANSIENT = b"\0\0"
ROUND = struct.Struct(">Q")


@contextlib.contextmanager
def running(folder: Path, *options: str, preexec: Callable[[], None] | None = None) -> Iterator[Broker]:
    """A broker that logs no error and ends with 0."""
    broker = Broker(folder, *options, preexec=preexec)
    try:
        broker.start()
        yield broker
        broker.stop()
        assert not broker.errors()
    finally:
        broker.kill()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running(tmp_path, "--set", "handshake_timeout_s=0.5") as made:
        yield made


def serves(broker: Broker) -> None:
    """Somebody new is served: a confirmed publish comes to a consumer."""
    with Client(broker.port) as client:
        client.confirm()
        client.declare("serves")
        client.consume("serves")
        window = Window()
        window.published((0, 0))
        client.send(client.content("", "serves", b"are you there?"))
        came = False
        while window or not came:
            event = client.next()
            assert event is not None, "the broker does not answer"
            window.confirmed(event)
            if isinstance(event, Delivery):
                assert event.body == b"are you there?"
                client.ack(event.tag)
                came = True
        client.close()


@contextlib.contextmanager
def crowd(broker: Broker, number: int) -> Iterator[None]:
    """So many connections that say nothing."""
    with contextlib.ExitStack() as stack:
        for _ in range(number):
            stack.enter_context(socket.create_connection(("127.0.0.1", broker.port), DEADLINE_S))
        yield


class Flood(threading.Thread):
    """Publishes numbered messages, confirmed, as fast as they are taken."""

    def __init__(
        self, port: int, queue: str, messages: int, size: int, properties: bytes = TRANSIENT
    ) -> None:
        super().__init__(daemon=True)
        self.port, self.queue, self.messages = port, queue, messages
        self.filler = bytes(size - ROUND.size)
        self.properties = properties
        self.window_size = max(10, min(1_000, 4 * MB // size))
        self.confirmed = 0
        self.error = ""

    def run(self) -> None:
        try:
            with Client(self.port) as client:
                client.confirm()
                self.publish(client)
        except Exception as error:
            self.error = f"{type(error).__name__}: {error}"

    def publish(self, client: Client) -> None:
        window = Window()
        sent = 0
        while sent < self.messages or window:
            parts: list[bytes] = []
            while sent < self.messages and len(window) < self.window_size and len(parts) < 100:
                body = ROUND.pack(sent) + self.filler
                parts.append(client.content("", self.queue, body, self.properties))
                window.published((0, sent))
                sent += 1
            if parts:
                client.send(b"".join(parts))
            event = client.next(0.0 if len(window) < self.window_size and sent < self.messages else 30.0)
            while event is not None:
                self.confirmed += len(window.confirmed(event))
                event = client.next(0.0)

    def finish(self) -> None:
        self.join(60)
        assert not self.is_alive() and not self.error, self.error or "the publisher hangs"
        assert self.confirmed == self.messages


def read_numbered(client: Client, messages: int) -> int:
    """Read so many deliveries, which must be in order. The last delivery tag."""
    tag = 0
    for expected in range(messages):
        event = client.next()
        assert isinstance(event, Delivery), f"{expected} of {messages} came"
        assert ROUND.unpack_from(event.body)[0] == expected
        tag = event.tag
    return tag


def test_readers_that_stop_reading(broker: Broker) -> None:
    """Two readers without prefetch limit and with no-ack read nothing: what they would get waits in pages."""
    messages, size = 15_000, 10_000  # 150 MB each
    readers: list[Client] = []
    for name in ("a", "b"):
        reader = Client(broker.port, receive_buffer=4_096)
        reader.declare(name)
        reader.consume(name, no_ack=True)
        readers.append(reader)
    before = broker.resident_bytes()
    floods = [Flood(broker.port, name, messages, size) for name in ("a", "b")]
    for flood in floods:
        flood.start()
    most = 0
    while any(flood.is_alive() for flood in floods):
        serves(broker)
        most = max(most, broker.resident_bytes())
    for flood in floods:
        flood.finish()
    assert most - before < 150 * MB
    for reader in readers:
        read_numbered(reader, messages)
        reader.close()
    serves(broker)


def test_a_consumer_that_never_acks(broker: Broker) -> None:
    messages = 200_000
    with Client(broker.port) as consumer:
        consumer.declare("unacked")
        consumer.consume("unacked")
        before = broker.resident_bytes()
        flood = Flood(broker.port, "unacked", messages, 100)
        flood.start()
        tag = read_numbered(consumer, messages)
        flood.finish()
        assert broker.resident_bytes() - before < 150 * MB
        serves(broker)
        consumer.ack(tag, multiple=True)
        consumer.close()
    with Client(broker.port) as client:
        assert client.declare("unacked", passive=True) == 0


def test_publishers_faster_than_the_disk(broker: Broker) -> None:
    """400 MB without a consumer, persistent: neither what waits for the disk nor the backlog is in memory."""
    with Client(broker.port) as client:
        for name in ("x", "y"):
            client.declare(name)
    before = broker.resident_bytes()
    persistent = struct.pack(">HB", 0x1000, 2)
    floods = [
        Flood(broker.port, "x", 200, MB, persistent),
        Flood(broker.port, "y", 10_000, 20_000, persistent),
    ]
    for flood in floods:
        flood.start()
    most = 0
    while any(flood.is_alive() for flood in floods):
        serves(broker)
        most = max(most, broker.resident_bytes())
    for flood in floods:
        flood.finish()
    assert most - before < 150 * MB


def test_connections_opened_and_dropped(broker: Broker) -> None:
    """3,000 at every stage of the handshake, some with half a frame; then as few descriptors as before."""
    serves(broker)
    before = broker.descriptors()
    steps = login_frames()
    for round_ in range(10):
        sockets: list[socket.socket] = []
        for number in range(300):
            sock = socket.create_connection(("127.0.0.1", broker.port), DEADLINE_S)
            stage = (number + round_) % (2 * len(steps) + 1)
            said = b"".join(steps[: stage // 2])
            if stage % 2:  # and half of the next
                following = steps[stage // 2]
                said += following[: len(following) // 2]
            with contextlib.suppress(OSError):
                sock.sendall(said)
            if number % 3 == 0:  # a reset instead of an end
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sockets.append(sock)
        for sock in sockets:
            sock.close()
    serves(broker)
    eventually(lambda: broker.descriptors() <= before, "the descriptors are given back", DEADLINE_S)


def test_no_descriptors_left(tmp_path: Path) -> None:
    """It neither ends nor spins, keeps serving those who are in, and takes new ones when some have gone."""

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    with running(tmp_path, "--set", "handshake_timeout_s=60", preexec=few) as broker:
        inside = Client(broker.port)
        inside.declare("inside")
        with crowd(broker, 100):
            eventually(lambda: "cannot accept" in broker.log_text(), "descriptors are exhausted", DEADLINE_S)
            cpu = broker.cpu_s()
            assert inside.next(1.0) is None  # the second over which spinning would show
            inside.declare("inside", passive=True)
            assert broker.cpu_s() - cpu < 0.5
        serves(broker)
        inside.close()


def test_the_log_rolls_without_descriptors(tmp_path: Path) -> None:
    """New segments and pages need descriptors too: connections must not use up those of the store."""

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    options = ("--set", "segment_bytes=8MiB", "--set", "pages_in_memory_bytes=1MiB")
    with running(tmp_path, *options, "--set", "handshake_timeout_s=60", preexec=few) as broker:
        with Client(broker.port) as client:
            client.declare("rolling")
        flood = Flood(broker.port, "rolling", 4_000, 20_000, struct.pack(">HB", 0x1000, 2))
        flood.start()
        eventually(lambda: flood.confirmed > 0 or bool(flood.error), "the publisher is in")
        with crowd(broker, 100):
            eventually(lambda: "cannot accept" in broker.log_text(), "descriptors are exhausted", DEADLINE_S)
            flood.finish()
        serves(broker)


def test_floods_of_tiny_frames(broker: Broker) -> None:
    """Heartbeats, and messages without a body to nowhere, for as long as others are served meanwhile."""
    heartbeats = frame(8, 0, b"") * 20_000
    over = threading.Event()
    errors: list[str] = []

    def flood(empty_bodies: bool) -> None:
        try:
            with Client(broker.port) as client:
                data = client.content("", "nowhere", b"", TRANSIENT) * 5_000 if empty_bodies else heartbeats
                for _ in range(10):
                    client.send(data)
                over.wait(DEADLINE_S)
                client.close()
        except (Closed, AssertionError) as error:
            errors.append(str(error))

    serves(broker)
    before = broker.resident_bytes()
    threads = [threading.Thread(target=flood, args=(each,), daemon=True) for each in (True, False)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        serves(broker)
    over.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert not errors
    assert broker.resident_bytes() - before < 50 * MB


@pytest.mark.parametrize("stage", range(4))
def test_half_a_handshake(broker: Broker, stage: int) -> None:
    """Whoever does not go on is sent away after handshake_timeout_s; who is in may be silent."""
    silent = Client(broker.port)
    said = b"".join(login_frames()[:stage])
    with socket.create_connection(("127.0.0.1", broker.port), DEADLINE_S) as sock:
        sock.sendall(said)
        while sock.recv(4_096):
            pass  # until it ends, or the deadline raises
    assert "handshake_timeout" in broker.log_text()
    silent.declare("silent")
    silent.close()
