"""What every line has at hand: the brokers of this run, the generators, and how long to measure."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import disk
from bench.brokers import Broker, Leveret, RabbitMq310, port_and_pid, python_beside
from bench.figures import Figure, median
from bench.generators import Figures, Run

DURABLE = ["--durable", "--persistent", "--confirm", "1000"]
Series = dict[str, list[float]]


@dataclass
class Options:
    leveret: str
    leveret_options: str = ""
    uncompiled: str = ""  # the command of an uncompiled one
    apps: str = ""  # the interpreter that has Celery and Dramatiq
    rabbitmq: str = ""  # "": start 3.10.8 if it is installed; "none"; or "port[,pid]"
    rabbitmq_stomp: str = ""  # the port where the latter speaks STOMP
    seconds: float = 5.0
    warmup: float = 1.0
    pairs: int = 3
    backlog: int = 5_000_000
    backlog_large: int = 20_000_000
    waiting: int = 1_000_000
    idle: int = 10_000
    log_bytes: int = 4 * 67_108_864


@dataclass
class Bench:
    options: Options
    directory: Path
    amqpload: Path
    pairload: Path
    stompload: Path
    _rival: Broker | None = None
    _rival_known: bool = False
    names: int = 0
    notes: list[str] = field(default_factory=list)

    # ---- brokers

    @contextmanager
    def leveret(self, uncompiled: bool = False, stomp: bool = False) -> Iterator[Leveret]:
        """A fresh one, with an empty data directory. stomp: with a listener for it."""
        command = self.options.uncompiled if uncompiled else self.options.leveret
        broker = Leveret(self.fresh("leveret"), command, self.options.leveret_options, stomp)
        try:
            broker.start()
            yield broker
        finally:
            broker.stop()

    def fresh(self, name: str) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.directory))

    def rival(self) -> Broker | None:
        """RabbitMQ, started once for the whole run; None when there is none."""
        if not self._rival_known:
            self._rival_known = True
            self._rival = self._find_rival()
            if self._rival is not None:
                self._rival.start()
        return self._rival

    def _find_rival(self) -> Broker | None:
        where = self.options.rabbitmq
        if where == "none":
            return None
        if where:
            broker = Broker(*port_and_pid(where))
            broker.name = "RabbitMQ"
            return broker
        return RabbitMq310(self.fresh("rabbitmq")) if RabbitMq310.installed() else None

    @contextmanager
    def stomp_rival(self) -> Iterator[Broker | None]:
        """RabbitMQ with its STOMP plugin: one of its own, so that the plugin is loaded for these lines only."""
        where = self.options.rabbitmq
        if where == "none" or (where and not self.options.rabbitmq_stomp):
            yield None
        elif where:
            broker = self.rival()
            assert broker is not None
            broker.stomp_port, _ = port_and_pid(self.options.rabbitmq_stomp)
            yield broker
        elif not RabbitMq310.installed():
            yield None
        else:
            started = RabbitMq310(self.fresh("rabbitmq-stomp"), stomp=True)
            try:
                started.start()
                yield started
            finally:
                started.stop()

    def close(self) -> None:
        if self._rival is not None:
            self._rival.stop()

    # ---- programs

    def python(self) -> str:
        """The interpreter of the environment that `leveret` is in: our client's, aio-pika's and pika's too."""
        return python_beside(self.options.leveret)

    # ---- loads

    def queue(self) -> str:
        """A name not used before, since a broker given to us keeps its queues."""
        self.names += 1
        return f"bench-{self.names}-{self.directory.name}"

    def start_load(self, broker: Broker, *options: str, own: bool = False, count: bool = False) -> Run:
        """amqpload, or our pairload when `own`. `count`: the options say when it ends, not the clock."""
        words = [str(self.pairload if own else self.amqpload), "--port", str(broker.port)]
        if not own:
            words.append("--json")
        if "--queue" not in options:
            words += ["--queue", self.queue(), "--delete"]
        if not count:
            words += ["--secs", f"{self.options.seconds:g}", "--warmup", f"{self.options.warmup:g}"]
        if broker.pid:
            words += ["--broker-pid", str(broker.pid)]
        return Run([*words, *options])

    def stomp_load(self, broker: Broker, queue: str, *options: str) -> Figures:
        words = [str(self.stompload), "--port", str(broker.stomp_port), "--queue", queue]
        words += ["--secs", f"{self.options.seconds:g}", "--warmup", f"{self.options.warmup:g}"]
        if broker.pid:
            words += ["--broker-pid", str(broker.pid)]
        return Run([*words, *options]).figures()

    def load(self, broker: Broker, *options: str, own: bool = False) -> Figures:
        return self.start_load(broker, *options, own=own).figures()

    def in_turns(self, works: dict[str, Callable[[], Figures]]) -> dict[str, Series]:
        """Each work once, then each once more, `pairs` times: what the machine does meanwhile meets all alike."""
        seen: dict[str, Series] = {name: {} for name in works}
        for _ in range(self.options.pairs):
            for name, work in works.items():
                for key, value in work().items():
                    seen[name].setdefault(key, []).append(value)
        return seen

    def versus(self, broker: Broker, *options: str, own: bool = False) -> tuple[Figures, Figures]:
        """Medians of the same load on `broker` and on RabbitMQ (empty when there is none), in turns."""
        works: dict[str, Callable[[], Figures]] = {"leveret": lambda: self.load(broker, *options, own=own)}
        rival = self.rival()
        if rival is not None:
            works["rival"] = lambda: self.load(rival, *options, own=own)
        seen = self.in_turns(works)
        return medians(seen["leveret"]), medians(seen.get("rival", {}))

    def disk(self) -> disk.Disk:
        return disk.measure(self.directory)


def medians(series: Series) -> Figures:
    return {name: median(values) for name, values in series.items()}


@dataclass(frozen=True)
class Line:
    """A line of the table."""

    name: str
    text: str
    run: Callable[[Bench], list[Figure]]
    programs: bool = False  # it runs the programs of sides/, and needs no load generator
