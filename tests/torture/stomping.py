"""Those who load the broker over STOMP, on the queues of those who do over AMQP: both get what both publish.

A receipt counts as a confirm, and says the same of every publish before it.
"""

from __future__ import annotations

import random
from collections import deque

from .actors import BURST, COPY, FANOUT, HELD_MOST, IDLE_S, PREFETCH, TXQ, WINDOW, WORK, Actor, Stage, size_of
from .ledger import Key, make_body
from .stomp import Frame, StompClient, frame

PUBLISHER, FANNER, TX_PUBLISHER = 11, 12, 13
RECEIPT_EVERY = 7
STUCK_BUFFER_BYTES = 4_096
STUCK_PREFETCH = 200


class StompPublisher(Actor):
    """Persistent SENDs, with a receipt now and then, and a window of them."""

    def __init__(
        self, stage: Stage, number: int, destination: str, queues: tuple[str, ...], dice: random.Random
    ) -> None:
        super().__init__(stage, f"stomp publisher {number}", dice)
        self.number = number
        self.destination = destination
        self.queues = queues
        self.left = stage.publishes

    def act(self) -> None:
        with StompClient(self.stage.stomp_port) as client:
            window: deque[Key] = deque()  # without a receipt, in order
            while not self.stage.over.is_set() or window:
                burst = self.burst(window)
                try:
                    if burst:
                        client.send(burst)
                finally:  # what was confirmed before a crash counts, also when the crash was noticed by sending
                    self.take(client, window, IDLE_S if not burst or len(window) >= WINDOW else 0.0)

    def burst(self, window: deque[Key]) -> bytes:
        """As many as there is room for, the last of every RECEIPT_EVERY with a receipt."""
        room = 0 if self.stage.over.is_set() else min(BURST, self.left, WINDOW - len(window))
        frames: list[bytes] = []
        for index in range(room // RECEIPT_EVERY * RECEIPT_EVERY):
            key = (self.number, self.ledger.number(self.number))
            window.append(key)
            self.ledger.sending(self.queues, key)
            body = make_body(*key, size_of(self.dice))
            receipt = {} if (index + 1) % RECEIPT_EVERY else {"receipt": str(key[1])}
            frames.append(frame("SEND", body, destination=self.destination, persistent="true", **receipt))
        self.left -= len(frames)
        return b"".join(frames)

    def take(self, client: StompClient, window: deque[Key], wait_s: float) -> None:
        event = client.next(wait_s)
        while event is not None:
            upto = int(event.headers["receipt-id"])
            while window and window[0][1] <= upto:
                self.ledger.confirmed(self.queues, window.popleft())
            event = client.next(0.0)


class StompTxPublisher(Actor):
    """Transactions of some SENDs to two queues."""

    def __init__(self, stage: Stage, number: int, dice: random.Random) -> None:
        super().__init__(stage, f"stomp tx publisher {number}", dice)
        self.number = number
        self.left = stage.publishes

    def act(self) -> None:
        with StompClient(self.stage.stomp_port) as client:
            while self.left > 0 and not self.stage.over.is_set():
                count = self.dice.randrange(2, 30)
                large = self.dice.random() < 0.03  # more than a block of the log
                self.left -= count
                tx = self.ledger.number(-self.number)
                keys: list[tuple[str, Key]] = []
                frames = [frame("BEGIN", transaction=str(tx))]
                for index in range(count):
                    key = (self.number, self.ledger.number(self.number))
                    queue = self.dice.choice((COPY, TXQ))
                    keys.append((queue, key))
                    size = self.dice.randrange(200_000, 800_000) if large else size_of(self.dice)
                    body = make_body(*key, size, tx, count, index)
                    to = f"/amq/queue/{queue}"
                    frames.append(frame("SEND", body, destination=to, persistent="true", transaction=str(tx)))
                self.ledger.begin(self.number, tx, keys)
                client.send(b"".join(frames))
                client.ask("COMMIT", transaction=str(tx))
                self.ledger.committed(self.number, tx)
            self.stage.over.wait()


class StompConsumer(Actor):
    """Acks one by one or many at once, requeues, holds, unsubscribes and comes back, closes, or goes without a word."""

    def __init__(self, stage: Stage, queue: str, ack: str, name: str, dice: random.Random) -> None:
        super().__init__(stage, name, dice)
        self.queue = queue
        self.mode = ack
        self.acked: list[Key] = []  # on this connection

    def act(self) -> None:
        with StompClient(self.stage.stomp_port) as client:
            client.subscribe(self.queue, PREFETCH, self.mode)
            held: list[tuple[Frame, Key]] = []
            self.acked = []
            last: dict[Key, int] = {}
            until = self.dice.randrange(200, 3_000)
            while not self.stage.over.is_set() and until > 0:
                event = client.next(IDLE_S)
                if event is not None and event.command == "MESSAGE":
                    until -= 1
                    key = self.ledger.delivered(self.queue, event.body, event.redelivered, last)
                    held.append((event, key))
                if len(held) > HELD_MOST or (event is None and held):
                    self.settle(client, held)
            if self.dice.random() < 0.5:
                client.close()
            else:
                self.ledger.dropping(self.queue, self.acked)

    def settle(self, client: StompClient, held: list[tuple[Frame, Key]]) -> None:
        what = self.dice.random()
        if self.mode == "client":  # all up to this one, whether ACK or NACK
            upto = self.dice.randrange(len(held)) + 1
            keys = [key for _, key in held[:upto]]
            message = held[upto - 1][0]
            del held[:upto]
        else:
            message, key = held.pop(self.dice.randrange(len(held)))
            keys = [key]
        if what < 0.9:
            self.acked += keys
            self.ledger.acking(self.queue, keys)
            client.send(frame("ACK", id=message.headers["ack"]))
        else:
            self.ledger.requeueing(len(keys))
            client.send(frame("NACK", id=message.headers["ack"]))


class StompTxConsumer(Actor):
    """Acks in transactions: a committed ack is known to be on disk."""

    def act(self) -> None:
        with StompClient(self.stage.stomp_port) as client:
            client.subscribe(TXQ, PREFETCH, "client-individual")
            held: list[tuple[Frame, Key]] = []
            last: dict[Key, int] = {}
            number = 0
            while not self.stage.over.is_set():
                event = client.next(IDLE_S)
                if event is not None:
                    key = self.ledger.delivered(TXQ, event.body, event.redelivered, last)
                    held.append((event, key))
                if held and (len(held) > HELD_MOST or event is None):
                    number += 1
                    keys = [key for _, key in held]
                    self.ledger.acking(TXQ, keys)
                    acks = [
                        frame("ACK", id=message.headers["ack"], transaction=str(number))
                        for message, _ in held
                    ]
                    client.send(frame("BEGIN", transaction=str(number)) + b"".join(acks))
                    client.ask("COMMIT", transaction=str(number))
                    self.ledger.acks_committed(TXQ, keys)
                    held.clear()


class StuckReader(Actor):
    """Asks for messages and reads nothing of them: what it was given is for others once it is gone."""

    def act(self) -> None:
        with StompClient(self.stage.stomp_port, STUCK_BUFFER_BYTES) as client:
            client.subscribe(self.dice.choice((WORK, COPY)), STUCK_PREFETCH, "client")
            self.stage.over.wait(self.dice.uniform(0.2, 1.0))


def cast(stage: Stage, seed: int) -> list[Actor]:
    def dice(name: str) -> random.Random:
        return random.Random(f"{seed} {stage.ledger.cycle} stomp {name}")

    return [
        StompPublisher(stage, PUBLISHER, f"/queue/{WORK}", (WORK,), dice("1")),
        StompPublisher(stage, FANNER, f"/exchange/{FANOUT}", (WORK, COPY), dice("2")),
        StompTxPublisher(stage, TX_PUBLISHER, dice("3")),
        StompConsumer(stage, WORK, "client-individual", "stomp consumer 1", dice("4")),
        StompConsumer(stage, COPY, "client", "stomp consumer 2", dice("5")),
        StompTxConsumer(stage, "stomp tx consumer", dice("6")),
        StuckReader(stage, "stuck reader", dice("7")),
    ]
