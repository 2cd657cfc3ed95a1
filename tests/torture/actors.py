"""Those who load the broker: threads with a connection each, that go on until the broker is killed under them.

Every choice comes from a `random.Random` of the actor's own. What happened is told to the ledger: a publish before it
is sent, a confirm when it is read, an ack before it is sent.
"""

from __future__ import annotations

import random
import threading
from abc import abstractmethod

from .client import Client, Closed, Delivery, Window
from .ledger import Key, Ledger, Violation, make_body

BURST = 40
WINDOW = 400
HELD_MOST = 30
PREFETCH = 100
IDLE_S = 0.02
FANOUT = "torture.fanout"
# Who publishes what where: publisher, exchange, routing key, and the queues it comes to.
WORK, COPY, TXQ, BACKLOG = "torture.work", "torture.copy", "torture.tx", "torture.backlog"
QUEUES = (WORK, COPY, TXQ, BACKLOG)


class Stage:
    """What the actors of a cycle share.

    Each publisher sends so many messages at most; the backlog has a limit of its own.
    """

    def __init__(self, ledger: Ledger, port: int, stomp_port: int, publishes: int, turnover: int) -> None:
        self.ledger = ledger
        self.port = port
        self.stomp_port = stomp_port
        self.publishes = publishes
        self.turnover = turnover
        self.over = threading.Event()  # the broker is about to be killed: what breaks now, may
        self.unforeseen: list[str] = []


class Actor(threading.Thread):
    def __init__(self, stage: Stage, name: str, dice: random.Random) -> None:
        super().__init__(name=name, daemon=True)
        self.stage = stage
        self.ledger = stage.ledger
        self.dice = dice

    def run(self) -> None:
        try:
            while not self.stage.over.is_set():
                self.act()
        except Violation:
            pass  # the ledger has it
        except Closed as error:
            if not self.stage.over.is_set():
                self.stage.unforeseen.append(f"{self.name}: the broker closed the connection: {error}")
        except Exception as error:
            self.stage.unforeseen.append(f"{self.name}: {type(error).__name__}: {error}")

    @abstractmethod
    def act(self) -> None:
        """One connection's life."""


def size_of(dice: random.Random) -> int:
    kind = dice.random()
    if kind < 0.002:
        return dice.randrange(1_000_000, 3_000_000)
    if kind < 0.01:
        return dice.randrange(20_000, 300_000)
    return dice.randrange(22, 2_000)


class Publisher(Actor):
    """With confirms, a window of them at a time."""

    def __init__(
        self, stage: Stage, number: int, exchange: str, key: str, queues: tuple[str, ...], dice: random.Random
    ) -> None:
        super().__init__(stage, f"publisher {number}", dice)
        self.number = number
        self.exchange = exchange
        self.key = key
        self.queues = queues
        self.left = stage.turnover if key == BACKLOG else stage.publishes

    def act(self) -> None:
        with Client(self.stage.port) as client:
            client.confirm()
            window = Window()
            while not self.stage.over.is_set() or window:
                burst: list[bytes] = []
                while len(burst) < BURST and len(window) < WINDOW and self.may_go_on():
                    key = (self.number, self.ledger.number(self.number))
                    window.published(key)
                    self.ledger.sending(self.queues, key)
                    burst.append(client.content(self.exchange, self.key, make_body(*key, size_of(self.dice))))
                try:
                    if burst:
                        client.send(b"".join(burst))
                finally:  # what was confirmed before a crash counts, also when the crash was noticed by sending
                    self.take(client, window, IDLE_S if not burst or len(window) >= WINDOW else 0.0)

    def may_go_on(self) -> bool:
        self.left -= 1
        return self.left >= 0 and not self.stage.over.is_set()

    def take(self, client: Client, window: Window, wait_s: float) -> None:
        event = client.next(wait_s)
        while event is not None:
            for key in window.confirmed(event):
                self.ledger.confirmed(self.queues, key)
            event = client.next(0.0)


class TxPublisher(Actor):
    """Transactions of some publishes to two queues."""

    def __init__(self, stage: Stage, number: int, dice: random.Random) -> None:
        super().__init__(stage, f"tx publisher {number}", dice)
        self.number = number
        self.left = stage.publishes

    def act(self) -> None:
        with Client(self.stage.port) as client:
            client.tx()
            while self.left > 0 and not self.stage.over.is_set():
                count = self.dice.randrange(2, 30)
                large = self.dice.random() < 0.03  # more than a block of the log
                self.left -= count
                tx = self.ledger.number(-self.number)
                keys: list[tuple[str, Key]] = []
                frames: list[bytes] = []
                for index in range(count):
                    key = (self.number, self.ledger.number(self.number))
                    queue = self.dice.choice((COPY, TXQ))
                    keys.append((queue, key))
                    size = self.dice.randrange(200_000, 800_000) if large else size_of(self.dice)
                    body = make_body(*key, size, tx, count, index)
                    frames.append(client.content("", queue, body))
                self.ledger.begin(self.number, tx, keys)
                client.send(b"".join(frames))
                client.commit()
                self.ledger.committed(self.number, tx)
            self.stage.over.wait()


