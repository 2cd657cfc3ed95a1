"""Clients of one process, at random, and time that passes. Each thing that is done goes into the book; each delivery is
held against it at once.
"""

from __future__ import annotations

import hashlib
import random

from leveret.core.page import ASLEEP, OUT
from leveret.core.queue import Queue
from leveret.core.session import Run
from leveret.message import ACCEPTED, DISCARDED, MODIFIED, REJECTED, RELEASED, Message
from leveret.wire.properties import Properties
from tests.play.book import BEFORE, UNKNOWN, Book, Entry
from tests.play.hand import Hand
from tests.play.kinds import Kind, some_kinds
from tests.play.messages import Copy, Process, copies, in_lane, number_of, publish
from tests.rig import headers_of

LATER = "later"  # an exchange that delays
ALL = "all"  # one that gives to several
ONCE = "once"  # one that takes no duplicates
IN_TX = 1 << 61  # a place in the log that is not known yet
STEP_MS = (1, 10, 100, 100, 1_000, 5_000, 40_000)
WAITS_MS = (50, 1_000, 20_000, 300_000)
GROUPS = 4
KEYS = 6


class World:
    """What outlives a process."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.kinds = some_kinds(self.rng)
        order = list(self.kinds)
        self.cyclic = any(k.to and order.index(k.to) < order.index(k.name) for k in self.kinds.values())
        self.book = Book(self.kinds, self.cyclic)
        self.now_ms = 1_700_000_000_000
        self.next = 0
        self.life = 0
        self.seen: set[tuple[str, int]] = set()  # (queue, number): handed out at some time
        self.keys: dict[tuple[str, str], tuple[int, int]] = {}  # (queue, message-id): when, position
        self.late_keys: set[tuple[str, str]] = set()  # (queue, message-id): of those that were delayed
        self.tries: dict[tuple[str, int], list[int]] = {}  # (queue, number): the block of each failure
        self.fanout = [k.name for k in self.kinds.values() if not k.refuses and not k.window_ms][:3]

    def restarted(self, found: list[Copy], sure: int, most: int) -> None:
        """The log ended with a block from `sure` to `most`."""
        self.book.restarted(found)
        for key, (came, position) in list(self.keys.items()):
            if 0 < position <= sure:
                self.keys[key] = (came, BEFORE)
            elif 0 < position <= most:
                self.keys[key] = (came, UNKNOWN)
            elif position >= 0:
                del self.keys[key]
        for tried, blocks in self.tries.items():
            self.tries[tried] = [0 for block in blocks if block <= sure]

    def declare(self, process: Process) -> None:
        """All of it, as far as it is not there yet."""
        vhost = process.vhost
        vhost.declare_exchange(
            LATER, "x-delayed-message", True, False, False, {"x-delayed-type": "direct"}, False
        )
        vhost.declare_exchange(ONCE, "direct", True, False, False, {"x-message-deduplication": 20_000}, False)
        vhost.declare_exchange(ALL, "fanout", True, False, False, {}, False)
        for kind in self.kinds.values():
            vhost.declare_queue(kind.name, True, False, False, kind.arguments, False, None)
            vhost.bind_queue(kind.name, LATER, kind.name, {}, None)
            vhost.bind_queue(kind.name, ONCE, kind.name, {}, None)
            if kind.name in self.fanout:
                vhost.bind_queue(kind.name, ALL, "", {}, None)


class Play:
    def __init__(self, world: World, process: Process) -> None:
        self.world = world
        self.rng = world.rng
        self.book = world.book
        self.process = process
        self.hands: list[Hand] = []
        self.every: list[Hand] = []  # so that none's id is used again
        self.began_ms = world.now_ms
        self.in_tx = False
        self.tx_keys: list[tuple[str, str]] = []
        self.active: dict[str, Hand] = {}
        self.duplicates: dict[str, int] = {}  # by queue: how many it has counted
        world.life += 1
        self.set_time()
        self.actions = (
            (self.publish, 30),
            (self.publish_later, 6),
            (self.publish_to_all, 3),
            (self.publish_once, 5),
            (self.transaction, 4),
            (self.pass_time, 12),
            (process.turn, 20),
            (self.settle, 30),
            (self.arrive, 5),
            (self.leave, 2),
            (self.get, 3),
            (self.purge, 0.2),
            (process.broker.shed, 0.7),
        )

    # ---- time

    def set_time(self) -> None:
        now = self.world.now_ms
        self.book.now_ms = now
        self.process.broker.turn.now_ms = now
        self.process.broker.turn.tick_ms = now - self.began_ms

    def pass_time(self, ms: int = -1) -> None:
        self.world.now_ms += self.rng.choice(STEP_MS) if ms < 0 else ms
        self.set_time()
        self.process.broker.tick(self.world.now_ms - self.began_ms)
        self.process.turn()

    # ---- publishing

    def queue(self, name: str) -> Queue:
        found = self.process.vhost.topology.queues[name]
        assert isinstance(found, Queue)
        return found

    def _properties(self, kind: Kind | None, entry: Entry) -> Properties:
        rng = self.rng
        entry.transient = rng.random() < 0.1
        properties = Properties(delivery_mode=1 if entry.transient else 2)
        headers: dict[str, object] = {}
        if rng.random() < 0.15:
            ttl = rng.choice((0, 100, 2_000, 20_000, 500_000))
            properties.expiration = str(ttl)
            entry.expires_ms = entry.born_ms + ttl
        if kind is not None and kind.priorities and rng.random() < 0.8:
            properties.priority = rng.randrange(12)
            entry.priority = min(properties.priority, kind.priorities)
        if kind is not None and kind.groups and rng.random() < 0.9:
            entry.key = f"g{rng.randrange(GROUPS)}"
            headers["x-group-id"] = entry.key
        if kind is not None and (kind.window_ms or kind.unique) and rng.random() < 0.8:
            properties.message_id = f"k{rng.randrange(KEYS)}"
        if kind is not None and kind.retries and rng.random() < 0.1:
            headers["x-retry"] = "fixed;delay=300;max=1"
        properties.headers = headers or None
        return properties

    def publish(self) -> None:
        kind = self.rng.choice(list(self.world.kinds.values()))
        for _ in range(self.rng.choice((1, 1, 3, 12))):
            self._publish(kind, "", 0)

    def publish_later(self) -> None:
        kind = self.rng.choice(list(self.world.kinds.values()))
        for _ in range(self.rng.choice((1, 1, 4))):
            self._publish(kind, self.rng.choice(("", LATER)), self.rng.choice(WAITS_MS))

    def publish_once(self) -> None:
        self._publish(self.rng.choice(list(self.world.kinds.values())), ONCE, 0)

    def _publish(self, kind: Kind, exchange: str, wait_ms: int) -> None:
        world = self.world
        n = world.next
        world.next += 1
        entry = Entry(
            n, 0, world.now_ms + wait_ms, kind.name if exchange != LATER else f"~{LATER} {kind.name}"
        )
        properties = self._properties(kind, entry)
        headers = properties.headers or {}
        if wait_ms:
            headers["x-delay" if exchange == LATER else "x-deliver-after"] = wait_ms
            properties.headers = headers
            entry.direct = False
            if kind.refuses:
                entry.loose = True
        if exchange == ONCE:
            properties.message_id = None
            if not kind.window_ms and not kind.unique:
                properties.message_id = f"k{self.rng.randrange(KEYS)}"
        elif exchange:
            properties.message_id = None  # what is moved in has its key with it, and is nobody's duplicate
        if wait_ms and kind.unique and properties.message_id:
            world.late_keys.add((kind.name, properties.message_id))
        entry.unique_key = properties.message_id or ""
        for other in self.book.entries.values():  # one that is due takes the place of one that came meanwhile
            if other.birth == kind.name and (kind.name, other.unique_key) in world.late_keys:
                other.loose = True
        entry.loose = entry.loose or (kind.name, entry.unique_key) in world.late_keys
        old = self._holder(kind, properties.message_id)
        replaced = self._replaced(kind)
        self.book.entries[n] = entry
        block = self.block()
        said = int(self.process.journal.all_said())
        position = publish(self.process, exchange, kind.name, n, properties)
        entry.position = IN_TX if self.in_tx and position > 0 else position
        if exchange == LATER:
            return
        if self.process.vhost.refused and kind.refuses:
            self._refused(kind, entry)
            return
        if exchange == ONCE and properties.message_id:
            self._is_new(ONCE, entry, properties.message_id)
            return
        if kind.window_ms and properties.message_id:
            if not self._is_new(kind.name, entry, properties.message_id):
                return
        if kind.unique and properties.message_id:
            if self._replaced(kind) > replaced:
                assert old is not None, f"{n} took the place of a message that nobody knows"
                old.gone.append(block if self.in_tx else max(position or block, said))
                old.loose = (
                    old.loose or said > block
                )  # that it came may be in the log after that it is replaced

    def _refused(self, kind: Kind, entry: Entry) -> None:
        self.process.vhost.refused = False
        if kind.refused_go_on and kind.to:
            entry.places = {kind.to}
            entry.position = UNKNOWN
            entry.direct = False
            entry.born_ms = self.world.now_ms
        else:
            del self.book.entries[entry.n]

    def _is_new(self, where: str, entry: Entry, message_id: str) -> bool:
        """Whether a message was taken, by a queue or an exchange with a window, and whether that was right."""
        world = self.world
        key = (where, message_id)
        came, position = world.keys.get(key, (-1, 0))
        window = self.process.vhost.stores[ONCE].window if where == ONCE else self.queue(where).window
        assert window is not None
        known = came >= 0 and came + int(window.window_ms) > world.now_ms
        counted = int(window.duplicates)
        taken = counted == self.duplicates.get(where, 0)
        self.duplicates[where] = counted
        if not taken:
            assert known, f"{entry.n} was taken for a duplicate and is none"
            if position > int(self.process.journal.durable) and not entry.transient and not self.in_tx:
                assert entry.position >= position, f"{entry.n} is confirmed before what it is a duplicate of"
            del self.book.entries[entry.n]
            return False
        assert not known or position == UNKNOWN, f"{entry.n} is a duplicate and was taken"
        world.keys[key] = (world.now_ms, 0 if entry.transient else entry.position)
        if self.in_tx:
            self.tx_keys.append(key)
        return True

    def _holder(self, kind: Kind, message_id: str | None) -> Entry | None:
        """The message that waits with that id, as the queue has it."""
        unique = self.queue(kind.name).unique
        if unique is None or message_id is None:
            return None
        spot = unique.find(hashlib.blake2b(message_id.encode(), digest_size=16).digest())
        if spot is None:
            return None
        for copy in in_lane(self.process, kind.name, spot.lane):
            if copy.seq == spot.seq:
                return self.book.entries[copy.n]
        raise AssertionError("a message is said to wait and is not there")

    def _replaced(self, kind: Kind) -> int:
        unique = self.queue(kind.name).unique
        return 0 if unique is None else int(unique.replaced)

    def publish_to_all(self) -> None:
        world = self.world
        n = world.next
        world.next += 1
        entry = Entry(n, 0, world.now_ms, self.world.fanout[0])
        entry.places = set(world.fanout)
        entry.count = len(world.fanout)
        entry.alone = False
        entry.direct = False
        properties = self._properties(None, entry)
        self.book.entries[n] = entry
        entry.position = publish(self.process, ALL, "", n, properties)

    # ---- consuming

    def arrive(self) -> None:
        if len(self.hands) < 6:
            queue = self.queue(self.rng.choice(list(self.world.kinds)))
            name = f"hand {len(self.every)} {self.world.life} {self.rng.random()}"
            priority = self.rng.choice((0, 0, 0, 3))
            hand = Hand(self.process, queue, name, self.rng.choice((0, 1, 3, 10)), priority, self.look)
            self.hands.append(hand)
            self.every.append(hand)

    def leave(self) -> None:
        if self.hands:
            self.gone(self.hands.pop(self.rng.randrange(len(self.hands))), self.rng.random() < 0.6)

    def gone(self, hand: Hand, lost: bool) -> None:
        if lost:
            for tag in hand.live_tags():
                self._failed(hand.queue.name, hand.unsettled[tag])
        else:
            for tag in hand.live_tags():
                self._settles(self.world.kinds[hand.queue.name], hand.unsettled[tag], RELEASED)
        if self.active.get(hand.queue.name) is hand:
            del self.active[hand.queue.name]
        hand.leave(lost)

    def get(self) -> None:
        if self.hands:
            hand = self.rng.choice(self.hands)
            if not self.world.kinds[hand.queue.name].single:
                hand.ask()

    def _failed(self, place: str, n: int) -> None:
        self.book.entries[n].failed_in.add(place)
        self.world.tries.setdefault((place, n), []).append(self.block())

    def block(self) -> int:
        """Where what is journaled now will be in the log."""
        return IN_TX if self.in_tx else int(self.process.journal.block)

    def transaction(self) -> None:
        """Publishes and settlements in one record."""
        journal = self.process.journal
        taken: list[tuple[Hand, Run, int]] = []
        for hand in self.hands:
            for tag in self.rng.sample(hand.live_tags(), min(2, len(hand.live_tags()))):
                runs = hand.session.take(tag, False)
                assert runs
                taken.append((hand, runs[0], hand.unsettled.pop(tag)))
        journal.begin_tx()
        self.in_tx = True
        for _ in range(self.rng.choice((0, 1, 3, 8))):
            self._publish(self.rng.choice(list(self.world.kinds.values())), self.rng.choice(("", ONCE)), 0)
        for hand, run, n in taken:
            outcome = self.rng.choice((ACCEPTED, ACCEPTED, REJECTED, RELEASED, MODIFIED))
            self._settles(self.world.kinds[hand.queue.name], n, outcome)
            hand.session.finish(run, outcome)
        self.in_tx = False
        self._written(int(journal.end_tx()))

    def _written(self, position: int) -> None:
        """A transaction is over, and that is its place in the log."""
        for entry in self.book.entries.values():
            if entry.position == IN_TX:
                entry.position = position
            entry.gone = [position if block == IN_TX else block for block in entry.gone]
        for blocks in self.world.tries.values():
            blocks[:] = [position if block == IN_TX else block for block in blocks]
        for key in self.tx_keys:
            came, at = self.world.keys[key]
            self.world.keys[key] = (came, position if at == IN_TX else at)
        self.tx_keys = []

    def settle(self) -> None:
        holders = [hand for hand in self.hands if hand.live_tags()]
        if not holders:
            return
        hand = self.rng.choice(holders)
        live = hand.live_tags()
        tag = self.rng.choice(live)
        multiple = self.rng.random() < 0.3
        outcome = self.rng.choice((ACCEPTED, ACCEPTED, ACCEPTED, REJECTED, RELEASED, MODIFIED, DISCARDED))
        kind = self.world.kinds[hand.queue.name]
        for t in [t for t in live if t == tag or (multiple and t < tag)]:
            self._settles(kind, hand.unsettled[t], outcome)
        assert hand.session.settle(tag, multiple, outcome)
        for t in [t for t in sorted(hand.unsettled) if t == tag or (multiple and t < tag)]:
            del hand.unsettled[t]

    def _settles(self, kind: Kind, n: int, outcome: int) -> None:
        entry = self.book.entries[n]
        if outcome == ACCEPTED:
            self.book.settled(n, self.block())
        elif outcome in (REJECTED, DISCARDED):
            if kind.retries:
                entry.failed_in.add(kind.name)
                entry.dead_in.add(kind.name)
            elif kind.to:
                entry.dead_in.add(kind.name)
            else:
                self.book.settled(n, self.block())
            if outcome == REJECTED and kind.retries:  # else it is dead, or as if nothing had happened
                self._failed(kind.name, n)
        elif outcome == MODIFIED:
            self._failed(kind.name, n)
        elif entry.dead_in or entry.failed_in:  # it may have come with more failures than are allowed here
            entry.failed_in.add(kind.name)

    def purge(self) -> None:
        queue = self.queue(self.rng.choice(list(self.world.kinds)))
        for entry in self.book.entries.values():
            if queue.name in self.book.may_be_in(entry):
                entry.loose = True
        queue.purge()

    # ---- what is delivered

    def look(self, hand: Hand, tag: int, run: Run, m: Message, redelivered: bool) -> None:
        n = number_of(m.data)
        place = hand.queue.name
        kind = self.world.kinds[place]
        entry = self.book.entries.get(n)
        assert entry is not None, f"{n} was delivered and is not there"
        assert len(entry.gone) < entry.count, f"{n} was delivered and was settled before: {vars(entry)}"
        held = sum(
            n == other.unsettled[t] for other in self.every for t in other.live_tags() if t in other.unsettled
        )
        assert held < entry.count - len(entry.gone), f"{n} was delivered twice at once"
        assert entry.born_ms <= self.world.now_ms, (
            f"{n} was delivered {entry.born_ms - self.world.now_ms} ms early"
        )
        may = self.book.may_be_in(entry)
        assert place in may, f"{n} was delivered from {place} and may be in {may}: {vars(entry)}"
        if not self.world.cyclic and entry.alone:
            seen = (place, n) in self.world.seen
            assert redelivered or not seen, f"{n} was handed out before and is not flagged"
            if entry.fresh and entry.direct and not seen and place == entry.birth:
                assert not redelivered, f"{n} is flagged and is new"
        self.world.seen.add((place, n))
        self._counts(kind, entry, headers_of(m.data))
        self._whose(kind, hand, entry, run)
        hand.unsettled[tag] = n

    def _counts(self, kind: Kind, entry: Entry, headers: dict[str, object]) -> None:
        """No failure that was written may be forgotten."""
        if not kind.quorum or self.world.cyclic or not entry.alone:
            return
        count = headers.get("x-delivery-count", 0)
        assert isinstance(count, int)
        durable = int(self.process.journal.durable)
        failures = self.world.tries.get((kind.name, entry.n), [])
        known = sum(block <= durable for block in failures)
        assert count >= known, f"{entry.n} failed {known} times and has {count}"

    def _whose(self, kind: Kind, hand: Hand, entry: Entry, run: Run) -> None:
        """Whether it was its turn, and this hand's."""
        queue = hand.queue
        if kind.single:
            active = self.active.get(kind.name)
            if not kind.quorum and active is not None and active in self.hands:
                assert active is hand, f"{entry.n} went to one who is not the only active consumer"
            self.active[kind.name] = hand
        elif not kind.groups:
            for other in self.hands:
                if other.queue is queue and other.priority > hand.priority and other is not hand:
                    pushed = not any(getter.active for getter in hand.getters) and not hand.getters
                    assert not pushed or not other.has_room(), (
                        f"{entry.n} passed a consumer of a higher priority"
                    )
        if kind.groups and entry.key:
            self._in_order(kind, hand, entry, run)

    def _in_order(self, kind: Kind, hand: Hand, entry: Entry, run: Run) -> None:
        """Everything of its key that is before it in the lane is with this hand, or dead."""
        lane = run.lane
        seq = int(run.seq + run.count) - 1
        for page in lane.pages or []:
            messages = page.messages
            if messages is None:
                continue
            for slot, m in enumerate(messages):
                here = int(page.base) + slot
                if m is None or here >= seq:
                    continue
                other = self.book.entries.get(number_of(m.data))
                if other is None or other.key != entry.key or other.n == entry.n:
                    continue
                state = int(page.state(slot))
                if state < OUT:
                    raise AssertionError(f"{entry.n} of {entry.key} overtook {other.n}, which is ready")
                if state == OUT:
                    assert other.n in hand.unsettled.values(), (
                        f"{other.n} of {entry.key} is with somebody else"
                    )
                if state == ASLEEP and self._waits_for_retry(hand.queue, lane.lid, here):
                    raise AssertionError(
                        f"{entry.n} of {entry.key} overtook {other.n}, which waits for its retry"
                    )

    def _waits_for_retry(self, queue: Queue, lid: int, seq: int) -> bool:
        attempts = queue.attempts
        known = None if attempts is None else attempts.known.get(int(lid))
        tried = None if known is None else known.tried.get(seq)
        return tried is not None and tried.due_ms > 0

    # ---- the end

    def everybody_leaves(self) -> None:
        for hand in self.hands:
            self.gone(hand, False)
        self.hands = []

    def audit(self) -> None:
        """At rest, everything is where it may be, once."""
        self.process.settle_down()
        found = copies(self.process)
        wrong = self.book.wrong(found, 1 << 62, False)
        assert not wrong, "\n".join(wrong)

    def run_out(self) -> None:
        """Time passes until nothing is delayed or asleep, and everything is taken."""
        self.everybody_leaves()
        for _ in range(6):
            self.pass_time(3_600_000)
            self.process.settle_down()
        self.audit()
        for copy in copies(self.process):
            assert not copy.where.startswith("~"), f"{copy.n} is due and is still in {copy.where}"
            assert copy.state < OUT, f"{copy.n} should be ready in {copy.where} and is in state {copy.state}"
        for name in self.world.kinds:
            hand = Hand(self.process, self.queue(name), f"last {name} {self.rng.random()}", 0, 0, self.look)
            self.hands.append(hand)
            self.every.append(hand)
        self.process.settle_down()
        for hand in self.hands:
            while hand.live_tags():
                for tag in hand.live_tags():
                    self.book.settled(hand.unsettled.pop(tag), int(self.process.journal.block))
                    assert hand.session.settle(tag, False, ACCEPTED)
                self.process.settle_down()
        self.audit()
        assert not copies(self.process), "something is left that nobody gets"
        self.everybody_leaves()
