"""Scenarios about messages that die: every reason, chains and cycles, what full queues do, delivery limits."""

from __future__ import annotations

from typing import Any

from .script import TTL_MS, Script


def _dead_letters(s: Script, to: str, key: str | None) -> dict[str, Any]:
    arguments: dict[str, Any] = {"x-dead-letter-exchange": to}
    if key is not None:
        arguments["x-dead-letter-routing-key"] = key
    return arguments


def _special(s: Script) -> dict[str, Any]:
    """Properties that dead-lettering looks at or changes."""
    rng = s.rng
    properties = s.some_properties()
    headers: dict[str, Any] = dict(properties.get("headers", {}))
    if s.maybe(0.2):
        headers["CC"] = rng.choice((["~q2"], ["~other", "~q2"], ["~nowhere"], []))
    if s.maybe(0.15):
        headers["BCC"] = rng.choice((["~q3"], ["~q2"]))
    if s.maybe(0.15):
        headers["x-first-death-queue"] = "made up"
    if s.maybe(0.1):
        headers["x-death"] = [{"queue": "~q1", "reason": rng.choice(("rejected", "expired")), "count": 3}]
    if headers or "headers" in properties:
        properties["headers"] = headers
    return properties


def deaths(s: Script) -> None:
    """One queue, one reason, dead letters to an exchange of any kind."""
    rng = s.rng
    reasons = ["rejected", "rejected", "expired", "own expiration", "both", "maxlen", "maxlen bytes", "ttl 0"]
    reason = rng.choice([*reasons, "delivery limit"] if s.new else reasons)
    kind = rng.choice(("default", "default", "direct", "fanout", "topic", "missing", "headers"))
    exchange = {"default": "", "missing": "~missing"}.get(kind, "~dlx")
    key = rng.choice((None, None, "~q2", "k.other", "", "~nowhere"))
    if kind == "default" and key is None and s.maybe(0.8):
        key = "~q2"
    arguments = _dead_letters(s, exchange, key)
    if reason in ("expired", "both"):
        arguments["x-message-ttl"] = TTL_MS
    if reason == "ttl 0":
        arguments["x-message-ttl"] = 0
    if reason == "maxlen":
        arguments["x-max-length"] = rng.choice((0, 1, 2))
    if reason == "maxlen bytes":
        arguments["x-max-length-bytes"] = rng.choice((0, 2, 5))
    quorum = s.new and s.maybe(0.25) and reason != "maxlen bytes"
    if reason == "delivery limit":
        arguments["x-delivery-limit"] = 1
        quorum = True
    if quorum:
        arguments["x-queue-type"] = "quorum"
    if kind in ("direct", "fanout", "topic", "headers"):
        s.exchange("~dlx", kind)
    s.queue("~q2")
    s.queue("~q3")
    s.queue("~q1", arguments)
    if exchange == "~dlx":
        s.bind("~q2", "~dlx", rng.choice(("~q1", "k.other", "#" if kind == "topic" else "x.q")))
        s.bind("~q3", "~dlx", rng.choice(("k.*", "~q1", "~q2")))
    via = ""
    if s.maybe(0.3):
        via = "amq.direct"
        s.bind("~q1", via, "~q1")
    if s.maybe(0.3):
        s.do("confirm.select")
    properties = _special(s)
    if reason in ("own expiration", "both"):
        properties["expiration"] = str(TTL_MS + rng.choice((0, 20)))
    elif s.maybe(0.3):
        properties["expiration"] = "60000"
    s.publish("~q1", via, times=rng.choice((0, 2, 3)), **properties)
    if reason in ("rejected", "delivery limit"):
        if s.maybe():
            s.consume("~q1", "c")
        else:
            s.get("~q1")
        for _ in range(3):
            requeue = reason == "delivery limit"
            if s.maybe():
                s.reject(0, requeue=requeue)
            else:
                s.nack(0, multiple=s.maybe(0.3), requeue=requeue)
            if requeue:
                s.get("~q1")
    elif reason != "maxlen":
        s.wait()
    s.drain("~q2", 3)
    s.drain("~q3", 3)
    s.drain("~q1", 1)


