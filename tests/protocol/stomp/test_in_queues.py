"""STOMP messages in queues that want something of a message: groups, delays, priorities, time to live, retries,
deduplication, dead letters, headers exchanges. With a broker on a log in memory, and over a restart of it."""

from __future__ import annotations

import pytest

from leveret.core.attempts import check_retry
from leveret.core.view import Seen, view_of
from leveret.errors import PreconditionFailed
from leveret.message import ACCEPTED, AMQP091, REJECTED, STOMP, Message
from leveret.protocol.stomp import mapping
from leveret.protocol.stomp.view import kept_block, made
from leveret.wire.properties import Properties
from leveret.wire.stomp_headers import Headers
from tests.rig import Hand, Rig

from .talker import Talker, escaped

START_MS = 1_790_000_000_000


class Taker(Hand):
    """Keeps the messages it is given."""

    def _take(self, tag: int, m: Message, redelivered: bool) -> None:
        view = view_of(m)
        self.got.append((tag, view.body(m), redelivered))
        self.told = [*getattr(self, "told", []), (m.protocol, view.properties(m))]

    def bodies(self) -> list[str]:
        return [body.decode() for _, body, _ in self.got]

    def headers(self) -> dict[str, object]:
        """Of the last one."""
        told: list[tuple[int, Properties]] = self.told
        return told[-1][1].headers or {}


def started() -> Rig:
    rig = Rig()
    rig.at(START_MS)
    return rig


def again(rig: Rig) -> Rig:
    now_ms = int(rig.broker.turn.now_ms)
    rig = rig.crash()
    rig.at(now_ms)
    rig.broker.tick(now_ms)
    rig.settle_down()
    return rig


def send(rig: Rig, body: str, *headers: tuple[str, str], exchange: str = "", key: str = "q") -> None:
    """As a SEND is published."""
    said: Headers = [(b"persistent", b"true")]
    said += [(name.encode(), value.encode()) for name, value in headers]
    raw = bytes([len(exchange)]) + exchange.encode() + bytes([len(key)]) + key.encode()
    route = rig.vhost.resolve(raw + b"\0")
    m = made(kept_block(said), body.encode(), raw, mapping.persistent_of(said))
    rig.vhost.set_terms(route, m, mapping.asks_of(said))
    queues = route.queues
    if route.by_headers:
        queues = rig.vhost.route_by_message(route, Seen(m, route.key, None))
    check_retry(queues, m)
    rig.vhost.take(route, queues, m)


def taken(rig: Rig, name: str = "q") -> list[str]:
    """Take what is ready out of a queue."""
    hand = Taker(rig, rig.vhost.queue(name, None), no_ack=True)
    rig.settle_down()
    hand.leave()
    return hand.bodies()


def test_a_message_is_the_same_after_a_restart() -> None:
    rig = started()
    rig.queue()
    send(rig, "\n\nbody", ("a:b", "1\n2"), ("reply-to", "r"))
    rig.settle_down()
    rig = again(rig)
    hand = Taker(rig, rig.vhost.queue("q", None))
    rig.settle_down()
    assert hand.bodies() == ["\n\nbody"]
    assert hand.told == [(STOMP, Properties(delivery_mode=2, headers={"a:b": "1\n2"}, reply_to="r"))]


def test_groups() -> None:
    rig = started()
    queue = rig.queue(arguments={"x-group-header": "customer"})
    one, two = Taker(rig, queue, 2, name="one"), Taker(rig, queue, 2, name="two")
    for body, key in (("a1", "a"), ("a2", "a"), ("b1", "b"), ("b2", "b")):
        send(rig, body, ("customer", key))
    rig.settle_down()
    assert (one.bodies(), two.bodies()) == (["a1", "a2"], ["b1", "b2"])
    assert one.headers() == {"customer": "a", "x-group-last": True}


def test_a_group_of_both_protocols() -> None:
    rig = started()
    queue = rig.queue(arguments={"x-group-header": "customer"})
    one, two = Taker(rig, queue, 9, name="one"), Taker(rig, queue, 9, name="two")
    send(rig, "stomp", ("customer", "a"))
    rig.send("q", b"amqp", Properties(headers={"customer": "a"}))
    rig.settle_down()
    assert (one.bodies(), two.bodies()) == (["stomp", "amqp"], [])


