"""One connection's socket: what is read, what waits, and how it ends, with the loop played by hand."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from leveret.protocol.amqp091.connection import Settings
from leveret.server.link import LAST_WORDS_MS, LINGER_MS, TcpLink
from leveret.wire import methods, requests
from leveret.wire.frames import FrameSplitter
from leveret.wire.signatures import decode_method

from ..protocol.talker import Talker, opening, publish, request


class Loop:
    def __init__(self) -> None:
        self.readers: dict[int, Callable[[], None]] = {}
        self.writers: dict[int, Callable[[], None]] = {}

    def add_reader(self, fd: int, callback: Callable[[], None]) -> None:
        self.readers[fd] = callback

    def add_writer(self, fd: int, callback: Callable[[], None]) -> None:
        self.writers[fd] = callback

    def remove_reader(self, fd: int) -> None:
        self.readers.pop(fd, None)

    def remove_writer(self, fd: int) -> None:
        self.writers.pop(fd, None)


class Place:
    """What a link knows of its server."""

    def __init__(self) -> None:
        self.talker = Talker()  # its broker
        self.broker = self.talker.rig.broker
        self.settings = Settings("Leveret", "0", "test")
        self.loop = Loop()
        self.now_ms = 0
        self.budget = 1 << 20
        self.stopping_publishers = False
        self.paused: set[TcpLink] = set()
        self.ended: list[str] = []

    def schedule(self) -> None:
        pass

    def must_pause(self, link: TcpLink) -> bool:
        return True

    def forget(self, link: TcpLink, reason: str) -> None:
        self.ended.append(reason)

    def bug(self, link: TcpLink) -> None:
        raise AssertionError("a bug")


class Pair:
    """A link and the client's end of its socket."""

    def __init__(self) -> None:
        self.place = Place()
        ours, self.client = socket.socketpair()
        ours.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        self.client.setblocking(False)
        place: Any = self.place
        self.link = TcpLink(place, ours, ("127.0.0.1", 1))
        self.fd = ours.fileno()

    def says(self, data: bytes) -> None:
        self.client.sendall(data)
        self.loop()

    def loop(self) -> None:
        """Call whoever is called back now, once; then the turn."""
        loop = self.place.loop
        for callbacks in (loop.writers, loop.readers):
            if self.fd in callbacks:
                callbacks[self.fd]()
        self.place.talker.turn()

    def takes(self) -> bytes:
        """What has come, without letting more come."""
        found = b""
        try:
            while data := self.client.recv(1 << 16):
                found += data
        except BlockingIOError:
            pass
        return found

    def closed(self) -> bool:
        try:
            return self.client.recv(1) == b""
        except BlockingIOError:
            return False


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.link.lost("over")
    made.client.close()


def open_pair(pair: Pair) -> None:
    pair.says(opening() + request(requests.channel_open, 1))
    pair.takes()


def test_a_polite_end(pair: Pair) -> None:
    open_pair(pair)
    pair.says(request(methods.connection_close, 200, "", 0, 0))
    (frame,) = FrameSplitter().feed(pair.takes())
    assert decode_method(frame.payload).name == "connection.close_ok"
    assert not pair.closed()  # ending the stream is left to the client
    assert pair.link.lingers_until_ms == LINGER_MS
    pair.client.close()
    pair.loop()
    assert pair.place.ended == [""]


def test_an_end_with_nothing_left_to_say(pair: Pair) -> None:
    """connection.close-ok has no answer: the socket is shut all the same."""
    open_pair(pair)
    pair.says(request(methods.channel_flow, 1, False))
    pair.takes()
    assert not pair.closed()
    pair.says(request(methods.connection_close_ok))
    assert pair.closed()


def test_a_client_that_goes_without_a_word(pair: Pair) -> None:
    open_pair(pair)
    pair.client.close()
    pair.loop()
    assert pair.place.ended == ["closed by the client without a close"]
    assert pair.link.connection.is_over()
    assert pair.place.loop.readers == {}


def test_a_reader_that_does_not_read_is_given_up_in_the_end(pair: Pair) -> None:
    open_pair(pair)
    pair.says(request(requests.queue_declare, 1, "q"))
    pair.says(request(requests.basic_consume, 1, "q", "t", no_ack=True))
    other = Talker(pair.place.talker.rig).opened(1)
    other.says(publish(1, "q", bytes(60_000)) * 100)
    other.sync()
    assert 1_000_000 < pair.link.peer.unsent < 2_000_000  # a bounded buffer
    pair.place.now_ms = 5
    pair.says(request(methods.connection_close, 200, "", 0, 0))
    assert pair.link.lingers_until_ms == 5 + LAST_WORDS_MS
    assert not pair.link.shut


def test_all_that_is_written_comes_in_order(pair: Pair) -> None:
    open_pair(pair)
    pair.says(request(requests.queue_declare, 1, "q"))
    pair.says(request(requests.basic_consume, 1, "q", "t", no_ack=True))
    pair.takes()
    bodies = [bytes([number]) * (number * 1_000) for number in range(1, 60)]
    other = Talker(pair.place.talker.rig).opened(1)
    other.says(*[publish(1, "q", body) for body in bodies])
    data = pair.takes()
    while pair.fd in pair.place.loop.writers:
        pair.loop()
        data += pair.takes()
    found = FrameSplitter().feed(data)
    assert [frame.payload for frame in found if frame.kind == 3] == bodies
    assert pair.link.peer.unsent == 0


def test_who_publishes_under_pressure_is_not_read_from(pair: Pair) -> None:
    open_pair(pair)
    pair.place.stopping_publishers = True
    pair.says(publish(1, "nobody", b"x"))  # nobody knows yet that it publishes
    assert pair.link.reading
    pair.says(publish(1, "nobody", b"x"))
    assert not pair.link.reading
    assert not pair.link.hears()
    pair.link.resume()
    pair.place.stopping_publishers = False
    pair.loop()
    assert pair.place.loop.readers.keys() == {pair.fd}


def test_a_turn_reads_no_more_than_its_budget(pair: Pair) -> None:
    open_pair(pair)
    pair.place.budget = 10
    pair.says(request(requests.basic_qos, 1, 1))
    assert pair.takes() != b""
    assert pair.place.budget <= 0
    pair.says(request(requests.basic_qos, 1, 1))
    assert pair.takes() == b""
    pair.place.budget = 10
    pair.loop()
    assert pair.takes() != b""
