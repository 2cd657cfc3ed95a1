"""Scenarios about who is served: priorities, single active consumers, prefetch, direct replies."""

from __future__ import annotations

from typing import Any

from .script import TTL_MS, Script


def priorities(s: Script) -> None:
    """The order in which messages of priorities leave, come back and die."""
    rng = s.rng
    arguments: dict[str, Any] = {"x-max-priority": rng.choice((1, 3, 5, 10, 255))}
    if s.maybe(0.2):
        arguments["x-max-length"] = rng.choice((2, 4))
    if s.maybe(0.3):
        arguments |= {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "~dead"}
        s.queue("~dead")
    s.queue("~q", arguments)
    for _ in range(rng.randint(3, 8)):
        properties = s.some_properties()
        if s.maybe(0.8):
            properties["priority"] = rng.choice((0, 1, 2, 3, 5, 9, 10, 200))
        s.publish("~q", times=rng.choice((0, 0, 2)), **properties)
    s.qos(rng.choice((1, 2, 0)), "b1")
    s.consume("~q", "c", "b1")
    for _ in range(s.length // 2):
        way = rng.randrange(6)
        if way == 0:
            s.publish("~q", priority=rng.choice((0, 2, 7)))
        elif way == 1:
            s.get("~q", "a1", no_ack=s.maybe())
        elif way == 2:
            s.do("connection.drop", "b1")
        else:
            s.settle_somehow("b1")
    s.drain("~q", 6)
    if "x-dead-letter-exchange" in arguments:
        s.drain("~dead", 3)


def single_active(s: Script) -> None:
    """One consumer gets all, and another takes over."""
    rng = s.rng
    arguments: dict[str, Any] = {"x-single-active-consumer": True}
    if s.new and s.maybe(0.3):
        arguments["x-queue-type"] = "quorum"
    s.queue("~q", arguments)
    ranked = s.maybe(0.3) and s.new
    for number in range(1, 4):
        channel = f"{'abc'[number - 1]}1"
        if s.maybe(0.5):
            s.qos(rng.choice((1, 2)), channel)
        s.consume(
            "~q",
            f"c{number}",
            channel,
            {"x-priority": rng.choice((0, 1, 5))} if ranked else {},
            exclusive=s.maybe(0.1),
        )
    _work_on(s, ["a1", "b1", "c1"], ["c1", "c2", "c3"])


def ranked_consumers(s: Script) -> None:
    """Consumers with priorities, some with room and some without."""
    rng = s.rng
    s.queue("~q", {"x-queue-type": "quorum"} if s.new and s.maybe(0.2) else {})
    for number in range(1, 4):
        channel = f"{'abc'[number - 1]}1"
        if s.maybe(0.7):
            s.qos(rng.choice((1, 2, 3)), channel)
        rank = rng.choice((None, 0, 1, 5, -3, 10))
        s.consume(
            "~q", f"c{number}", channel, {} if rank is None else {"x-priority": rank}, no_ack=s.maybe(0.1)
        )
    _work_on(s, ["a1", "b1", "c1"], ["c1", "c2", "c3"])


def _work_on(s: Script, channels: list[str], tags: list[str]) -> None:
    """A channel a connection: in which order the channels of a dropped one give back is decided by a race."""
    rng = s.rng
    for _ in range(s.length):
        way = rng.randrange(12)
        channel = rng.choice(channels)
        if way < 5:
            s.publish("~q", times=rng.choice((0, 0, 2)))
        elif way < 9:
            s.settle_somehow(channel)
        elif way == 9:
            s.do("basic.cancel", channel, consumer_tag=rng.choice(tags))
        elif way == 10:
            s.do(rng.choice(("channel.close", "connection.drop")), channel)
        else:
            s.consume("~q", rng.choice(tags), channel)


def windows(s: Script) -> None:
    """Prefetch of every kind, recover, and settling many at once."""
    rng = s.rng
    s.queue("~q")
    s.queue("~r", {"x-max-priority": 2} if s.maybe(0.2) else {})
    s.publish("~q", times=6)
    s.publish("~r", times=3)
    shares = s.maybe(0.4)  # a limit over two queues: which one is served is decided by a race
    for number in (1, 2):
        s.qos(rng.choice((0, 1, 2, 3)), f"b{number}", global_qos=shares and s.maybe())
        s.consume("~q", f"c{number}", f"b{number}", no_ack=s.maybe(0.1), exclusive=s.maybe(0.05))
    if s.maybe(0.3) and not shares:
        s.consume("~r", "d", "b1")
    for _ in range(s.length):
        way = rng.randrange(12)
        channel = rng.choice(("b1", "b2"))
        if way < 6:
            s.settle_somehow(channel)
        elif way == 6:
            s.do("basic.recover", channel, requeue=True)
        elif way == 7:
            s.qos(rng.choice((0, 1, 2)), channel, global_qos=shares and s.maybe())
        elif way == 8:
            s.publish("~q", times=2)
        elif way == 9:
            s.do("basic.cancel", channel, consumer_tag=rng.choice(("c1", "c2", "d")))
        elif way == 10:
            s.get(rng.choice(("~q", "~r")), channel)
        else:
            s.do(rng.choice(("queue.purge", "queue.delete")), queue="~q")
    s.drain("~q", 2)


def direct_replies(s: Script) -> None:
    """Requests and answers by amq.rabbitmq.reply-to, and what is not allowed with it."""
    rng = s.rng
    reply = "amq.rabbitmq.reply-to"
    s.queue("~requests")
    if s.maybe(0.9):
        s.consume(reply, "r", no_ack=s.maybe(0.9))
    s.publish("~requests", reply_to=reply)
    s.get("~requests", "b1", no_ack=True)
    for _ in range(s.length // 2):
        way = rng.randrange(10)
        if way < 3:
            s.publish("$reply-to", on="b1", mandatory=s.maybe(0.5), **s.some_properties())
        elif way == 3:
            s.publish("~requests", reply_to=reply, on=rng.choice(("a1", "a1", "a2")))
            s.get("~requests", "b1", no_ack=True)
        elif way == 4:
            s.do("queue.declare", "b1", queue=rng.choice((reply, "$reply-to")), passive=s.maybe(0.8))
        elif way == 5:
            s.do("basic.cancel", consumer_tag="r")
        elif way == 6:
            s.consume(reply, "s", rng.choice(("a1", "a2")), no_ack=True)
        elif way == 7:
            s.do("confirm.select", "b1")
        elif way == 8:
            s.do(rng.choice(("channel.close", "connection.drop")))
        else:
            s.do(rng.choice(("basic.get", "queue.purge", "queue.delete")), "b1", queue=reply)


def transactions(s: Script) -> None:
    """Publishing and settling in transactions, with queues that do something with it."""
    rng = s.rng
    s.queue("~dead")
    s.queue("~q", rng.choice(({}, {"x-max-length": 2}, {"x-max-length": 1, "x-overflow": "reject-publish"}))
            | {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "~dead"})  # fmt: skip
    s.publish("~q", times=2)
    s.do("tx.select")
    s.consume("~q", "c")
    for _ in range(s.length // 2):
        way = rng.randrange(10)
        if way < 3:
            s.publish(rng.choice(("~q", "~q", "~nowhere")), mandatory=s.maybe(0.3), **s.some_properties())
        elif way < 6:
            rng.choice((s.ack, s.nack, s.reject))(
                0
            )  # the oldest: else in which order they die is RabbitMQ's own
        elif way < 8:
            s.do("tx.commit")
        elif way == 8:
            s.do("tx.rollback")
        else:
            s.do(rng.choice(("confirm.select", "channel.close", "tx.select")))
    s.do("tx.commit")
    s.drain("~dead", 3, "b1")
    s.do("channel.close")
    s.drain("~q", 3, "b1")


__all__ = ["TTL_MS"]
