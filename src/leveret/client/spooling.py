"""Posting by way of a spool: on disk first, in the outbox while there is room, forgotten when it is confirmed.

    post -> pending -> append -> [ outbox | left in the spool, to be read when there is room ] -> confirmed -> forget

However much is posted while no broker is there, only a window of it is in memory. What an earlier run has left comes first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from leveret.client.engine.outbox import CONFIRMED, Done, Outbox, Template
from leveret.client.spool import Entry, Spool
from leveret.errors import LeveretError, SpoolError

if TYPE_CHECKING:
    from leveret.client.outcomes import Posted

BATCH: Final = 1_000
WINDOW: Final = 8_000  # messages in the outbox
LOW: Final = 4_000
PENDING_BYTES: Final = 1 << 20


class Spooled:
    """Owner, in the outbox, of a message that is in the spool; `posted` if its end is to be told."""

    __slots__ = ("posted", "row")

    def __init__(self, row: int, posted: Posted | None) -> None:
        self.row = row
        self.posted = posted


class Spooling:
    """`ask` is called when messages were put into the outbox, `refused` for one that the broker did not take."""

    def __init__(
        self, spool: Spool, outbox: Outbox, ask: Callable[[], None], refused: Callable[[Spooled, Done], None]
    ) -> None:
        self.spool = spool
        self._outbox = outbox
        self._ask = ask
        self._refused = refused
        self._pending: list[Entry] = []
        self._tells: list[Posted | None] = []
        self._pending_bytes = 0
        self._read_upto = 0  # the last row that was put into the outbox
        self._behind = spool.count > 0  # rows are in the spool that were not
        self._forget: list[int] = []
        self._told: dict[int, Posted] = {}  # of rows that are not in the outbox yet

    def waiting(self) -> int:
        """Messages that the broker is not known to have."""
        return self.spool.count + len(self._pending) - len(self._forget)

    def has_room(self, size_bytes: int) -> bool:
        return self.spool.has_room(len(self._pending) + 1, self._pending_bytes + size_bytes)

    def add(
        self,
        route: bytes,
        mandatory: bool,
        properties: bytes,
        body: bytes,
        message_id: bytes,
        posted: Posted | None,
    ) -> None:
        """On disk with the next `write`, and full batches at once. Raises SpoolError where the disk does not take what
        came before: then this message is not taken either."""
        if len(self._pending) >= BATCH or self._pending_bytes >= PENDING_BYTES:
            self.write()
        self._pending.append((route + (b"\1" if mandatory else b"\0"), properties, body, message_id))
        self._tells.append(posted)
        self._pending_bytes += len(route) + len(properties) + len(body) + len(message_id) + 1

    def write(self) -> None:
        """What is pending, to disk, and on into the outbox if that is next. Raises SpoolError; all stays pending then."""
        if self._store():
            self._ask()

    def _store(self) -> bool:
        if not self._pending:
            return False
        row = self.spool.append(self._pending)
        pending, self._pending = self._pending, []
        tells, self._tells = self._tells, []
        self._pending_bytes = 0
        for entry, posted in zip(pending, tells, strict=True):
            if not self._behind and self._outbox.waiting() < WINDOW:
                self._send(row, entry, posted)
            else:
                self._behind = True
                if posted is not None:
                    self._told[row] = posted
            row += 1
        return True

    def fill(self) -> None:
        """Rows from the spool into the outbox, while there is room."""
        if not self._behind or self._outbox.waiting() > LOW:
            return
        while self._outbox.waiting() < WINDOW:
            rows = self.spool.read(self._read_upto, BATCH)
            for row, *entry in rows:
                self._send(row, (entry[0], entry[1], entry[2], entry[3]), self._told.pop(row, None))
            if len(rows) < BATCH:
                self._behind = False
                break
        self._ask()

    def _send(self, row: int, entry: Entry, posted: Posted | None) -> None:
        route, properties, body, _ = entry
        template = Template(
            int(self._outbox.channel), route[:-1], route[-1:] == b"\1", properties, b"", False
        )
        self._outbox.add(template, body, Spooled(row, posted))
        self._read_upto = row

    def ended(self, owner: Spooled, done: Done) -> None:
        """The broker has it, or has refused it, which is told."""
        self._forget.append(owner.row)
        if owner.posted is not None:
            owner.posted.finish(done)
        elif done.verdict != CONFIRMED:
            self._refused(owner, done)

    def refused(self, owner: Spooled, error: LeveretError) -> None:
        """The broker closed the channel for it."""
        self._forget.append(owner.row)
        if owner.posted is not None:
            owner.posted.fail(error)

    def forget(self) -> None:
        """Delete what has ended since the last time. Raises SpoolError."""
        if self._forget:
            self.spool.forget_many(self._forget)
            self._forget = []

    def close(self) -> None:
        """What was not confirmed stays, for the next run. Raises SpoolError; who posted what is not on disk is told."""
        try:
            self._store()
            self.forget()
        except LeveretError as error:
            for posted in self._tells:
                if posted is not None:
                    posted.fail(error)
            lost = f"; {len(self._pending)} posted messages are not in it, and lost" if self._pending else ""
            raise SpoolError(f"{error.text}{lost}") from None
        finally:
            self.spool.close()