class Consumer(Actor):
    """Acks one by one or many at once, requeues, holds, cancels and comes back, closes, or goes without a word."""

    def __init__(self, stage: Stage, queue: str, name: str, dice: random.Random) -> None:
        super().__init__(stage, name, dice)
        self.queue = queue
        self.acked: list[Key] = []  # on this connection

    def act(self) -> None:
        with Client(self.stage.port) as client:
            client.qos(PREFETCH)
            client.consume(self.queue)
            held: list[tuple[int, Key]] = []
            self.acked = []
            last: dict[Key, int] = {}
            until = self.dice.randrange(200, 3_000)
            while not self.stage.over.is_set() and until > 0:
                event = client.next(IDLE_S)
                if isinstance(event, Delivery):
                    until -= 1
                    key = self.ledger.delivered(self.queue, event.body, event.redelivered, last)
                    held.append((event.tag, key))
                if len(held) > HELD_MOST or (event is None and held):
                    self.settle(client, held)
                if self.dice.random() < 0.002:
                    client.cancel(self.queue)
                    client.consume(self.queue)
            if self.dice.random() < 0.5:
                client.close()
            else:
                self.ledger.dropping(self.queue, self.acked)

    def settle(self, client: Client, held: list[tuple[int, Key]]) -> None:
        what = self.dice.random()
        if what < 0.5:
            tag, key = held.pop(self.dice.randrange(len(held)))
            self.ack(client, tag, [key], False)
        elif what < 0.9:
            upto = self.dice.randrange(len(held)) + 1
            self.ack(client, held[upto - 1][0], [key for _, key in held[:upto]], True)
            del held[:upto]
        else:
            self.ledger.requeueing(1)
            client.nack(held.pop(self.dice.randrange(len(held)))[0])

    def ack(self, client: Client, tag: int, keys: list[Key], multiple: bool) -> None:
        self.acked += keys
        self.ledger.acking(self.queue, keys)
        client.ack(tag, multiple)


class TxConsumer(Actor):
    """Acks in transactions: a committed ack is known to be on disk."""

    def act(self) -> None:
        with Client(self.stage.port) as client:
            client.qos(PREFETCH)
            client.tx()
            client.consume(TXQ)
            held: list[tuple[int, Key]] = []
            last: dict[Key, int] = {}
            while not self.stage.over.is_set():
                event = client.next(IDLE_S)
                if isinstance(event, Delivery):
                    key = self.ledger.delivered(TXQ, event.body, event.redelivered, last)
                    held.append((event.tag, key))
                if held and (len(held) > HELD_MOST or event is None):
                    keys = [key for _, key in held]
                    self.ledger.acking(TXQ, keys)
                    client.ack(held[-1][0], multiple=True)
                    client.commit()
                    self.ledger.acks_committed(TXQ, keys)
                    held.clear()


class SlowConsumer(Actor):
    """Takes from the front of the backlog no more than comes in at its end."""

    def act(self) -> None:
        with Client(self.stage.port) as client:
            client.qos(50)
            client.consume(BACKLOG)
            last: dict[Key, int] = {}
            left = self.stage.turnover
            while not self.stage.over.is_set() and left > 0:
                event = client.next(IDLE_S)
                if isinstance(event, Delivery):
                    left -= 1
                    key = self.ledger.delivered(BACKLOG, event.body, event.redelivered, last)
                    self.ledger.acking(BACKLOG, [key])
                    client.ack(event.tag)
            client.cancel(BACKLOG)
            self.stage.over.wait()


def cast(stage: Stage, seed: int) -> list[Actor]:
    """Everybody of a cycle."""

    def dice(name: str) -> random.Random:
        return random.Random(f"{seed} {stage.ledger.cycle} {name}")

    return [
        Publisher(stage, 1, "", WORK, (WORK,), dice("1")),
        Publisher(stage, 2, FANOUT, "", (WORK, COPY), dice("2")),
        Publisher(stage, 3, "", BACKLOG, (BACKLOG,), dice("3")),
        TxPublisher(stage, 4, dice("4")),
        Consumer(stage, WORK, "consumer 1", dice("5")),
        Consumer(stage, WORK, "consumer 2", dice("6")),
        Consumer(stage, COPY, "consumer 3", dice("7")),
        TxConsumer(stage, "tx consumer", dice("8")),
        SlowConsumer(stage, "slow consumer", dice("9")),
    ]