def chain(s: Script) -> None:
    """Dead letters that die again, in other queues for other reasons, and come back."""
    rng = s.rng
    length = rng.choice((2, 3))
    round_trip = s.maybe(0.6)
    for number in range(1, length + 1):
        to = f"~q{number + 1}" if number < length else ("~q1" if round_trip else "")
        arguments = _dead_letters(s, "", to) if to else {}
        if s.maybe(0.4) and number < length:
            arguments["x-message-ttl"] = rng.choice((TTL_MS, TTL_MS, 0))
        if s.maybe(0.15):
            arguments["x-max-length"] = 1
        if s.new and s.maybe(0.15):
            arguments["x-queue-type"] = "quorum"
        s.queue(f"~q{number}", arguments)
    properties = s.some_properties()  # no CC: two ways to one queue are a race
    if s.maybe(0.4):
        properties["expiration"] = str(rng.choice((TTL_MS, 60000)))
    s.publish("~q1", times=rng.choice((0, 0, 2)), **properties)
    s.wait()
    s.wait()
    for _ in range(s.length // 2):
        queue = f"~q{rng.randint(1, length)}"
        s.get(queue)
        if s.maybe(0.8):
            s.reject(-1, requeue=s.maybe(0.2))
            s.wait()
    for number in range(1, length + 1):
        s.drain(f"~q{number}", 2)


def overflow(s: Script) -> None:
    """A full queue with confirms and without, beside one that is not full."""
    rng = s.rng
    how = rng.choice((None, "drop-head", "reject-publish", "reject-publish", "reject-publish-dlx"))
    arguments: dict[str, Any] = {}
    if how is not None:
        arguments["x-overflow"] = how
    if s.maybe(0.7):
        arguments["x-max-length"] = rng.choice((0, 1, 2, 3))
    else:
        arguments["x-max-length-bytes"] = rng.choice((0, 3, 6, 9))
    if s.maybe(0.5):
        arguments |= _dead_letters(s, "", "~dead")
    # quorum queues weigh properties, too
    if s.new and s.maybe(0.2) and how != "reject-publish-dlx" and "x-max-length" in arguments:
        arguments["x-queue-type"] = "quorum"
    elif s.maybe(0.2):
        arguments["x-max-priority"] = 3
    s.queue("~dead")
    s.queue("~beside")
    s.queue("~q", arguments)
    s.exchange("~x", "fanout")
    s.bind("~q", "~x")
    s.bind("~beside", "~x")
    if s.maybe(0.8):
        s.do("confirm.select")
    if s.maybe(0.5):
        s.qos(rng.choice((1, 2)), "b1")
        s.consume("~q", "c", "b1")
    for _ in range(s.length // 2):
        if s.maybe(0.2) and arguments.get("x-queue-type") != "quorum":
            s.settle_somehow("b1")
        elif s.maybe(0.2):
            s.get("~q", "b1")
        else:
            s.publish(
                "~q",
                rng.choice(("", "", "~x")),
                times=rng.choice((0, 0, 2)) if arguments.get("x-queue-type") != "quorum" else 0,
                mandatory=s.maybe(0.2),
                **s.some_properties(),
            )
    s.drain("~dead", 3)
    s.drain("~q", 3)
    s.drain("~beside", 2)


def delivery_limit(s: Script) -> None:
    """What counts as an attempt, and what becomes of a message that had too many."""
    rng = s.rng
    arguments: dict[str, Any] = {"x-queue-type": "quorum"}
    if s.maybe(0.85):
        arguments["x-delivery-limit"] = rng.choice((0, 1, 2, 3, -1) if s.new else (0, 1, 2, 3))
    if s.maybe(0.7):
        arguments |= _dead_letters(s, "", "~dead")
    s.queue("~dead")
    s.queue("~q", arguments)
    s.publish("~q", **s.some_properties())
    if s.maybe():
        s.publish("~q")
    for _ in range(s.length // 2):
        way = rng.choice(
            ("get", "get", "requeue", "requeue", "reject", "close", "drop", "consume", "cancel", "leave")
        )
        if way == "get":
            s.get("~q", "b1")
        elif way == "requeue":
            s.nack(0, "b1", multiple=s.maybe(0.3))
        elif way == "reject":
            s.reject(0, "b1", requeue=True)
        elif way == "close":
            s.do("channel.close", "b1")
        elif way == "drop":
            s.do("connection.drop", "b1")
        elif way == "leave":
            s.do("connection.close", "b1")
        elif way == "cancel":
            s.do("basic.cancel", "b1", consumer_tag=f"c{s.bodies}")
        else:
            s.qos(1, "b1")
            s.bodies += 1  # a tag that is used again inherits what the last one holds, of a quorum queue
            s.consume("~q", f"c{s.bodies}", "b1")
    s.drain("~dead", 2)
    s.do("connection.drop", "b1")
    s.drain("~q", 2)


def expiry(s: Script) -> None:
    """Times to live of messages and queues, and what counts as using a queue."""
    rng = s.rng
    arguments: dict[str, Any] = {}
    if s.maybe(0.5):
        arguments["x-message-ttl"] = rng.choice((0, TTL_MS, 60000))
    # RabbitMQ looks only every few seconds whether a quorum queue is to expire
    quorum = s.new and s.maybe(0.2) and arguments.get("x-message-ttl") != 0
    if s.maybe(0.5) and not quorum:
        arguments["x-expires"] = 300
    if quorum:
        arguments["x-queue-type"] = "quorum"
    s.queue("~q", arguments)
    for _ in range(s.length // 3):
        way = rng.randrange(9)
        if way < 3:
            expiration = rng.choice((None, "0", str(TTL_MS), "60000", "-1", "x", "", "99999999999"))
            properties: dict[str, Any] = {} if expiration is None else {"expiration": expiration}
            s.publish("~q", on=rng.choice(("a1", "a2")), **properties)
            s.wait()
        elif way == 3:
            s.consume("~q", f"c{len(s.ops)}", "b1", no_ack=s.maybe(0.3))
        elif way == 4:
            s.do("channel.close", "b1")
            s.wait(700)
        elif way == 5:
            s.settle_somehow("b1")
        elif way == 6:
            s.wait(700)
        elif way == 7:
            s.get("~q", "b1")
        else:
            s.queue("~q", arguments)
    s.get("~q")
