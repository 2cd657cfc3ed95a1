"""Scenarios about declaring and routing, and random walks over everything."""

from __future__ import annotations

from typing import Any

from .scenario import Typed
from .script import TTL_MS, Script

# for each argument values that are right, odd and wrong
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "x-message-ttl": (0, 60000, Typed("s", 60), Typed("l", 60000), -1, "60000", 1.5, True, 1 << 40),
    "x-expires": (60000, Typed("l", 60000), 0, -1, "60000", 1 << 40),
    "x-dead-letter-exchange": ("", "amq.direct", "~nowhere", 1, True),
    "x-dead-letter-routing-key": ("k", "", 5),
    "x-max-length": (0, 5, -1, "5", Typed("b", 5)),
    "x-max-length-bytes": (0, 500, -1, "5"),
    "x-overflow": ("drop-head", "reject-publish", "reject-publish-dlx", "nonsense", 1),
    "x-max-priority": (0, 1, 10, 255, 256, -1, "5"),
    "x-single-active-consumer": (True, False, "true", 1),
    "x-delivery-limit": (0, 5, -1, "5"),
    "x-queue-type": ("classic", "quorum", "nonsense", 1),
    "x-queue-mode": ("lazy", "default", "nonsense"),
    "x-queue-version": (1, 2, 3),
    "x-queue-leader-locator": ("client-local", "balanced", "nonsense"),
    "x-quorum-initial-group-size": (1, 0, "1"),
    "x-dead-letter-strategy": ("at-most-once", "nonsense"),
    "x-consumer-timeout": (60000, 0, "5", -1),
    "x-unknown": (1, "a"),
    "unknown": (1, "a"),
}
# what RabbitMQ 3.10 checks as 4.3 does
_LATER = {"x-consumer-timeout", "x-queue-mode", "x-queue-version", "x-queue-leader-locator"}
_OLD = [name for name in ARGUMENTS if name not in _LATER]


