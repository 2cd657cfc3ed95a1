"""What one connection has to write besides published messages: methods, and settlements, which are gathered.

The first to add something asks for a flush (`wake`); until it comes, everybody adds. Acks that follow each other become one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from librt.strings import BytesWriter

from leveret.native import i64
from leveret.wire.methods import basic_ack, basic_nack


@final
class Output:
    """`wake` is called once for all that is added until `take`."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self.writer = BytesWriter()
        self.asked = False
        self.emptied: list[Settling] = []  # that wanted to be told, and have nothing unsettled any more
        self._wake = wake
        self._dirty: list[Settling] = []

    def ask(self) -> None:
        if not self.asked:
            self.asked = True
            self._wake()

    def write(self, data: bytes) -> None:
        """Whole frames."""
        self.writer.write(data)
        self.ask()

    def settles(self, channel: Settling) -> None:
        self._dirty.append(channel)
        self.ask()

    def take(self) -> bytes:
        """All there is, and nothing is asked for any more."""
        self.asked = False
        if self._dirty:
            dirty = self._dirty
            self._dirty = []
            for channel in dirty:
                channel.put(self.writer)
        if len(self.writer) == 0:
            return b""
        data = self.writer.getvalue()
        self.writer = BytesWriter()
        return data


@final
class Settling:
    """The deliveries of one channel: which are settled, and how the broker is told with few acks.

    Tags are settled in any order. All below `_low` are; those above it that are, are in `_early`. An ack of the
    lowest one moves `_low` on and becomes one basic.ack with `multiple`; others are told one by one, at once, since
    the lowest may take for ever. The tag of a `multiple` is always one that was not told before, as RabbitMQ demands.
    """

    def __init__(self, number: int, output: Output) -> None:
        self.number: i64 = number
        self.output = output
        self.alive = True  # the channel that the tags belong to
        self.ending = False  # nothing more is delivered: to be told when all is settled
        self.unsettled: i64 = 0
        self.acked: i64 = 0
        self.nacked: i64 = 0
        self.requeued: i64 = 0
        self._low: i64 = 1
        self._upto: i64 = 0  # acked up to here, to be told with multiple
        self._early: set[int] = set()
        self._untold: set[int] = set()  # acked out of turn since the last time
        self._dirty = False

    def delivered(self) -> None:
        self.unsettled += 1

    def _settled(self) -> None:
        self.unsettled -= 1
        if self.ending and self.unsettled == 0:
            self.output.emptied.append(self)
            self.output.ask()

    def ack(self, tag: i64) -> None:
        self._settled()
        self.acked += 1
        if tag == self._low:
            self._upto = tag
            self._on(tag)
        else:
            self._early.add(int(tag))
            self._untold.add(int(tag))
        if not self._dirty:
            self._dirty = True
            self.output.settles(self)

    def nack(self, tag: i64, requeue: bool) -> None:
        """Told in its place among the acks: later ones with `multiple` must not cover it."""
        self._settled()
        if requeue:
            self.requeued += 1
        else:
            self.nacked += 1
        self.put(self.output.writer)
        if tag == self._low:
            self._on(tag)
        else:
            self._early.add(int(tag))
        basic_nack(self.output.writer, self.number, int(tag), False, requeue)
        self.output.ask()

    def _on(self, tag: i64) -> None:
        low = tag + 1
        if self._early:
            while int(low) in self._early:
                self._early.discard(int(low))
                if int(low) in self._untold:
                    self._untold.discard(int(low))
                    self._upto = low
                low += 1
        self._low = low

    def put(self, out: BytesWriter) -> None:
        """Write what was acked since the last time."""
        self._dirty = False
        if self.alive:
            if self._upto > 0:
                basic_ack(out, self.number, int(self._upto), True)
            for tag in sorted(self._untold):
                basic_ack(out, self.number, tag, False)
        self._upto = 0
        if self._untold:
            self._untold = set()
