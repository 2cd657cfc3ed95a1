"""The queues of a world: what each was declared with, where its dead letters go, and what may take a message from it.

It knows queue arguments and nothing of brokers.
"""

from __future__ import annotations

import random

Table = dict[str, object]

NAMES = ("a", "b", "c", "d", "e")
TRIES = 2  # of a retry policy
DELIVERIES = 2  # a delivery limit


class Kind:
    def __init__(self, name: str) -> None:
        self.name = name
        self.arguments: Table = {}
        self.to = ""  # the queue for its dead letters
        self.ttl_ms = -1
        self.drops = False  # drops its head when it is full
        self.refuses = False  # a publish, when it is full or has one with the same key
        self.refused_go_on = False  # to where dead letters go
        self.priorities = 0
        self.groups = False
        self.single = False
        self.quorum = False
        self.retries = False
        self.timeout_ms = 0
        self.window_ms = 0
        self.unique = ""

    def ends_failures(self) -> bool:
        """A message that failed often enough is dead."""
        return self.retries or self.quorum

    def __repr__(self) -> str:
        return f"{self.name}: {self.arguments}"


def some_kinds(rng: random.Random) -> dict[str, Kind]:
    """Queues with features at random. Nothing dead ever goes to a queue that may refuse it."""
    kinds = {name: Kind(name) for name in NAMES}
    cyclic = rng.random() < 0.2
    for kind in kinds.values():
        for feature in rng.sample(FEATURES, rng.choice((1, 1, 2, 3))):
            feature(kind, rng)
    last = kinds[NAMES[-1]] = Kind(NAMES[-1])
    for i, name in enumerate(NAMES[:-1]):
        kind = kinds[name]
        if rng.random() < 0.8:
            choices = NAMES if cyclic else NAMES[i + 1 :]
            targets = [n for n in choices if n != name and not kinds[n].refuses]
            kind.to = rng.choice(targets)
            kind.arguments["x-dead-letter-exchange"] = ""
            kind.arguments["x-dead-letter-routing-key"] = kind.to
        elif kind.refused_go_on:
            kind.refused_go_on = False
    assert not last.arguments
    return kinds


def _plain(kind: Kind, rng: random.Random) -> None:
    pass


def _ttl(kind: Kind, rng: random.Random) -> None:
    kind.ttl_ms = rng.choice((0, 300, 3_000, 30_000, 600_000))
    kind.arguments["x-message-ttl"] = kind.ttl_ms


def _limit(kind: Kind, rng: random.Random) -> None:
    if rng.random() < 0.7:
        kind.arguments["x-max-length"] = rng.choice((0, 1, 5, 30))
    else:
        kind.arguments["x-max-length-bytes"] = rng.choice((0, 500, 5_000, 30_000))
    overflow = rng.choice(("drop-head", "drop-head", "reject-publish", "reject-publish-dlx"))
    kind.arguments["x-overflow"] = overflow
    kind.drops = overflow == "drop-head"
    kind.refuses = kind.refuses or not kind.drops
    kind.refused_go_on = overflow == "reject-publish-dlx" and not kind.quorum
    if kind.quorum and overflow == "reject-publish-dlx":
        kind.arguments["x-overflow"] = "reject-publish"


def _priorities(kind: Kind, rng: random.Random) -> None:
    if not kind.groups and not kind.quorum:
        kind.priorities = rng.choice((1, 3, 10))
        kind.arguments["x-max-priority"] = kind.priorities


def _groups(kind: Kind, rng: random.Random) -> None:
    if kind.priorities == 0:
        kind.groups = True
        kind.arguments["x-group-header"] = True


def _single(kind: Kind, rng: random.Random) -> None:
    kind.single = True
    kind.arguments["x-single-active-consumer"] = True


def _quorum(kind: Kind, rng: random.Random) -> None:
    if kind.priorities == 0 and not kind.refused_go_on:
        kind.quorum = True
        kind.arguments["x-queue-type"] = "quorum"
        kind.arguments["x-delivery-limit"] = rng.choice((0, DELIVERIES, DELIVERIES, -1))
        if rng.random() < 0.3:
            kind.timeout_ms = rng.choice((1_000, 10_000))
            kind.arguments["x-consumer-timeout"] = kind.timeout_ms


def _retries(kind: Kind, rng: random.Random) -> None:
    kind.retries = True
    policy = {
        "type": "exponential",
        "delay": rng.choice((0, 50, 2_000, 60_000)),
        "max": rng.choice((0, TRIES, 50)),
    }
    kind.arguments["x-retry"] = policy


def _window(kind: Kind, rng: random.Random) -> None:
    kind.window_ms = rng.choice((1_000, 60_000))
    kind.arguments["x-message-deduplication"] = kind.window_ms


def _unique(kind: Kind, rng: random.Random) -> None:
    kind.unique = rng.choice(("refuse", "replace"))
    kind.refuses = True  # a dead letter with the key of one that waits
    kind.arguments["x-unique"] = kind.unique


FEATURES = (
    _plain,
    _ttl,
    _limit,
    _priorities,
    _groups,
    _single,
    _quorum,
    _quorum,
    _retries,
    _retries,
    _window,
    _unique,
)