def test_delays() -> None:
    rig = started()
    rig.queue()
    send(rig, "after", ("x-deliver-after", "2000"))
    send(rig, "span", ("x-deliver-after", "1s"))
    send(rig, "at", ("x-deliver-at", str(START_MS + 3_000)))
    send(rig, "now", ("x-deliver-after", "0"))
    rig.settle_down()
    rig = again(rig)
    assert taken(rig) == ["now"]
    rig.pass_time(START_MS + 3_100)
    assert taken(rig) == ["span", "after", "at"]


def test_a_delay_that_means_nothing_is_refused() -> None:
    rig = started()
    rig.queue()
    with pytest.raises(PreconditionFailed, match="invalid x-deliver-after 'soon'"):
        send(rig, "x", ("x-deliver-after", "soon"))
    with pytest.raises(PreconditionFailed, match="invalid expiration 'x': no_integer"):
        send(rig, "x", ("expiration", "x"))


def test_an_exchange_that_delays() -> None:
    rig = started()
    rig.queue()
    rig.vhost.declare_exchange(
        "late", "x-delayed-message", True, False, False, {"x-delayed-type": "direct"}, False
    )
    rig.vhost.bind_queue("q", "late", "k", {}, None)
    send(rig, "late", ("x-delay", "1000"), exchange="late", key="k")
    rig.settle_down()
    assert taken(rig) == []
    rig.pass_time(START_MS + 1_100)
    assert taken(rig) == ["late"]


def test_priorities() -> None:
    rig = started()
    rig.queue(arguments={"x-max-priority": 9})
    for body, priority in (("none", ""), ("low", "1"), ("high", "9"), ("higher", "255"), ("odd", "x")):
        send(rig, body, *([("priority", priority)] if priority else []))
    rig.settle_down()
    assert taken(rig) == ["high", "higher", "low", "none", "odd"]


