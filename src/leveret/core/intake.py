"""Publishing to queues that want more than a message appended to their one lane, and of messages that ask for more.

The plain way is `VHost.publish`. Here: terms are found, full queues refuse, what is not due is held, the lane is
chosen, all of it goes to the journal in one record (with the place a moved message comes from), and only then queues
are trimmed. Whether a queue refused is left in `VHost.refused`, for the publisher to be told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from leveret.core.dedup import Spot
from leveret.core.delays import parse_terms
from leveret.core.holder import Holder
from leveret.core.lane import Lane
from leveret.core.queue import Queue
from leveret.core.rules import REJECT_DLX
from leveret.core.view import view_of
from leveret.journal import Journal
from leveret.message import Message, Terms
from leveret.native import i64

if TYPE_CHECKING:
    from leveret.core.vhost import VHost

# What a message may ask for; its protocol says which of these are worth a look.
ASKS_EXPIRATION: Final[i64] = 1
ASKS_BY_HEADERS: Final[i64] = 2


def set_terms(m: Message, asks: i64, delays: bool, now_ms: i64) -> None:
    """Find out what a message asks of time. delays: it is published to an exchange that honours `x-delay`.

    Raises PreconditionFailed for a value that means nothing.
    """
    ttl: i64 = -1
    due: i64 = 0
    if asks & ASKS_EXPIRATION != 0:
        ttl = view_of(m).ttl_ms(m)
    if asks & ASKS_BY_HEADERS != 0:
        due = parse_terms(m, delays, now_ms)
    if ttl >= 0 or due > now_ms:
        m.terms = Terms(now_ms, ttl, due, 0)


@final
class Target:
    """A queue that takes a message. spot: where the message waits that it takes the place of."""

    def __init__(self, queue: Queue, key: bytes, unique_key: bytes, spot: Spot | None) -> None:
        self.queue = queue
        self.key = key
        self.unique_key = unique_key
        self.spot = spot


def offer(home: VHost, queues: list[Queue], m: Message, source: Lane | None, source_seq: i64) -> i64:
    """Give a message to these queues. Returns its position; -1 if none took it.

    source: where the message sleeps that this one takes the place of; it is settled here if a queue takes this one, or
    if one that refuses it lets it go on to where its own dead letters go: in one record, too.
    """
    if source is None or not bury_refused(queues):
        return _offer(home, queues, m, source, source_seq, source is None)
    journal = home.journal
    in_tx = journal.in_tx()
    if not in_tx:
        journal.begin_tx()
    position = _offer(home, queues, m, source, source_seq, False)
    if position < 0:
        source.remove(source_seq, True)
        position = 0
    return position if in_tx else journal.end_tx()


def bury_refused(queues: list[Queue]) -> bool:
    """Whether one of them has dead letters of what it refuses."""
    for queue in queues:
        rules = queue.rules
        if rules is not None and rules.overflow == REJECT_DLX and queue.graves is not None:
            return True
    return False


def offer_dead(home: VHost, queues: list[Queue], m: Message, source: Lane | None, source_seq: i64) -> i64:
    """As `offer`, for a dead letter, which is nobody's duplicate. source: None for one that was in no queue yet."""
    if source is None:
        return _offer(home, queues, m, None, 0, False)
    return offer(home, queues, m, source, source_seq)


def _offer(
    home: VHost, queues: list[Queue], m: Message, source: Lane | None, source_seq: i64, fresh: bool
) -> i64:
    """fresh: it is published for the first time, and may be a duplicate."""
    if len(queues) == 1:
        only = queues[0]
        rules = only.rules
        if rules is None or not rules.keyed:
            return _offer_one(home, only, m, source, source_seq)
    now = home.turn.now_ms
    taken: list[Target] = []
    keyed = False
    duplicate = False
    for queue in queues:
        if queue.plain_in:
            taken.append(Target(queue, b"", b"", None))
            continue
        rules = queue.rules
        if rules is not None and rules.keyed:
            key = queue.key_for_window(m) if fresh else b""
            window = queue.window
            if key and window is not None and window.has(key, now):
                duplicate = True
                continue
            unique_key = queue.key_for_unique(m)
            unique = queue.unique
            spot = unique.find(unique_key) if unique is not None and unique_key else None
            if spot is not None and spot.lane is source:
                spot = None  # the very message, which is due now
            if unique is not None and spot is not None and not unique.replaces:
                unique.refused += 1
                home.refused = True
                continue
            if spot is None and queue.refuses(m):
                home.refused = True
                continue
            keyed = True
            taken.append(Target(queue, key, unique_key, spot))
        elif queue.refuses(m):
            home.refused = True
            continue
        else:
            taken.append(Target(queue, b"", b"", None))
        if m.terms is None and rules is not None and rules.stamps:
            m.terms = Terms(now, -1, 0, 0)
    if not taken:
        return first_is_safe(home.journal, m) if duplicate else -1
    if not keyed:
        return _put(home, taken, m, source, source_seq)
    journal = home.journal
    in_tx = journal.in_tx()
    if not in_tx:
        journal.begin_tx()
    position = _put(home, taken, m, source, source_seq)
    _note_keys(home, taken, m, now, in_tx)
    if in_tx:
        return position
    position = journal.end_tx()
    if duplicate:
        position = max(position, first_is_safe(journal, m))
    for target in taken:
        window = target.queue.window
        if window is not None and target.key and m.persistent and target.queue.lane.durable:
            window.said(target.key, position)
    return position


