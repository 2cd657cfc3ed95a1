"""A broker process under STOMP clients that behave badly: it stays small, and serves the others, of either protocol."""

from __future__ import annotations

import struct
import threading
from pathlib import Path

import pytest

from tests.server.test_stress import MB, running, serves
from tests.torture.stomp import StompClient, frame

NUMBER = struct.Struct(">Q")
RECEIPT_EVERY = 50


class Flood(threading.Thread):
    """SENDs numbered messages as fast as they are taken, with a receipt now and then."""

    def __init__(self, port: int, queue: str, messages: int, size: int, persistent: str) -> None:
        super().__init__(daemon=True)
        self.port, self.queue, self.messages, self.persistent = port, queue, messages, persistent
        self.filler = bytes(size - NUMBER.size)
        self.error = ""

    def run(self) -> None:
        try:
            with StompClient(self.port) as client:
                for first in range(0, self.messages, RECEIPT_EVERY):
                    numbers = range(first, first + RECEIPT_EVERY)
                    client.send(b"".join(map(self.one, numbers)))
                    if first:  # that of the batch before this one
                        self.confirm(client)
                self.confirm(client)
        except Exception as error:
            self.error = f"{type(error).__name__}: {error}"

    def one(self, number: int) -> bytes:
        receipt = {} if (number + 1) % RECEIPT_EVERY else {"receipt": str(number)}
        body = NUMBER.pack(number) + self.filler
        to = f"/queue/{self.queue}"
        return frame("SEND", body, destination=to, persistent=self.persistent, **receipt)

    @staticmethod
    def confirm(client: StompClient) -> None:
        found = client.next()
        assert found is not None and found.command == "RECEIPT", found

    def finish(self) -> None:
        self.join(60)
        assert not self.is_alive() and not self.error, self.error or "the publisher hangs"


@pytest.mark.parametrize("persistent", ["true", "false"])
def test_subscribers_that_stop_reading(tmp_path: Path, persistent: str) -> None:
    """With ack:auto and no limit they read nothing: what they would get waits in pages, and comes in order."""
    messages, size = 10_000, 10_000  # 100 MB each
    with running(tmp_path) as broker:
        readers = [StompClient(broker.stomp_port, receive_buffer=4_096) for _ in range(2)]
        for name, reader in zip("ab", readers, strict=True):
            reader.ask("SUBSCRIBE", id="0", destination=f"/queue/{name}", ack="auto")
        before = broker.resident_bytes()
        floods = [Flood(broker.stomp_port, name, messages, size, persistent) for name in "ab"]
        for flood in floods:
            flood.start()
        most = 0
        while any(flood.is_alive() for flood in floods):
            serves(broker)
            most = max(most, broker.resident_bytes())
        for flood in floods:
            flood.finish()
        assert most - before < 120 * MB
        for reader in readers:
            for expected in range(messages):
                message = reader.next()
                assert message is not None, f"{expected} of {messages} came"
                assert NUMBER.unpack_from(message.body)[0] == expected
            reader.close()
        serves(broker)


def test_a_receiver_of_receipts_that_does_not_read(tmp_path: Path) -> None:
    """A publisher that asks for a receipt each time and reads none: others are served, and what it is owed is bounded."""
    with running(tmp_path) as broker:
        before = broker.resident_bytes()
        with StompClient(broker.stomp_port, receive_buffer=4_096) as client:
            client.socket.settimeout(1.0)
            receipt = "r" * 1_000
            batch = frame("SEND", b"x", destination="/queue/q", receipt=receipt) * 200
            sent = 0
            try:
                while sent < 200 * MB:
                    client.send(batch)
                    sent += len(batch)
            except AssertionError:
                pass  # it is stopped: nothing more is taken
            assert sent < 200 * MB
            assert broker.resident_bytes() - before < 120 * MB
            serves(broker)
        serves(broker)
