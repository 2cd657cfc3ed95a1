"""What is due when, for messages of many lanes, in one wheel: 16 bytes for each entry.

A lane that has entries is a `Client` with a number of its own, and an entry is that number, what is due (a message, a
page, the lane as a whole) and the low bits of a sequence number, which its lane can tell the rest of. Nothing is taken
out before its time: a client finds out then whether it still concerns it. It knows no queues and no clock.
"""

from __future__ import annotations

from typing import Final

from leveret.core.lane import Lane
from leveret.core.wheel import Wheel
from leveret.errors import Bug
from leveret.native import i64

MESSAGE: Final[i64] = 0
PAGE: Final[i64] = 1  # the sequence number is the base of one
LANE: Final[i64] = 2

SEQ_BITS: Final[i64] = 38
SEQ_MASK: Final[i64] = (1 << 38) - 1
KIND_SHIFT: Final[i64] = 60
NUMBER_MASK: Final[i64] = (1 << 22) - 1


class Client:
    """A lane with entries."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.number: i64 = -1
        self.entries: i64 = 0
        self.gone = False


class Timetable:
    def __init__(self) -> None:
        self.wheel = Wheel()
        self.clients: list[Client | None] = []
        self.free: list[int] = []  # numbers

    def add(self, client: Client, due_ms: i64, kind: i64, seq: i64) -> None:
        number = client.number
        if number < 0:
            number = self._number(client)
        client.entries += 1
        self.wheel.add(due_ms, kind << KIND_SHIFT | number << SEQ_BITS | (seq & SEQ_MASK))

    def _number(self, client: Client) -> i64:
        number: i64
        if self.free:
            number = self.free.pop()
            self.clients[number] = client
        else:
            number = len(self.clients)
            if number > NUMBER_MASK:
                raise Bug("more lanes have times than a broker can have")
            self.clients.append(client)
        client.number = number
        return number

    def drop(self, client: Client) -> None:
        """The lane is gone. Its number is given to another when nothing is left under it."""
        client.gone = True
        self._leave(client)

    def _leave(self, client: Client) -> None:
        if client.number >= 0 and client.entries == 0:
            self.clients[client.number] = None
            self.free.append(int(client.number))
            client.number = -1

    def next_ms(self) -> i64:
        return self.wheel.next_ms()

    def pop_due(self, now_ms: i64, limit: i64) -> list[tuple[int, int]]:
        """(when, entry) of what is due, in order. Each entry has to be given to `client_of`, once."""
        return self.wheel.pop_due(now_ms, limit)

    def take_due(self, now_ms: i64, limit: i64) -> bytes:
        """The same as the wheel keeps them: 16 bytes each (wheel.py)."""
        return self.wheel.take_due(now_ms, limit)

    def put_back(self, due_ms: i64, entry: i64) -> None:
        """An entry that has not been given to `client_of`."""
        self.wheel.add(due_ms, entry)

    def client_of(self, entry: i64) -> Client:
        client = self.clients[entry >> SEQ_BITS & NUMBER_MASK]
        assert client is not None
        client.entries -= 1
        if client.gone:
            self._leave(client)
        return client

    def look(self, entry: i64) -> Client | None:
        """Whose an entry is that may have been given to `client_of` meanwhile."""
        return self.clients[entry >> SEQ_BITS & NUMBER_MASK]

    def peek(self, entry: i64) -> Client:
        client = self.clients[entry >> SEQ_BITS & NUMBER_MASK]
        assert client is not None
        return client


def kind_of(entry: i64) -> i64:
    return entry >> KIND_SHIFT


def seq_of(entry: i64, lane: Lane) -> i64:
    """The lane's numbers span less than the bits there are."""
    return lane.next_seq - ((lane.next_seq - entry) & SEQ_MASK)
