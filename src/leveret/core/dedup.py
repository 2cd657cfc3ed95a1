"""Duplicates: a window in which a message with a known key is taken for the same message again, and keys of which only
one may wait.

    window   queue or exchange argument x-message-deduplication. A second message with the key of one that came
             within so many milliseconds is not taken; its publisher is told that it is safe, since the first is.
             Keys are journaled with their messages, in one record, and forgotten by time and by number.
    unique   queue argument x-unique. While a message waits, a second one with its key is refused (the publisher gets
             a nack) or takes its place, as the queue was declared.

A key is the message-id, or a header that was chosen. A message without one is no duplicate of anything.
"""

from __future__ import annotations

import hashlib
from collections import deque
from typing import TYPE_CHECKING, Final, final

from librt.strings import BytesWriter, read_i64_be, write_i64_be

from leveret.core.destination import Table
from leveret.core.page import OUT, Page
from leveret.core.paging import PagedLane
from leveret.core.spans import span_ms
from leveret.core.values import brief
from leveret.core.view import view_of
from leveret.core.watching import Visitor, Watcher
from leveret.errors import Damaged
from leveret.journal import Journal
from leveret.limits import DEDUPLICATION_KEYS, DEDUPLICATION_KEYS_MAX, DELAY_MAX_MS
from leveret.message import Message
from leveret.native import i64

if TYPE_CHECKING:
    from leveret.core.lane import Lane

KEY_BYTES: Final = 16
NEVER: Final[i64] = 1 << 62  # the position of what is not in the log
ENTRY_BYTES: Final[i64] = 24
CHUNK: Final[i64] = 4_096  # keys in one fact of a checkpoint

WINDOW: Final = "x-message-deduplication"
UNIQUE: Final = "x-unique"
UNIQUE_HEADER: Final = "x-unique-header"
ATTEMPTS: Final = "x-attempts"


def key_of(m: Message, header: str) -> bytes:
    """A digest of a message's key, empty if it has none. header: empty for the message-id.

    A message that a consumer publishes again, for another try or as a dead letter, says how many tries it has had: it is a
    duplicate of nothing, least of all of itself.
    """
    view = view_of(m)
    if view.key_of(m, ATTEMPTS):
        return b""
    raw = view.key_of(m, header) if header else view.message_id(m)
    return hashlib.blake2b(raw, digest_size=KEY_BYTES).digest() if raw else b""


@final
class Window:
    def __init__(self, window_ms: i64, header: str, size: i64) -> None:
        self.window_ms: i64 = window_ms
        self.header = header
        self.size: i64 = size  # keys that are kept
        self.keys: dict[bytes, int] = {}  # when it came last
        self.order: deque[tuple[int, bytes]] = deque()
        self.unsaid: dict[bytes, int] = {}  # keys that are not in the log yet, and where they will be
        self.duplicates: i64 = 0

    def has(self, key: bytes, now_ms: i64) -> bool:
        """Whether a message with this key came lately."""
        self._forget(now_ms)
        came = self.keys.get(key)
        # Not all that is too old is forgotten: after a restart keys are in the order of the log, not of time.
        if came is not None and i64(came) + self.window_ms > now_ms:
            self.duplicates += 1
            return True
        return False

    def add(self, key: bytes, now_ms: i64) -> None:
        if self.keys.get(key, -1) < int(now_ms):  # what is restored comes in the order of the log
            self.keys[key] = int(now_ms)
        self.order.append((int(now_ms), key))
        if i64(len(self.order)) > self.size:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        came, key = self.order.popleft()
        if self.keys.get(key) == came:
            del self.keys[key]
            self.unsaid.pop(key, None)

    def _forget(self, now_ms: i64) -> None:
        order = self.order
        while order and i64(order[0][0]) + self.window_ms <= now_ms:
            self._drop_oldest()

    def took(self, key: bytes, now_ms: i64, journal: Journal, lane: i64, kept: bool, in_tx: bool) -> None:
        """A message with this key was taken. Its key is journaled if it is `kept`, in one transaction with it: `said`
        tells where that is, unless others do more in it (`in_tx`) and nobody knows yet."""
        self.add(key, now_ms)
        if not kept:
            self.said(key, NEVER)
            return
        if in_tx:
            self.said(key, -1)
        journal.fact(lane, self.fact(key, now_ms))

    def fact(self, key: bytes, now_ms: i64) -> bytes:
        w = BytesWriter()
        write_i64_be(w, now_ms)
        w.write(key)
        return w.getvalue()

    def said(self, key: bytes, position: i64) -> None:
        """Where the log has a key that was added: its message is there, too. -1: when the transaction is over."""
        self.unsaid[key] = int(position)

    def _is_said(self, key: bytes, journal: Journal) -> bool:
        """What is in a block that is still to come says its own key, if it comes: without its message, a key would
        have the next one taken for a duplicate. What is transient says none."""
        position = i64(self.unsaid.get(key, 0))
        if position < 0 and journal.all_said() > journal.block:
            return False
        if position >= journal.block:
            return False
        self.unsaid.pop(key, None)
        return True

    def facts(self, journal: Journal) -> list[bytes]:
        """All of it that is in the log, for a checkpoint."""
        out: list[bytes] = []
        w = BytesWriter()
        for came, key in self.order:
            if self.unsaid and not self._is_said(key, journal):
                continue
            write_i64_be(w, came)
            w.write(key)
            if i64(len(w)) >= CHUNK * ENTRY_BYTES:
                out.append(w.getvalue())
                w = BytesWriter()
        if len(w) > 0:
            out.append(w.getvalue())
        return out

    def restored(self, fact: bytes) -> None:
        if len(fact) % ENTRY_BYTES != 0:
            raise Damaged("the keys of a deduplication window are cut short")
        pos: i64 = 0
        while pos < i64(len(fact)):
            self.add(fact[pos + 8 : pos + ENTRY_BYTES], read_i64_be(fact, pos))
            pos += ENTRY_BYTES


