"""The cycles: start, load, kill, start again, count; now and then everything is taken out and accounted for."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from . import actors, featured, stomping
from .actors import BACKLOG, COPY, FANOUT, QUEUES, WORK, Stage
from .broker import Broker, BrokerFailed
from .client import Client, Closed, Delivery, Window
from .fates import Fates
from .ledger import Key, Ledger, Violation, make_body

# Small segments, and little memory for what waits: a cycle fills segments, and the backlog is in pages.
OPTIONS = ("--set", "segment_bytes=8MiB", "--set", "pages_in_memory_bytes=2MiB")
BACKLOG_MESSAGES = 10_000
BACKLOG_PUBLISHER = 100
PUBLISHES = 20_000  # of each publisher in a cycle, at most
BACKLOG_TURNOVER = 3_000  # how many of the backlog come and go in a cycle, at most
AUDIT_EVERY = 20
JOIN_S = 60.0


class Torture:
    def __init__(
        self,
        cycles: int,
        seed: int,
        folder: Path | None = None,
        backlog: int = BACKLOG_MESSAGES,
        say: Callable[[str], None] = print,
        module: str = "leveret",
    ) -> None:
        self.cycles = cycles
        self.seed = seed
        self.dice = random.Random(seed)
        self.folder = Path(tempfile.mkdtemp(prefix="leveret-torture-")) if folder is None else folder
        self.backlog = backlog
        self.say = say
        self.ledger = Ledger()
        self.fates = Fates(featured.DEAD)
        self.broker = Broker(self.folder, *OPTIONS, module=module)
        self.kills = 0

    def run(self) -> list[str]:
        """What the broker broke; nothing if nothing. The directory stays only if something did."""
        broken: list[str] = []
        try:
            self.broker.start()
            self.declare()
            self.fill()
            for cycle in range(1, self.cycles + 1):
                self.ledger.cycle = self.fates.cycle = cycle
                self.one_cycle(cycle)
                if cycle % AUDIT_EVERY == 0 and cycle < self.cycles:
                    self.audit()
                    self.fill()
            self.audit()
            self.end()
        except (Violation, BrokerFailed, Closed, AssertionError) as error:
            broken = self.violations() or [f"cycle {self.ledger.cycle}: {type(error).__name__}: {error}"]
        finally:
            self.broker.kill()
        if not broken:
            shutil.rmtree(self.folder)
        return broken

    def violations(self) -> list[str]:
        return self.ledger.violations + self.fates.violations

    def counts(self) -> dict[str, int]:
        return self.ledger.counts | self.fates.counts

    # ---- parts of a cycle

    def one_cycle(self, cycle: int) -> None:
        started = time.monotonic()
        before = self.counts()
        stage = Stage(self.ledger, self.broker.port, self.broker.stomp_port, PUBLISHES, BACKLOG_TURNOVER)
        cast = actors.cast(stage, self.seed) + featured.cast(stage, self.fates, self.seed)
        cast += stomping.cast(stage, self.seed)
        for actor in cast:
            actor.start()
        stage.over.wait(self.dice.uniform(0.3, 2.5))  # nobody sets it yet: a pause
        stage.over.set()
        gently = self.dice.random() < 0.1
        if gently:
            self.stop()
        else:
            self.kill()
        for actor in cast:
            actor.join(JOIN_S)
            if actor.is_alive():
                raise BrokerFailed(f"{actor.name} hangs although the broker is gone")
        if self.violations() or stage.unforeseen:
            self.ledger.violations.extend(f"cycle {cycle}: {text}" for text in stage.unforeseen)
            raise Violation
        self.ledger.next_life()
        self.fates.next_life()
        kills = self.restart()
        self.count()
        spent = time.monotonic() - started
        done = {name: value - before[name] for name, value in self.counts().items()}
        how = "stopped" if gently else "killed" + (f", and {kills} times while starting" if kills else "")
        self.say(f"cycle {cycle}: {how}; {', '.join(f'{v} {k}' for k, v in done.items())}; {spent:.1f} s")

    def kill(self) -> None:
        self.require_no_errors()
        self.kills += 1
        self.broker.kill()

    def stop(self) -> None:
        self.broker.stop()
        self.require_no_errors()

    def restart(self) -> int:
        """Start again, sometimes killed while starting. The store must be without damage before each start."""
        kills = 0
        while kills < 3 and self.dice.random() < 0.25:
            kills += 1
            self.broker.launch()
            if self.broker.ends_within(self.dice.uniform(0.1, 0.6)):
                raise BrokerFailed(f"the broker ended while it started:\n{self.broker.log_text()}")
            self.kill()
        damage = self.broker.check_store()
        if damage:
            self.ledger.violated(f"store check finds damage: {damage}")
        self.broker.start()
        self.require_no_errors()
        return kills

    def require_no_errors(self) -> None:
        errors = self.broker.errors()
        if errors:
            self.ledger.violated("the broker logged an error: " + errors[0])

    def count(self) -> None:
        with Client(self.broker.port) as client:
            for queue in QUEUES:
                self.ledger.check_count(queue, client.declare(queue, passive=True))

    # ---- before and after

    def declare(self) -> None:
        with Client(self.broker.port) as client:
            client.declare_exchange(FANOUT, "fanout")
            for queue in QUEUES:
                client.declare(queue)
            for queue in (WORK, COPY):
                client.bind(queue, FANOUT)
            featured.declare(client)

    def fill(self) -> None:
        """The standing backlog, with a large message here and there."""
        with Client(self.broker.port) as client:
            client.confirm()
            window = Window()
            sent = 0
            while sent < self.backlog or window:
                while sent < self.backlog and len(window) < 500:
                    sent += 1
                    large = sent % 900 == 0
                    size = (
                        self.dice.randrange(1_000_000, 3_000_000) if large else self.dice.randrange(22, 3_000)
                    )
                    key = (BACKLOG_PUBLISHER, self.ledger.number(BACKLOG_PUBLISHER))
                    window.published(key)
                    self.ledger.sending((BACKLOG,), key)
                    client.send(client.content("", BACKLOG, make_body(*key, size)))
                event = client.next()
                if event is None:
                    raise AssertionError("the backlog is not confirmed")
                for key in window.confirmed(event):
                    self.ledger.confirmed((BACKLOG,), key)

    def audit(self) -> None:
        """Take out everything that is there, and account for it."""
        with Client(self.broker.port) as client:
            client.qos(1_000)
            for queue in QUEUES:
                waiting = client.declare(queue, passive=True)
                last: dict[Key, int] = {}
                if waiting:
                    client.consume(queue)
                for index in range(waiting):
                    event = client.next()
                    if not isinstance(event, Delivery):
                        self.ledger.violated(f"{queue} promised {waiting} messages and gave {index}")
                        raise AssertionError
                    key = self.ledger.delivered(queue, event.body, event.redelivered, last)
                    self.ledger.acking(queue, [key])
                    client.ack(event.tag)
                if waiting:
                    client.cancel(queue)
            featured.drain(client, self.fates)
            client.close()
        self.ledger.audit()
        self.say(f"audit after cycle {self.ledger.cycle}: nothing is missing")

    def end(self) -> None:
        """A clean stop after all was settled: sound on disk, and nothing comes back."""
        self.stop()
        damage = self.broker.check_store()
        if damage:
            self.ledger.violated(f"store check finds damage: {damage}")
        self.broker.start()
        with Client(self.broker.port) as client:
            for queue in (*QUEUES, *featured.FEATURED):
                waiting = client.declare(queue, passive=True)
                if waiting:
                    self.ledger.violated(
                        f"{waiting} settled messages of {queue} came back after a clean stop"
                    )
        self.stop()
