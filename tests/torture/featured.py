"""Those who use what queues can do beyond storing: dead letters, times to live, delays, priorities, groups and retries.

Every message ends with one ack, from where it was published or from where dead letters go. What happened is told to
`Fates`, a thing that may have happened before it is sent.
"""

from __future__ import annotations

import random
import time

from .actors import IDLE_S, Actor, Stage
from .client import Client, Closed, Delivery, Window, properties, table
from .fates import Fates
from .ledger import Key, make_body

DEAD = "torture.dead"
RETRIED, EXPIRED, RANKED, PLANNED, FULL = (
    "torture.retried", "torture.expired", "torture.ranked", "torture.planned", "torture.full",
)  # fmt: skip
SOURCES = (RETRIED, EXPIRED, RANKED, PLANNED, FULL)
FEATURED = (*SOURCES, DEAD)
DELAYING = "torture.delaying"
TO_THE_DEAD: dict[str, object] = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": DEAD}
ARGUMENTS: dict[str, dict[str, object]] = {
    RETRIED: {"x-retry": {"type": "fixed", "delay": 150, "max": 1}, "x-group-header": True, **TO_THE_DEAD},
    EXPIRED: {"x-message-ttl": 400, **TO_THE_DEAD},
    RANKED: {"x-max-priority": 5, **TO_THE_DEAD},
    PLANNED: {"x-queue-type": "quorum", "x-delivery-limit": 2, **TO_THE_DEAD},
    FULL: {"x-max-length": 50, **TO_THE_DEAD},
    DEAD: {},
}
GROUPS = 20
FIRST_PUBLISHER = 50
PUBLISHES = 4_000  # of each publisher in a cycle, at most
WINDOW = 300
BURST = 20
LONGEST_DELAY_S = 3.0


def declare(client: Client) -> None:
    client.declare_exchange(DELAYING, "x-delayed-message", table({"x-delayed-type": "direct"}))
    for queue, arguments in ARGUMENTS.items():
        client.declare(queue, arguments=table(arguments))
    client.bind(PLANNED, DELAYING, PLANNED)


class FeaturedPublisher(Actor):
    def __init__(self, stage: Stage, fates: Fates, number: int, queue: str, dice: random.Random) -> None:
        super().__init__(stage, f"publisher to {queue}", dice)
        self.fates = fates
        self.number = number
        self.queue = queue
        self.left = PUBLISHES

    def act(self) -> None:
        with Client(self.stage.port) as client:
            client.confirm()
            window = Window()
            while not self.stage.over.is_set() or window:
                burst: list[bytes] = []
                while len(burst) < BURST and len(window) < WINDOW and self.left > 0:
                    if self.stage.over.is_set():
                        break
                    self.left -= 1
                    burst.append(self.one(client, window))
                try:
                    if burst:
                        client.send(b"".join(burst))
                finally:  # what was confirmed before a crash counts, also when the crash was noticed by sending
                    event = client.next(IDLE_S)
                    while event is not None:
                        for key in window.confirmed(event):
                            self.fates.confirmed(key)
                        event = client.next(0.0)

    def one(self, client: Client, window: Window) -> bytes:
        dice = self.dice
        key = (self.number, self.ledger.number(self.number))
        window.published(key)
        headers: dict[str, object] = {}
        exchange, expiration, group, due_s = "", "", 0, 0.0
        if self.queue == RETRIED:
            group = dice.randrange(GROUPS) + 1
            headers["x-group-id"] = str(group)
        elif self.queue == PLANNED:
            wait_s = dice.uniform(0.1, LONGEST_DELAY_S)
            due_s = time.time() + wait_s
            exchange = dice.choice(("", DELAYING))
            headers["x-delay" if exchange else "x-deliver-after"] = int(wait_s * 1_000)
        elif self.queue == EXPIRED and dice.random() < 0.5:
            expiration = str(dice.randrange(1_000))
        priority = dice.randrange(6) if self.queue == RANKED else -1
        self.fates.sending(key, self.queue, due_s, group)
        size = dice.randrange(200_000, 400_000) if dice.random() < 0.004 else dice.randrange(26, 1_500)
        body = make_body(*key, size)
        return client.content(exchange, self.queue, body, properties(headers, priority, expiration))


class FeaturedConsumer(Actor):
    """Acks, rejects, returns, closes, or goes without a word."""

    def __init__(self, stage: Stage, fates: Fates, queue: str, name: str, dice: random.Random) -> None:
        super().__init__(stage, f"{name} of {queue}", dice)
        self.fates = fates
        self.queue = queue
        self.rejects = 0.0 if queue == DEAD else 0.2

    def act(self) -> None:
        with Client(self.stage.port) as client:
            client.qos(30)
            client.consume(self.queue)
            held: list[tuple[int, Key]] = []
            acked: list[Key] = []
            until = self.dice.randrange(100, 2_000)
            try:
                while not self.stage.over.is_set() and until > 0:
                    event = client.next(IDLE_S)
                    if isinstance(event, Delivery):
                        until -= 1
                        key = self.fates.delivered(self.queue, event.body, event.redelivered, self.name)
                        held.append((event.tag, key))
                    if len(held) > 10 or (event is None and held):
                        self.settle(client, *held.pop(self.dice.randrange(len(held))), acked)
            except Closed:
                self.fates.giving_back([key for _, key in held], acked)
                raise
            self.fates.giving_back([key for _, key in held], acked)

    def settle(self, client: Client, tag: int, key: Key, acked: list[Key]) -> None:
        what = self.dice.random()
        if what < self.rejects:
            self.fates.giving_back([key], [], rejected=True)
            client.reject(tag)
        elif what < self.rejects + 0.1:
            self.fates.giving_back([key], [])
            client.nack(tag)
        else:
            acked.append(key)
            self.fates.acking(key)
            client.ack(tag)


def cast(stage: Stage, fates: Fates, seed: int) -> list[Actor]:
    def dice(name: str) -> random.Random:
        return random.Random(f"{seed} {stage.ledger.cycle} {name}")

    actors: list[Actor] = []
    for number, queue in enumerate(SOURCES, FIRST_PUBLISHER):
        actors.append(FeaturedPublisher(stage, fates, number, queue, dice(queue)))
    for queue in (RETRIED, RETRIED, RANKED, PLANNED, DEAD):
        name = f"consumer {len(actors)}"
        actors.append(FeaturedConsumer(stage, fates, queue, name, dice(name)))
    return actors


def drain(client: Client, fates: Fates) -> None:
    """Take everything out, until nothing is delayed, tried again or on its way any more."""
    client.qos(1_000)
    for queue in FEATURED:
        client.consume(queue)
    quiet = 0
    until = time.monotonic() + 120
    while quiet < 8:
        event = client.next(0.5)
        if isinstance(event, Delivery):
            quiet = 0
            key = fates.delivered(event.queue, event.body, event.redelivered, "the auditor")
            fates.acking(key)
            client.ack(event.tag)
        elif event is None:
            quiet += 1
        if time.monotonic() > until:
            fates.violated("it never comes to an end")
    for queue in FEATURED:
        client.cancel(queue)
    fates.audit()
