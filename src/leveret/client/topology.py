"""Queues, exchanges and bindings as values, and the record of what a client has declared.

The record is what is declared again on a new connection. It knows the methods' fields; it sends nothing itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from librt.strings import BytesWriter

from leveret.errors import InvalidMessage
from leveret.wire import methods, requests
from leveret.wire.table import encode_table

UNIQUE_HEADER = "x-unique-key"  # what the option `unique` of a message becomes


@dataclass(frozen=True)
class Retry:
    """How often, and after what delays, failed work is tried again.

    `jitter` is the part of a delay, 0 to 1, by which it varies; True is 0.2. With `dead_letter` what failed for the last
    time goes to a queue of its own (`QUEUE.dead`, or the name given); without, it is dropped.
    """

    max: int = 5
    backoff: str = "exponential"
    delay_s: float = 1.0
    max_delay_s: float = 3600.0
    multiplier: float = 2.0
    jitter: float | bool = False
    dead_letter: bool | str = True

    def __post_init__(self) -> None:
        if self.backoff not in ("fixed", "linear", "exponential"):
            raise ValueError(f"backoff is 'fixed', 'linear' or 'exponential', not {self.backoff!r}")
        if not 0 <= self.max <= 1000:
            raise ValueError(f"max is 0 to 1000 retries, not {self.max!r}")
        if self.delay_s < 0 or self.max_delay_s < self.delay_s:
            raise ValueError(f"delays are 0 or more, and max_delay_s not below delay_s ({self.delay_s!r})")
        if not 0 <= self.jitter_part <= 1:
            raise ValueError(f"jitter is a part from 0 to 1, not {self.jitter!r}")

    @property
    def jitter_part(self) -> float:
        return 0.2 if self.jitter is True else float(self.jitter)

    def delay_before(self, attempt: int) -> float:
        """Seconds before the delivery that follows failed attempt number `attempt` (1 is the first), without jitter."""
        if self.backoff == "fixed":
            delay = self.delay_s
        elif self.backoff == "linear":
            delay = self.delay_s * attempt
        else:
            delay = self.delay_s * self.multiplier ** min(attempt - 1, 64)
        return min(delay, self.max_delay_s)

    def policy(self) -> dict[str, object]:
        """As the argument `x-retry` of a queue."""
        return {
            "type": self.backoff,
            "delay": round(self.delay_s * 1000),
            "max-delay": round(self.max_delay_s * 1000),
            "multiplier": f"{self.multiplier:g}",
            "jitter": f"{self.jitter_part:g}",
            "max": self.max,
        }


@dataclass(frozen=True)
class Queue:
    """A queue to be declared. `arguments` are AMQP's, and win over what the other fields come to.

    type: 'classic' or 'quorum'. dead_letter: the queue that gets what was rejected (declared too, durable).
    retry, groups (the header that is the group; True is x-group-id), unique: of Leveret's broker.
    """

    name: str = ""
    durable: bool = True
    exclusive: bool = False
    auto_delete: bool = False
    type: str | None = None
    dead_letter: str | None = None
    retry: Retry | None = None
    groups: str | bool = False
    unique: str | None = None
    deduplicate_s: float | None = None
    max_priority: int | None = None
    max_length: int | None = None
    message_ttl_s: float | None = None
    expires_s: float | None = None
    single_active: bool = False
    arguments: Mapping[str, object] = field(default_factory=dict)

    def named(self, name: str) -> Queue:
        return replace(self, name=name)

    def with_dead_letter(self, name: str) -> Queue:
        return replace(self, dead_letter=name)

    def needs(self) -> dict[str, str]:
        """Features of the broker that it asks for beyond AMQP and RabbitMQ's, each with how to call it."""
        found: dict[str, str] = {}
        if self.groups:
            found["groups"] = f"the message groups of queue {self.name!r}"
        if self.unique:
            found["unique"] = f"the unique messages of queue {self.name!r}"
        if self.deduplicate_s is not None:
            found["deduplication"] = f"the deduplication of queue {self.name!r}"
        return found

    def table(self, with_retry: bool) -> dict[str, object]:
        """The arguments of queue.declare. `with_retry`: the broker has retry policies."""
        found: dict[str, object] = {}
        if self.type is not None:
            found["x-queue-type"] = self.type
        if self.dead_letter is not None:
            found["x-dead-letter-exchange"] = ""
            found["x-dead-letter-routing-key"] = self.dead_letter
        if self.retry is not None and with_retry:
            found["x-retry"] = self.retry.policy()
        if self.groups:
            found["x-group-header"] = self.groups
        if self.unique:
            found["x-unique"] = self.unique
            found["x-unique-header"] = UNIQUE_HEADER
        if self.deduplicate_s is not None:
            found["x-message-deduplication"] = round(self.deduplicate_s * 1000)
        if self.max_priority is not None:
            found["x-max-priority"] = self.max_priority
        if self.max_length is not None:
            found["x-max-length"] = self.max_length
        if self.message_ttl_s is not None:
            found["x-message-ttl"] = round(self.message_ttl_s * 1000)
        if self.expires_s is not None:
            found["x-expires"] = round(self.expires_s * 1000)
        if self.single_active:
            found["x-single-active-consumer"] = True
        found.update(self.arguments)
        return found

    def put(
        self, out: BytesWriter, channel: int, with_retry: bool, passive: bool = False, no_wait: bool = False
    ) -> None:
        requests.queue_declare(
            out,
            channel,
            self.name,
            passive,
            self.durable,
            self.exclusive,
            self.auto_delete,
            no_wait,
            encode_table(self.table(with_retry)),
        )


