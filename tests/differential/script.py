"""Words to write scenarios in. A `Script` collects operations; what it draws by lot comes from its `rng` only."""

from __future__ import annotations

import random
from typing import Any

from .scenario import Op

TTL_MS = 40  # of what is meant to expire; everything else lives for a minute or for ever
WAIT_MS = 450  # after which it has: a tick of the broker, and a loaded machine, later


class Script:
    def __init__(self, rng: random.Random, version: str, length: int) -> None:
        self.rng = rng
        self.version = version
        self.length = length
        self.ops: list[Op] = []
        self.bodies = 0

    @property
    def new(self) -> bool:
        """Is it about RabbitMQ 4?"""
        return not self.version.startswith("3.")

    def maybe(self, chance: float = 0.5) -> bool:
        return self.rng.random() < chance

    def do(self, kind: str, on: str = "a1", **args: Any) -> None:
        self.ops.append(Op(kind, args, on))

    def queue(self, name: str, arguments: dict[str, Any] | None = None, on: str = "a1", **args: Any) -> None:
        args = {"durable": True} | args
        self.do("queue.declare", on, queue=name, **args, arguments=arguments or {})

    def exchange(
        self, name: str, kind: str, arguments: dict[str, Any] | None = None, on: str = "a1", **args: Any
    ) -> None:
        self.do("exchange.declare", on, exchange=name, type=kind, **args, arguments=arguments or {})

    def bind(self, queue: str, exchange: str, key: str = "", arguments: dict[str, Any] | None = None) -> None:
        self.do("queue.bind", queue=queue, exchange=exchange, routing_key=key, arguments=arguments or {})

    def publish(
        self,
        key: str,
        exchange: str = "",
        on: str = "a1",
        times: int = 0,
        mandatory: bool = False,
        **properties: Any,
    ) -> None:
        self.bodies += 1
        args: dict[str, Any] = {"exchange": exchange, "routing_key": key, "body": f"m{self.bodies}"}
        if times:
            args |= {"times": times, "body": args["body"] + "."}
        if mandatory:
            args["mandatory"] = True
        self.do("basic.publish", on, **args, properties=properties)

    def consume(
        self, queue: str, tag: str, on: str = "a1", arguments: dict[str, Any] | None = None, **args: Any
    ) -> None:
        self.do("basic.consume", on, queue=queue, consumer_tag=tag, **args, arguments=arguments or {})

    def qos(self, count: int, on: str = "a1", global_qos: bool = False) -> None:
        self.do("basic.qos", on, prefetch_count=count, global_qos=global_qos)

    def get(self, queue: str, on: str = "a1", no_ack: bool = False) -> None:
        self.do("basic.get", on, queue=queue, no_ack=no_ack)

    def ack(self, of: int = 0, on: str = "a1", multiple: bool = False) -> None:
        self.do("basic.ack", on, of=of, multiple=multiple)

    def nack(self, of: int = 0, on: str = "a1", multiple: bool = False, requeue: bool = True) -> None:
        self.do("basic.nack", on, of=of, multiple=multiple, requeue=requeue)

    def reject(self, of: int = 0, on: str = "a1", requeue: bool = True) -> None:
        self.do("basic.reject", on, of=of, requeue=requeue)

    def wait(self, ms: int = WAIT_MS) -> None:
        self.do("wait", ms=ms)

    def drain(self, queue: str, count: int, on: str = "a1", no_ack: bool = True) -> None:
        for _ in range(count):
            self.get(queue, on, no_ack=no_ack)

    def settle_somehow(self, on: str = "a1") -> None:
        rng = self.rng
        of = rng.choice((0, 0, 0, 1, -1))
        kind = rng.choice(("ack", "ack", "nack", "reject", "requeue"))
        if kind == "ack":
            self.ack(of, on, multiple=self.maybe(0.3))
        elif kind == "nack":
            self.nack(of, on, multiple=self.maybe(0.3), requeue=False)
        elif kind == "requeue":
            self.nack(of, on, multiple=self.maybe(0.3), requeue=True)
        else:
            self.reject(of, on, requeue=self.maybe())

    def some_properties(self) -> dict[str, Any]:
        """A few properties that mean nothing to a queue, and persistence."""
        rng = self.rng
        found: dict[str, Any] = {}
        if self.maybe():
            found["delivery_mode"] = rng.choice((1, 2))
        if self.maybe(0.2):
            found["priority"] = rng.choice((0, 1, 3, 9, 255))
        if self.maybe(0.2):
            found["headers"] = rng.choice(({}, {"k": "v"}, {"n": 1, "deep": {"a": [1, True, None, 1.5]}}))
        if self.maybe(0.1):
            found |= {"content_type": "text/plain", "correlation_id": "c", "message_id": "i", "timestamp": 1}
        return found