def _offer_one(home: VHost, queue: Queue, m: Message, source: Lane | None, source_seq: i64) -> i64:
    """To one queue without keys, as nearly all are: the same, with nothing made for it."""
    broker = home.broker
    if not queue.plain_in:
        if queue.refuses(m):
            home.refused = True
            return -1
        rules = queue.rules
        if m.terms is None and rules is not None and rules.stamps:
            m.terms = Terms(home.turn.now_ms, -1, 0, 0)
    terms = m.terms
    if terms is not None and terms.due_ms > home.turn.now_ms:
        lane, seq = broker.delays.hold(queue, m)
        return journal_move_one(home, m, lane, seq, source, source_seq)
    lane = lane_for(queue, m)
    seq = lane.push(m)
    queue.wake()
    position = journal_move_one(home, m, lane, seq, source, source_seq)
    _entered(home, queue, lane, seq, terms)
    return position


def lane_for(queue: Queue, m: Message) -> Lane:
    return queue.lane_of_priority(view_of(m).priority(m)) if queue.by_priority else queue.lane


def _entered(home: VHost, queue: Queue, lane: Lane, seq: i64, terms: Terms | None) -> None:
    """A message waits in a queue from now on."""
    if home.inherited > 0 and queue.attempts is not None:
        queue.attempts.inherit(lane, seq, home.inherited)
    if terms is not None:
        home.broker.expiry.enter(queue, lane, seq, terms)


def first_is_safe(journal: Journal, m: Message) -> i64:
    """The position at which the message of which this is a duplicate is on disk, at the latest."""
    if not m.persistent or journal.segment == 0:
        return 0
    return max(journal.all_said(), 0)


def _note_keys(home: VHost, taken: list[Target], m: Message, now: i64, in_tx: bool) -> None:
    for target in taken:
        lane = target.queue.lane
        window = target.queue.window
        if window is not None and target.key:
            window.took(target.key, now, home.journal, lane.lid, m.persistent and lane.durable, in_tx)


def _put(home: VHost, taken: list[Target], m: Message, source: Lane | None, source_seq: i64) -> i64:
    """Into the lanes, into the journal, and then in order with what the queues' rules say."""
    terms = m.terms
    delayed = terms is not None and terms.due_ms > home.turn.now_ms
    lanes: list[Lane] = []
    seqs: list[int] = []
    for target in taken:
        queue = target.queue
        spot = target.spot
        if spot is not None:
            spot.lane.seize(spot.seq)
            if source is None:
                source = spot.lane
                source_seq = spot.seq
        if delayed:
            lane, seq = home.broker.delays.hold(queue, m)
        else:
            lane = lane_for(queue, m)
            seq = lane.push(m)
            queue.wake()
        lanes.append(lane)
        seqs.append(seq)
    position = journal_move(home, m, lanes, seqs, source, source_seq)
    i: i64 = 0
    while i < i64(len(taken)):
        target = taken[i]
        lane = lanes[i]
        unique = target.queue.unique
        if unique is not None and target.unique_key:
            spot = target.spot
            if spot is not None:
                unique.replaced += 1
                spot.lane.remove(spot.seq, True)  # unless it was moved from there
            unique.add(target.unique_key, lane, seqs[i])
        if not delayed:
            _entered(home, target.queue, lane, seqs[i], terms)
        i += 1
    return position


def journal_move(
    home: VHost, m: Message, lanes: list[Lane], seqs: list[int], source: Lane | None, source_seq: i64
) -> i64:
    """One record for all that is durable of it, the place it comes from included."""
    journal = home.journal
    begun = False
    position: i64 = 0
    from_lane: i64 = -1
    if source is not None and source.durable:
        from_lane = source.lid
    if m.persistent:
        i: i64 = 0
        n: i64 = len(lanes)
        while i < n:
            lane = lanes[i]
            if lane.durable:
                seq: i64 = seqs[i]
                if not begun:
                    begun = True
                    journal.begin(m, from_lane, source_seq)
                lane.logged(seq)
                journal.target(lane.lid, seq)
            i += 1
        if begun:
            position = journal.end()
    if source is not None:
        if begun and from_lane >= 0:
            known = -1 if journal.in_tx() else position
            i = 0
            while i < i64(len(lanes)):
                lanes[i].moved(seqs[i], known)
                i += 1
        source.remove(source_seq, not begun)
    return position


def journal_move_one(
    home: VHost, m: Message, lane: Lane, seq: i64, source: Lane | None, source_seq: i64
) -> i64:
    """The same for one lane."""
    journal = home.journal
    begun = m.persistent and lane.durable
    position: i64 = 0
    if begun:
        lane.logged(seq)
        if source is None or not source.durable:
            position = journal.publish(m, lane.lid, seq)
        else:
            position = journal.move(m, lane.lid, seq, source.lid, source_seq)
            lane.moved(seq, -1 if journal.in_tx() else position)
    if source is not None:
        source.remove(source_seq, not begun)
    return position


def due_copy(m: Message, now_ms: i64) -> Message:
    """The message as if it were published now: its time to live begins when it is due."""
    copy = Message(m.data, m.route, m.size_bytes, m.persistent, m.protocol)
    terms = m.terms
    if terms is not None and terms.ttl_ms >= 0:
        copy.terms = Terms(now_ms, terms.ttl_ms, 0, terms.priority)
    return copy


def hold_at(home: VHost, holder: Holder, m: Message, source: Lane | None, source_seq: i64) -> i64:
    """Keep a message of a delaying exchange until it is due."""
    lane, seq = home.broker.delays.hold(holder, m)
    return journal_move_one(home, m, lane, seq, source, source_seq)
