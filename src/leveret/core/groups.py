"""Message groups: messages of one key go to one consumer at a time and in order, keys are spread over consumers.

The queue stays one lane. Of what waits in it, a window from its front is indexed by key; whoever has credit gets the
next message of a key of its own, else of one that nobody has. A key belongs to a consumer while that has unsettled
messages of it. One whose message failed and sleeps until its next try waits for it; other keys go on. Memory is
bounded by the window: a key nothing of which is in it costs nothing, and what waits behind a full window waits.
"""

from __future__ import annotations

from bisect import insort
from typing import TYPE_CHECKING, Final, final

from leveret.core.consumer import Consumer
from leveret.core.page import ASLEEP, OUT, Page
from leveret.core.paging import PagedLane
from leveret.core.view import view_of
from leveret.core.watching import Watcher
from leveret.limits import GROUP_WINDOW
from leveret.message import Message
from leveret.native import i64
from leveret.wire.splice import Names

if TYPE_CHECKING:
    from leveret.core.lane import Lane
    from leveret.core.queue import Queue

WINDOW: Final[i64] = GROUP_WINDOW
SCAN: Final[i64] = 8_192  # messages looked at in one turn, at most
NOWHERE: Final[i64] = 0
FREE: Final[i64] = 1
OWNED: Final[i64] = 2
FIRST: Final = b"\x0dx-group-firstt\x01"  # encoded fields that are true
LAST: Final = b"\x0cx-group-lastt\x01"
ONLY: Final = FIRST + LAST
NAMES: Final = Names({b"x-group-first", b"x-group-last"})