@final
class Spot:
    """Where the message with a key waits."""

    def __init__(self, lane: Lane, seq: i64) -> None:
        self.lane = lane
        self.seq: i64 = seq

    def waits(self) -> bool:
        state = self.lane.state(self.seq)
        return state < OUT or (self.lane.is_delayed() and self.lane.sleeps(self.seq))


@final
class Unique(Watcher):
    def __init__(self, header: str, replaces: bool) -> None:
        self.header = header
        self.replaces = replaces
        self.spots: dict[bytes, Spot] = {}
        self.keys: dict[int, dict[int, bytes]] = {}  # lane: number: key
        self.refused: i64 = 0
        self.replaced: i64 = 0

    def find(self, key: bytes) -> Spot | None:
        """Where the message with this key waits, if one does."""
        spot = self.spots.get(key)
        return spot if spot is not None and spot.waits() else None

    def add(self, key: bytes, lane: Lane, seq: i64) -> None:
        self.spots[key] = Spot(lane, seq)
        here = self.keys.get(int(lane.lid))
        if here is None:
            here = {}
            self.keys[int(lane.lid)] = here
        here[int(seq)] = key

    def left(self, lane: PagedLane, seq: i64, m: Message | None) -> None:
        here = self.keys.get(int(lane.lid))
        if here is None:
            return
        key = here.pop(int(seq), None)
        if key is not None:
            spot = self.spots.get(key)
            if spot is not None and spot.seq == seq and spot.lane is lane:
                del self.spots[key]


@final
class Rebuild(Visitor):
    """Finds the keys of what waits, after a restart."""

    def __init__(self, unique: Unique, lane: Lane) -> None:
        self.unique = unique
        self.lane = lane

    def visit(self, page: Page, messages: list[Message | None]) -> None:
        for slot, m in enumerate(messages):
            key = b"" if m is None else key_of(m, self.unique.header)
            if key:
                self.unique.add(key, self.lane, page.base + slot)


def window_of(arguments: Table) -> Window | None:
    """The window that a queue or an exchange was declared with; its arguments have been checked."""
    value = arguments.get(WINDOW)
    if value is None:
        return None
    table: dict[str, object] = value if isinstance(value, dict) else {"window": value}
    window_ms = span_ms(table.get("window"))
    header = table.get("header", "")
    size = table.get("size", DEDUPLICATION_KEYS)
    if window_ms <= 0 or not isinstance(header, str) or not isinstance(size, int):
        return None
    return Window(window_ms, header, size)


def wrong_window(value: object) -> str:
    """What is wrong with an x-message-deduplication, empty if nothing is."""
    if isinstance(value, bool) or not isinstance(value, (int, str, dict)):
        return '"expected milliseconds, a text such as 10m, or a table of window, header and size"'
    table: dict[str, object] = value if isinstance(value, dict) else {"window": value}
    for name in table:
        if name not in ("window", "header", "size"):
            return f"\"unknown key '{name}', expected window, header or size\""
    window_ms = span_ms(table.get("window"))
    if not 0 < window_ms <= DELAY_MAX_MS:
        return f'"window has to be 1 to {DELAY_MAX_MS} ms, or a text such as 10m, got {brief(table.get("window"), 40)}"'
    header = table.get("header", "x")
    if not isinstance(header, str) or not header:
        return '"header has to be the name of a header that holds the key; leave it out for the message-id"'
    size = table.get("size", 1)
    if isinstance(size, bool) or not isinstance(size, int) or not 0 < size <= DEDUPLICATION_KEYS_MAX:
        return f'"size has to be 1 to {DEDUPLICATION_KEYS_MAX} keys"'
    return ""


def unique_of(arguments: Table) -> Unique | None:
    how = arguments.get(UNIQUE)
    header = arguments.get(UNIQUE_HEADER, "")
    if not isinstance(how, str) or not isinstance(header, str):
        return None
    return Unique(header, how == "replace")