def arguments(s: Script) -> None:
    """Declare with arguments, again with the same, and with others."""
    rng = s.rng
    names = list(ARGUMENTS) if s.new else _OLD
    for number in range(s.length // 4):
        name = f"~q{number}"
        chosen = {key: rng.choice(ARGUMENTS[key]) for key in rng.sample(names, rng.choice((1, 1, 2, 3)))}
        flags: dict[str, Any] = {
            "durable": s.maybe(0.9),
            "exclusive": s.maybe(0.1),
            "auto_delete": s.maybe(0.1),
        }
        if not flags["durable"]:
            flags["exclusive"] = True
        s.queue(name, chosen, **flags)
        if s.maybe(0.5):
            s.queue(name, chosen, on=rng.choice(("a1", "b1")), **flags)
        if s.maybe(0.5):
            other = dict(chosen)
            key = rng.choice(names)
            other[key] = rng.choice(ARGUMENTS[key])
            s.queue(name, other, **flags)
        if s.maybe(0.3):
            s.queue(name, {}, passive=s.maybe(), **flags)
        if s.maybe(0.3):
            s.consume(name, f"c{number}", arguments={"x-priority": rng.choice((1, "1", -1, 1.5, 1 << 40))})


def exchanges(s: Script) -> None:
    """Exchanges of every type, bound to queues and to each other, with somewhere else for what has no way."""
    rng = s.rng
    keys = ("a", "a.b", "a.b.c", "", "#", "*.b", "a.#")
    for name in ("~x1", "~x2", "~x3"):
        arguments: dict[str, Any] = {}
        if s.maybe(0.3):
            arguments["alternate-exchange"] = rng.choice(
                ("~x1", "~x2", "~x3", "~missing", 5 if s.maybe(0.2) else "~x1")
            )
        s.exchange(
            name,
            rng.choice(("direct", "fanout", "topic", "headers")),
            arguments,
            durable=s.maybe(),
            internal=s.maybe(0.1),
            auto_delete=s.maybe(0.2),
        )
    for name in ("~q1", "~q2", "~q3"):
        s.queue(name)
    for _ in range(s.length):
        way = rng.randrange(14)
        x, y = rng.choice(("~x1", "~x2", "~x3")), rng.choice(("~x1", "~x2", "~x3"))
        key, q = rng.choice(keys), rng.choice(("~q1", "~q2", "~q3"))
        table = rng.choice(
            ({}, {}, {"x-match": "any", "h": 1}, {"x-match": "all", "h": 1, "g": "s"}, {"x-match": "no"})
        )
        if way < 3:
            s.bind(q, x, key, table)
        elif way == 3:
            s.do("queue.unbind", queue=q, exchange=x, routing_key=key, arguments=table)
        elif way == 4:
            s.do("exchange.bind", destination=y, source=x, routing_key=key, arguments=table)
        elif way == 5:
            s.do("exchange.unbind", destination=y, source=x, routing_key=key, arguments=table)
        elif way == 6:
            s.do(rng.choice(("exchange.delete",)), exchange=y, if_unused=s.maybe())
        elif way == 7:
            s.do("queue.delete", queue=q, if_unused=s.maybe(), if_empty=s.maybe())
        elif way == 8:
            s.exchange(
                y, rng.choice(("direct", "topic", "nonsense" if s.new else "fanout")), passive=s.maybe(0.3)
            )
        else:
            headers: dict[str, Any] = rng.choice(({}, {"h": 1}, {"h": 1, "g": "s"}))
            if s.maybe(0.2):
                headers = headers | {rng.choice(("CC", "BCC")): rng.choice((["a"], ["a.b", "a"], "a", [1]))}
            properties: dict[str, Any] = {"headers": headers} if headers else {}
            s.publish(key, x, mandatory=s.maybe(0.4), **properties)
    for name in ("~q1", "~q2", "~q3"):
        s.drain(name, 2)


def walk(s: Script) -> None:
    """Anything after anything. After what may expire there is a wait, so that it has."""
    rng = s.rng
    timed = s.maybe(0.3)
    queues, channels = ("~q1", "~q2", "~q3"), ("a1", "b1", "c1")
    for name in queues:
        s.queue(name, _features(s, timed))
    s.exchange("~x", rng.choice(("fanout", "topic", "direct")))
    s.bind(rng.choice(queues), "~x", "k")
    s.bind(rng.choice(queues), "~x", "#")
    for _ in range(s.length):
        way, on, queue = rng.randrange(24), rng.choice(channels), rng.choice(queues)
        if way < 8:
            properties = s.some_properties()
            if timed and s.maybe(0.4):
                properties["expiration"] = rng.choice((str(TTL_MS), "0", "60000"))
            exchange, key = rng.choice((("", queue), ("", queue), ("~x", "k"), ("", "~none")))
            s.publish(key, exchange, on, rng.choice((0, 0, 2)), s.maybe(0.2), **properties)
            if timed:
                s.wait()
        elif way < 13:
            s.settle_somehow(on)
            if timed:
                s.wait()
        elif way == 13:
            s.get(queue, on, no_ack=s.maybe(0.3))
        elif way < 16:
            tag = f"c{rng.randrange(3)}"
            s.consume(queue, tag, on, {"x-priority": rng.choice((0, 1, 2))} if s.maybe(0.2) else {},
                      no_ack=s.maybe(0.2), exclusive=s.maybe(0.1))  # fmt: skip
        elif way == 16:
            s.do("basic.cancel", on, consumer_tag=f"c{rng.randrange(3)}")
        elif way == 17:
            s.qos(rng.choice((0, 1, 2, 5)), on)
        elif way == 18:
            s.do(rng.choice(("confirm.select", "confirm.select", "tx.select")), on)
        elif way == 19:
            s.do(rng.choice(("tx.commit", "basic.recover", "tx.rollback")), on)
        elif way == 20:
            s.do(rng.choice(("channel.close", "connection.close", "connection.drop")), on)
        elif way == 21:
            s.do(rng.choice(("queue.purge", "queue.delete")), on, queue=queue)
        elif way == 22:
            s.queue(queue, _features(s, timed), on)
        else:
            s.bind(queue, rng.choice(("~x", "amq.fanout", "~missing")), "k")
    for name in queues:
        s.drain(name, 2)


def _features(s: Script, timed: bool) -> dict[str, Any]:
    rng = s.rng
    chosen: dict[str, Any] = {}
    if s.maybe(0.3):
        chosen["x-max-length"] = rng.choice((1, 2, 5))
        if s.maybe(0.5):
            chosen["x-overflow"] = rng.choice(("reject-publish", "drop-head", "reject-publish-dlx"))
    if s.maybe(0.4):
        chosen |= {
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": rng.choice(("~q1", "~q2", "~q3")),
        }
    if s.maybe(0.2):
        chosen["x-max-priority"] = rng.choice((1, 5))
    if s.maybe(0.15):
        chosen["x-single-active-consumer"] = True
    if timed and s.maybe(0.4):
        chosen["x-message-ttl"] = rng.choice((0, TTL_MS, 60000))
    return chosen