@final
class Key:
    """What is known of one key while something of it is in the window. name: empty for a message without a key, which
    is a group of its own."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.named = i64(len(name)) > 0
        # Numbers of what waits, in order; some may be gone meanwhile. Most keys have one message.
        self.next: i64 = -1
        self.more: list[int] | None = None  # from `head` on
        self.head: i64 = 0
        self.live: i64 = 0  # how many still wait
        self.out: i64 = 0
        self.asleep: i64 = 0  # failed, and not due again
        self.owner: Consumer | None = None
        self.place: i64 = NOWHERE  # in which list it can be found
        self.leaving = False  # nothing more for its owner: it is to go to another

    def add(self, seq: i64) -> None:
        self.live += 1
        if self.next < 0:
            self.next = seq
            return
        more = self.more
        if more is None:
            more = []
            self.more = more
        if seq < self.next:
            if self.head > 0:
                self.head -= 1
                more[self.head] = self.next
            else:
                more.insert(0, self.next)
            self.next = seq
        elif not more or i64(more[-1]) < seq:
            more.append(seq)
        else:
            insort(more, seq, self.head)

    def take(self) -> i64:
        """The first number, out of the list."""
        seq = self.next
        more = self.more
        self.next = -1
        if more is not None:
            self.next = more[self.head]
            self.head += 1
            if self.head == i64(len(more)):
                self.more = None
                self.head = 0
            elif self.head >= 64 and self.head * 2 >= i64(len(more)):
                del more[: self.head]
                self.head = 0
        return seq


@final
class Line:
    """Keys in the order in which they came."""

    def __init__(self) -> None:
        self.keys: list[Key] = []
        self.head: i64 = 0

    def add(self, key: Key, first: bool) -> None:
        """At the end, or where the next is taken."""
        if not first:
            self.keys.append(key)
        elif self.head > 0:
            self.head -= 1
            self.keys[self.head] = key
        else:
            self.keys.insert(0, key)

    def take(self) -> Key | None:
        keys = self.keys
        if self.head >= i64(len(keys)):
            return None
        key = keys[self.head]
        self.head += 1
        if self.head >= 64 and self.head * 2 >= i64(len(keys)):
            del keys[: self.head]
            self.head = 0
        return key


@final
class Groups(Watcher):
    def __init__(self, queue: Queue, header: str) -> None:
        self.queue = queue
        self.header = header
        self.keys: dict[bytes, Key] = {}
        self.waiting: dict[int, Key] = {}  # by number
        self.out: dict[int, Key] = {}
        self.asleep: dict[int, Key] = {}
        self.free = Line()  # something waits, and nobody has it
        self.owned: dict[Consumer, Line] = {}
        self.scanned: i64 = 0  # lower numbers are indexed
        self.next_turn: i64 = 0  # index of the consumer whose turn it is
        self.stuck = False  # something is on its way from disk, or to it
        self.telling = b""  # headers of the delivery that is being made

    # ---- handing out

    def pump(self, consumers: list[Consumer], left: i64) -> None:
        """Hand out to consumers in turn, so many messages at most."""
        self._scan()
        at = self.next_turn
        n: i64 = len(consumers)
        idle: i64 = 0
        while idle < n:
            if left <= 0:
                self.queue.wake()
                break
            if at >= n:
                at = 0
            c = consumers[at]
            at += 1
            key: Key | None = None
            if c.credit() > 0:
                key = self._pick(c)
            if key is None:
                idle += 1
                continue
            if not self._give(c, key):
                break
            idle = 0
            left -= 1
            if i64(len(self.waiting)) < WINDOW // 2:
                self._scan()
        self.next_turn = at

    def serve(self, c: Consumer) -> bool:
        """Give one message to somebody who asked for one. False if none can be had, or `stuck`."""
        self.stuck = False
        self._scan()
        key = self._pick(c)
        return key is not None and self._give(c, key)

    def _may_have(self, key: Key, c: Consumer | None, place: i64) -> bool:
        return key.place == place and key.owner is c and key.live > 0 and key.asleep == 0 and not key.leaving

    def _pick(self, c: Consumer) -> Key | None:
        own = self.owned.get(c) if self.owned else None
        key = None if own is None else own.take()
        while own is not None and key is not None:
            if self._may_have(key, c, OWNED):
                key.place = NOWHERE
                return key
            key = own.take()
        key = self.free.take()
        while key is not None:
            if self._may_have(key, None, FREE):
                key.place = NOWHERE
                return key
            key = self.free.take()
        return None

    def _give(self, c: Consumer, key: Key) -> bool:
        lane = self.queue.lane
        seq = key.take()
        number = int(seq)
        while number not in self.waiting:  # gone meanwhile
            seq = key.take()
            number = int(seq)
        del self.waiting[number]
        first = key.owner is None
        self.out[number] = key
        key.live -= 1
        key.out += 1
        key.owner = c
        if key.named:
            if first:
                self.telling = ONLY if key.live == 0 else FIRST
            elif key.live == 0:
                self.telling = LAST
        done = lane.hand_out(c, seq)
        self.telling = b""
        if not done:
            del self.out[number]
            self.waiting[number] = key
            key.out -= 1
            key.add(seq)
            if first:
                key.owner = None
            self.stuck = True
        self._list(key, not done)
        return done

    def _list(self, key: Key, first: bool = False) -> None:
        """Put a key where it is looked for, if something of it may be handed out. first: it keeps its turn."""
        if key.live == 0 or key.asleep > 0 or key.leaving:
            return
        owner = key.owner
        if owner is None:
            if key.place != FREE:
                key.place = FREE
                self.free.add(key, first)
        elif key.place != OWNED:
            key.place = OWNED
            own = self.owned.get(owner)
            if own is None:
                own = Line()
                self.owned[owner] = own
            own.add(key, first)

    # ---- indexing

    def _scan(self) -> None:
        """Index what is behind, as far as the window goes and messages are in memory."""
        lane = self.queue.lane
        left = SCAN
        while self.scanned < lane.next_seq:
            room = WINDOW - i64(len(self.waiting)) - i64(len(self.out)) - i64(len(self.asleep))
            if room <= 0:
                return
            if left <= 0:
                self.queue.wake()
                return
            page = lane.page_from(self.scanned)
            if page is None:
                self.scanned = lane.next_seq
                return
            found = self._scan_page(lane, page, min(room, left))
            if found < 0:
                self.stuck = True
                return
            left -= found

    def _scan_page(self, lane: Lane, page: Page, most: i64) -> i64:
        """Index what is of interest in a page, so much at most. Returns how much that was, -1 if the page has to be
        loaded first."""
        messages = page.messages
        slot = max(self.scanned - page.base, 0)
        found: i64 = 0
        while slot < page.count and found < most:
            seq = page.base + slot
            state = page.state(slot)
            asleep = state == ASLEEP
            if self._waits_for_retry(seq) if asleep else (state < OUT and int(seq) not in self.waiting):
                if messages is None:
                    self.scanned = seq
                    lane.fetch(seq)
                    return -1
                m = messages[slot]
                assert m is not None
                self._index(seq, view_of(m).key_of(m, self.header), asleep)
                found += 1
            slot += 1
        self.scanned = page.base + slot
        return found

    def _waits_for_retry(self, seq: i64) -> bool:
        """A message that sleeps, and is not known here: since before a restart, or it is to be moved away."""
        attempts = self.queue.attempts
        return attempts is not None and int(seq) not in self.asleep and attempts.waits(self.queue.lane, seq)

    def _index(self, seq: i64, name: bytes, asleep: bool) -> None:
        key: Key | None = None
        named = i64(len(name)) > 0
        if named:
            key = self.keys.get(name)
        if key is None:
            key = Key(name)
            if named:
                self.keys[name] = key
        if asleep:
            self.asleep[int(seq)] = key
            key.asleep += 1
            return
        key.add(seq)
        self.waiting[int(seq)] = key
        self._list(key)

    # ---- consumers come and go

    def consumer_came(self, n: i64) -> None:
        """One more, of now n: who has more keys than its share gives some up, once their messages are settled."""
        owners: dict[Consumer, i64] = {}
        kept: dict[Consumer, i64] = {}
        total: i64 = 0
        for key in self.keys.values():
            owner = key.owner
            if owner is not None:
                owners[owner] = owners.get(owner, 0) + 1
                total += 1
        share = (total + n - 1) // n
        for key in self.keys.values():
            owner = key.owner
            if owner is not None and owners[owner] > share:
                so_far = kept.get(owner, 0)
                if so_far >= share:
                    key.leaving = True
                else:
                    kept[owner] = so_far + 1

    def consumer_went(self, c: Consumer) -> None:
        """Its keys are free once its unsettled messages are back in place or settled."""
        self.owned.pop(c, None)

    # ---- what becomes of messages

    def _less_out(self, key: Key) -> None:
        key.out -= 1
        if key.out == 0:
            key.owner = None
            key.leaving = False
        self._settled(key)

    def _settled(self, key: Key) -> None:
        if key.live == 0 and key.out == 0 and key.asleep == 0:
            if key.named and self.keys.get(key.name) is key:
                del self.keys[key.name]
        else:
            self._list(key)
        self.queue.wake()

    def left(self, lane: PagedLane, seq: i64, m: Message | None) -> None:
        number = int(seq)
        key = self.out.get(number)
        if key is not None:
            del self.out[number]
            self._less_out(key)
            return
        key = self.waiting.get(number)
        if key is not None:
            del self.waiting[number]
            key.live -= 1
            self._settled(key)
            return
        key = self.asleep.get(number)
        if key is not None:
            del self.asleep[number]
            key.asleep -= 1
            self._settled(key)

    def came_back(self, lane: PagedLane, seq: i64) -> None:
        number = int(seq)
        key = self.out.pop(number, None)
        if key is not None:
            self.waiting[number] = key
            key.add(seq)
            self._less_out(key)
            return
        key = self.asleep.pop(number, None)
        if key is not None:
            self.waiting[number] = key
            key.add(seq)
            key.asleep -= 1
            self._settled(key)
        elif seq < self.scanned and number not in self.waiting:
            self.scanned = seq  # it slept since before a restart

    def slept(self, lane: PagedLane, seq: i64) -> None:
        number = int(seq)
        key = self.out.pop(number, None)
        if key is not None:
            self.asleep[number] = key
            key.asleep += 1
            self._less_out(key)
            return
        key = self.waiting.pop(number, None)
        if key is not None:  # seized where it waited: to be moved away, so that nothing has to wait for it
            key.live -= 1
            self._settled(key)

    def dressed(self, lane: PagedLane, seq: i64, m: Message) -> Message:
        telling = self.telling
        return m if i64(len(telling)) == 0 else view_of(m).with_fields(m, telling, NAMES)