def test_time_to_live_and_dead_letters() -> None:
    rig = started()
    rig.queue(arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"})
    rig.queue("dead")
    send(rig, "short", ("expiration", "1000"), ("kept", "1"))
    send(rig, "long", ("expiration", "100000"))
    rig.settle_down()
    rig.pass_time(START_MS + 1_200)
    hand = Taker(rig, rig.vhost.queue("dead", None))
    rig.settle_down()
    assert hand.bodies() == ["short"]
    protocol, told = hand.told[0]
    assert (protocol, told.expiration, told.delivery_mode) == (AMQP091, None, 2)
    headers = hand.headers()
    assert (headers["kept"], headers["x-first-death-reason"]) == ("1", "expired")
    deaths = headers["x-death"]
    assert isinstance(deaths, list)
    assert (deaths[0]["original-expiration"], deaths[0]["count"]) == ("1000", 1)
    assert taken(rig) == ["long"]


def test_a_history_that_a_publisher_claims_counts_nothing() -> None:
    rig = started()
    rig.queue(arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"})
    rig.queue("dead")
    hand = Taker(rig, rig.vhost.queue("q", None))
    send(rig, "x", ("x-death", "forged"), ("x-first-death-reason", "forged"))
    rig.settle_down()
    hand.settle(1, REJECTED)
    rig.settle_down()
    hand = Taker(rig, rig.vhost.queue("dead", None))
    rig.settle_down()
    deaths = hand.headers()["x-death"]
    assert isinstance(deaths, list)
    assert len(deaths) == 1
    assert hand.headers()["x-first-death-reason"] == "rejected"


def test_retries() -> None:
    rig = started()
    queue = rig.queue(arguments={"x-retry": "fixed;delay=10s;max=3"})
    hand = Taker(rig, queue)
    send(rig, "own", ("x-retry", "fixed;delay=1s;max=1"))
    rig.settle_down()
    hand.settle(1, REJECTED)
    rig.pass_time(START_MS + 1_200)
    assert hand.bodies() == ["own", "own"]
    assert (hand.headers()["x-retry-count"], hand.headers()["x-retry-reason"]) == (1, "rejected")
    hand.settle(2, ACCEPTED)
    with pytest.raises(PreconditionFailed, match="invalid header 'x-retry'"):
        send(rig, "odd", ("x-retry", "often"))


def test_deliveries_are_counted() -> None:
    rig = started()
    queue = rig.queue(arguments={"x-queue-type": "quorum"})
    hand = Taker(rig, queue)
    send(rig, "x")
    rig.settle_down()
    hand.leave()
    rig.settle_down()
    hand = Taker(rig, queue)
    rig.settle_down()
    assert hand.headers() == {"x-acquired-count": 1, "x-delivery-count": 1}


def test_duplicates() -> None:
    rig = started()
    rig.queue("ids", arguments={"x-message-deduplication": "10m"})
    rig.queue("keys", arguments={"x-message-deduplication": {"window": "10m", "header": "order"}})
    rig.queue("unique", arguments={"x-unique": "replace", "x-unique-header": "order"})
    for body in ("1", "2"):
        send(rig, body, ("amqp-message-id", "same"), key="ids")
        send(rig, body, ("order", "5"), key="keys")
        send(rig, body, ("order", "5"), key="unique")
    rig.send("ids", b"3", Properties(message_id="same"))
    rig.send("keys", b"3", Properties(headers={"order": "5"}))
    send(rig, "4", ("order", "5"), key="ids")
    rig.settle_down()
    rig = again(rig)
    send(rig, "5", ("amqp-message-id", "same"), key="ids")
    rig.settle_down()
    assert (taken(rig, "ids"), taken(rig, "keys"), taken(rig, "unique")) == (["1", "4"], ["1"], ["2"])


def test_a_headers_exchange_sees_texts() -> None:
    rig = started()
    rig.queue("text")
    rig.queue("number")
    rig.queue("there")
    for name, value in (("text", "5"), ("number", 5), ("there", None)):
        rig.vhost.bind_queue(name, "amq.headers", "", {"size": value}, None)
    send(rig, "x", ("size", "5"), exchange="amq.headers", key="")
    rig.settle_down()
    assert (taken(rig, "text"), taken(rig, "number"), taken(rig, "there")) == (["x"], [], ["x"])


LONG = [
    ("1.2", ":" * 5_000),
    ("1.2", ":" * 8_100),
    ("1.1", "\\" * 4_000),
    ("1.0", "\\" * 8_000),
    ("1.0", "a" * 8_000),
]


@pytest.mark.parametrize(("version", "value"), LONG, ids=lambda each: each[:3])
def test_what_a_limit_lets_in_goes_out_however_long_its_escapes_are(version: str, value: str) -> None:
    """Kept in 1.2's escapes, a header may be twice as long as the limit on what comes in."""
    rig = started()
    rig.queue("q", arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"})
    rig.queue("dead")
    sender = Talker(rig, version).opened()
    raw = value.encode() if ":" in value else escaped(value, version)  # a colon need not be escaped
    for body in (b"long", b"next"):
        head = b"SEND\ndestination:/amq/queue/q\npersistent:true\nreceipt:" + body + b"\n"
        sender.says(head + (b"odd:" + raw + b"\n" if body == b"long" else b"") + b"\n" + body + b"\0")
        sender.sync()
        told = sender.one()
        assert (told.command, told["receipt-id"]) == ("RECEIPT", body.decode())
    for reading in ("1.0", "1.1", "1.2"):
        reader = Talker(rig, reading).opened()
        reader.subscribe("/amq/queue/q", ack="client")
        first, second = reader.receives()
        assert (first.body, second.body) == (b"long", b"next")
        if reading != "1.0":
            assert first["odd"] == value
        reader.lost()
    rig = again(rig)
    hand = Taker(rig, rig.vhost.queue("q", None))
    rig.settle_down()
    assert hand.told[0][1].headers == {"odd": value}
    hand.settle(0, REJECTED, True)
    rig.settle_down()
    assert taken(rig, "dead") == ["long", "next"]


def test_a_whole_head_at_its_limit_goes_out_with_what_is_added_to_it() -> None:
    rig = started()
    rig.queue("q")
    sender = Talker(rig).opened()
    lines = [b"SEND", b"destination:/amq/queue/q", b"reply-to:answers", b"receipt:r"]
    while sum(len(line) + 1 for line in lines) < 65_536 - 2_000:
        lines.append(b"h%d:" % len(lines) + b":" * 1_000)
    lines.append(b"rest:" + b"x" * (65_536 - sum(len(line) + 1 for line in lines) - 7))
    sender.says(b"\n".join(lines) + b"\n\nbody\0")
    sender.sync()
    assert sender.one().command == "RECEIPT"
    hand = Taker(rig, rig.vhost.queue("q", None))
    rig.settle_down()
    assert hand.bodies() == ["body"]
    assert len(hand.headers()) == len(lines) - 4