@dataclass(frozen=True)
class QueueInfo:
    """What the broker says of a queue: `messages` that are ready, `consumers` that it has."""

    name: str
    messages: int
    consumers: int


@dataclass(frozen=True)
class Exchange:
    """An exchange to be declared."""

    name: str
    kind: str = "topic"
    durable: bool = True
    auto_delete: bool = False
    internal: bool = False
    arguments: Mapping[str, object] = field(default_factory=dict)

    def put(self, out: BytesWriter, channel: int, passive: bool = False) -> None:
        requests.exchange_declare(
            out,
            channel,
            self.name,
            self.kind,
            passive,
            self.durable,
            self.auto_delete,
            self.internal,
            False,
            encode_table(dict(self.arguments)),
        )


@dataclass(frozen=True)
class Binding:
    """From an exchange to a queue, or to another exchange; `arguments` are what a headers exchange matches."""

    destination: str
    exchange: str
    key: str = ""
    arguments: tuple[tuple[str, object], ...] = ()
    to_exchange: bool = False

    @property
    def bound(self) -> int:
        """The answer to `put`."""
        return methods.EXCHANGE_BIND_OK if self.to_exchange else methods.QUEUE_BIND_OK

    @property
    def unbound(self) -> int:
        """The answer to `put_unbind`."""
        return methods.EXCHANGE_UNBIND_OK if self.to_exchange else methods.QUEUE_UNBIND_OK

    def put(self, out: BytesWriter, channel: int) -> None:
        bind = requests.exchange_bind if self.to_exchange else requests.queue_bind
        bind(
            out, channel, self.destination, self.exchange, self.key, False, encode_table(dict(self.arguments))
        )

    def put_unbind(self, out: BytesWriter, channel: int) -> None:
        table = encode_table(dict(self.arguments))
        if self.to_exchange:
            requests.exchange_unbind(out, channel, self.destination, self.exchange, self.key, False, table)
        else:
            requests.queue_unbind(out, channel, self.destination, self.exchange, self.key, table)


class Record:
    """What was declared and is still wanted, in an order in which it can be declared again."""

    def __init__(self) -> None:
        self.exchanges: dict[str, Exchange] = {}
        self.queues: dict[str, Queue] = {}
        self.bindings: list[Binding] = []

    def forget_queue(self, name: str) -> None:
        self.queues.pop(name, None)
        self.bindings = [each for each in self.bindings if each.to_exchange or each.destination != name]

    def forget_exchange(self, name: str) -> None:
        self.exchanges.pop(name, None)
        self.bindings = [
            each
            for each in self.bindings
            if each.exchange != name and not (each.to_exchange and each.destination == name)
        ]

    def add_binding(self, binding: Binding) -> None:
        if binding not in self.bindings:
            self.bindings.append(binding)

    def bindings_of(self, queue: str) -> list[Binding]:
        return [each for each in self.bindings if each.destination == queue and not each.to_exchange]

    def between_exchanges(self) -> list[Binding]:
        return [each for each in self.bindings if each.to_exchange]


def check_name(kind: str, name: str) -> str:
    """Raises InvalidMessage for what no broker takes for a name."""
    if len(name.encode("utf-8", "surrogateescape")) > 255:
        raise InvalidMessage(f"the name of a {kind} has at most 255 bytes: {name[:40]!r}...")
    return name
