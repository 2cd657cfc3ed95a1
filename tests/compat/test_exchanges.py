"""Exchanges and bindings: who gets what (through pika)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pika
import pika.exceptions
import pytest

from .clients import drain, expect_channel_error, must_get, settle
from .waiting import eventually

Fresh = Callable[..., str]


def declare(ch: Any, fresh: Fresh, kind: str, **options: Any) -> str:
    name = fresh("x")
    ch.exchange_declare(name, kind, **options)
    return name


def own_queue(ch: Any) -> str:
    return str(ch.queue_declare("", exclusive=True).method.queue)


def reached(ch: Any, queue: str, exchange: str, key: str, headers: dict[str, Any] | None = None) -> int:
    """How many copies of one message reach `queue`. A confirm says that routing is over."""
    properties = pika.BasicProperties(headers=headers)
    with ch.connection.channel() as publisher:
        publisher.confirm_delivery()
        publisher.basic_publish(exchange, key, b"x", properties)
    return len(drain(ch, queue))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("amq.direct", "direct"),
        ("amq.fanout", "fanout"),
        ("amq.topic", "topic"),
        ("amq.headers", "headers"),
        ("amq.match", "headers"),
    ],
)
def test_predeclared(ch: Any, name: str, kind: str) -> None:
    ch.exchange_declare(name, passive=True)
    ch.exchange_declare(name, kind, durable=True)


def test_default_exchange_reaches_every_queue_by_its_name(ch: Any) -> None:
    queue = own_queue(ch)
    assert reached(ch, queue, "", queue) == 1
    assert reached(ch, queue, "", queue + "x") == 0


def test_direct(ch: Any, fresh: Fresh) -> None:
    exchange, queue = declare(ch, fresh, "direct"), own_queue(ch)
    ch.queue_bind(queue, exchange, "a")
    ch.queue_bind(queue, exchange, "b")
    assert [reached(ch, queue, exchange, key) for key in ("a", "b", "c", "", "A")] == [1, 1, 0, 0, 0]


def test_fanout_looks_at_no_key(ch: Any, fresh: Fresh) -> None:
    exchange, queues = declare(ch, fresh, "fanout"), [own_queue(ch) for _ in range(3)]
    for queue in queues:
        ch.queue_bind(queue, exchange, "any")
    ch.basic_publish(exchange, "other", b"x")
    for queue in queues:
        assert must_get(ch, queue).body == b"x"


@pytest.mark.parametrize(
    ("pattern", "key", "matches"),
    [
        ("a.b.c", "a.b.c", True),
        ("a.b.c", "a.b", False),
        ("a.*.c", "a.b.c", True),
        ("a.*.c", "a.c", False),
        ("a.*.c", "a.b.b.c", False),
        ("*", "a", True),
        ("*", "", False),
        ("*", "a.b", False),
        ("*.*", "a.b", True),
        ("*.*", "a", False),
        ("#", "", True),
        ("#", "a.b.c", True),
        ("a.#", "a", True),
        ("a.#", "a.b.c", True),
        ("a.#", "b", False),
        ("#.c", "c", True),
        ("#.c", "a.b.c", True),
        ("#.c", "a.b.c.d", False),
        ("a.#.c", "a.c", True),
        ("a.#.c", "a.b.b.c", True),
        ("#.b.#", "a.b.c", True),
        ("#.b.#", "b", True),
        ("#.b.#", "a.c", False),
        ("*.#", "a", True),
        ("*.#.*", "a", False),
        ("*.#.*", "a.b", True),
        ("#.#", "", True),
        ("a..b", "a..b", True),
        ("a.*.b", "a..b", True),
        ("a.#.", "a.", True),
        ("a*", "ab", False),
        ("a#", "a#", True),
        ("", "", True),
        ("", "a", False),
    ],
)
def test_topic(ch: Any, fresh: Fresh, pattern: str, key: str, matches: bool) -> None:
    exchange, queue = declare(ch, fresh, "topic"), own_queue(ch)
    ch.queue_bind(queue, exchange, pattern)
    assert reached(ch, queue, exchange, key) == int(matches)


@pytest.mark.parametrize(
    ("arguments", "headers", "matches"),
    [
        ({"a": 1, "b": "x"}, {"a": 1, "b": "x"}, True),
        ({"a": 1, "b": "x"}, {"a": 1}, False),
        ({"a": 1, "b": "x"}, {"a": 1, "b": "x", "c": True}, True),
        ({"x-match": "all", "a": 1, "b": 2}, {"a": 1, "b": 2}, True),
        ({"x-match": "all", "a": 1, "b": 2}, {"a": 1, "b": 3}, False),
        ({"x-match": "any", "a": 1, "b": 2}, {"b": 2}, True),
        ({"x-match": "any", "a": 1, "b": 2}, {"a": 2, "b": 1}, False),
        ({"x-match": "any"}, {"a": 1}, False),
        ({"x-match": "all"}, {"a": 1}, True),
        ({"x-match": "all"}, None, True),
        ({}, None, True),
        ({"a": 1}, None, False),
        ({"a": None}, {"a": "whatever"}, True),
        ({"a": None}, {"b": 1}, False),
        ({"a": 1}, {"a": "1"}, False),
        ({"a": 1}, {"a": True}, False),
        ({"a": True}, {"a": True}, True),
        ({"a": "x"}, {"a": "X"}, False),
        ({"x-match": "all", "x-a": 1, "b": 2}, {"b": 2}, True),
        ({"x-match": "any", "x-a": 1, "b": 2}, {"x-a": 1}, False),
        ({"x-match": "all-with-x", "x-a": 1, "b": 2}, {"b": 2}, False),
        ({"x-match": "all-with-x", "x-a": 1, "b": 2}, {"x-a": 1, "b": 2}, True),
        ({"x-match": "any-with-x", "x-a": 1, "b": 2}, {"x-a": 1}, True),
        ({"x-match": "any-with-x", "x-a": 1, "b": 2}, {"c": 1}, False),
    ],
)
def test_headers(ch: Any, fresh: Fresh, arguments: Any, headers: Any, matches: bool) -> None:
    exchange, queue = declare(ch, fresh, "headers"), own_queue(ch)
    ch.queue_bind(queue, exchange, "ignored", arguments)
    assert reached(ch, queue, exchange, "k", headers) == int(matches)


def test_a_queue_gets_one_copy_however_many_bindings_match(ch: Any, fresh: Fresh) -> None:
    exchange, queue = declare(ch, fresh, "topic"), own_queue(ch)
    for pattern in ("#", "a.*", "a.b"):
        ch.queue_bind(queue, exchange, pattern)
    ch.queue_bind(queue, exchange, "a.b")  # again
    assert reached(ch, queue, exchange, "a.b") == 1


def test_one_unbinding_undoes_a_repeated_binding(ch: Any, fresh: Fresh) -> None:
    exchange, queue = declare(ch, fresh, "direct"), own_queue(ch)
    for _ in range(2):
        ch.queue_bind(queue, exchange, "a")
    ch.queue_unbind(queue, exchange, "a")
    assert reached(ch, queue, exchange, "a") == 0


def test_bindings_with_other_arguments_are_other_bindings(ch: Any, fresh: Fresh) -> None:
    exchange, queue = declare(ch, fresh, "direct"), own_queue(ch)
    ch.queue_bind(queue, exchange, "a", {"n": 1})
    ch.queue_bind(queue, exchange, "a", {"n": 2})
    ch.queue_unbind(queue, exchange, "a", {"n": 1})
    assert reached(ch, queue, exchange, "a") == 1
    ch.queue_unbind(queue, exchange, "a")  # this one was never bound
    assert reached(ch, queue, exchange, "a") == 1
    ch.queue_unbind(queue, exchange, "a", {"n": 2})
    assert reached(ch, queue, exchange, "a") == 0


def test_bindings_go_with_their_queue_and_come_back_with_none(ch: Any, fresh: Fresh) -> None:
    exchange, queue = declare(ch, fresh, "fanout"), fresh()
    ch.queue_declare(queue)
    ch.queue_bind(queue, exchange)
    ch.queue_delete(queue)
    ch.queue_declare(queue)
    assert reached(ch, queue, exchange, "") == 0


def test_bindings_go_with_their_exchange(ch: Any, fresh: Fresh) -> None:
    exchange, queue = declare(ch, fresh, "fanout"), own_queue(ch)
    ch.queue_bind(queue, exchange)
    ch.exchange_delete(exchange)
    ch.exchange_declare(exchange, "fanout")
    assert reached(ch, queue, exchange, "") == 0


def test_exchange_to_exchange(ch: Any, fresh: Fresh) -> None:
    first, second, queue = declare(ch, fresh, "topic"), declare(ch, fresh, "direct"), own_queue(ch)
    ch.exchange_bind(second, first, "a.*")
    ch.queue_bind(queue, second, "a.b")
    assert [reached(ch, queue, first, key) for key in ("a.b", "a.c", "b")] == [1, 0, 0]
    ch.exchange_unbind(second, first, "a.*")
    assert reached(ch, queue, first, "a.b") == 0


def test_exchange_bindings_may_form_a_ring(ch: Any, fresh: Fresh) -> None:
    first, second, queue = declare(ch, fresh, "fanout"), declare(ch, fresh, "fanout"), own_queue(ch)
    for destination, source in ((second, first), (first, second), (first, first)):
        ch.exchange_bind(destination, source)
    ch.queue_bind(queue, first)
    ch.queue_bind(queue, second)
    assert reached(ch, queue, second, "") == 1


def test_delivery_names_the_exchange_and_key_of_the_publish(ch: Any, fresh: Fresh) -> None:
    first, second, queue = declare(ch, fresh, "topic"), declare(ch, fresh, "fanout"), own_queue(ch)
    ch.exchange_bind(second, first, "#")
    ch.queue_bind(queue, second)
    ch.basic_publish(first, "some.key", b"x")
    method = must_get(ch, queue).method
    assert (method.exchange, method.routing_key) == (first, "some.key")


def test_an_internal_exchange_is_fed_by_others(ch: Any, fresh: Fresh) -> None:
    outer, inner, queue = (
        declare(ch, fresh, "fanout"),
        declare(ch, fresh, "fanout", internal=True),
        own_queue(ch),
    )
    ch.exchange_bind(inner, outer)
    ch.queue_bind(queue, inner)
    assert reached(ch, queue, outer, "") == 1


def test_alternate_exchange_takes_what_has_no_route(ch: Any, fresh: Fresh) -> None:
    rest, queue, routed = declare(ch, fresh, "fanout"), own_queue(ch), own_queue(ch)
    exchange = declare(ch, fresh, "direct", arguments={"alternate-exchange": rest})
    ch.queue_bind(queue, rest)
    ch.queue_bind(routed, exchange, "a")
    assert reached(ch, queue, exchange, "nobody") == 1
    assert reached(ch, queue, exchange, "a") == 0
    assert drain(ch, routed) == [b"x"]


def test_alternate_exchanges_form_a_chain(ch: Any, fresh: Fresh) -> None:
    last, queue = declare(ch, fresh, "fanout"), own_queue(ch)
    middle = declare(ch, fresh, "direct", arguments={"alternate-exchange": last})
    first = declare(ch, fresh, "direct", arguments={"alternate-exchange": middle})
    ch.queue_bind(queue, last)
    assert reached(ch, queue, first, "nobody") == 1


def test_what_an_alternate_exchange_takes_is_not_returned(ch: Any, fresh: Fresh) -> None:
    rest, queue = declare(ch, fresh, "fanout"), own_queue(ch)
    exchange = declare(ch, fresh, "direct", arguments={"alternate-exchange": rest})
    ch.confirm_delivery()
    with pytest.raises(pika.exceptions.UnroutableError):
        ch.basic_publish(exchange, "nobody", b"x", mandatory=True)
    ch.queue_bind(queue, rest)
    ch.basic_publish(exchange, "nobody", b"x", mandatory=True)


def test_a_missing_alternate_exchange_is_ignored(ch: Any, fresh: Fresh) -> None:
    exchange = declare(ch, fresh, "direct", arguments={"alternate-exchange": fresh("x")})
    ch.basic_publish(exchange, "nobody", b"x")
    settle(ch)


def exists(ch: Any, exchange: str) -> bool:
    channel = ch.connection.channel()
    try:
        channel.exchange_declare(exchange, passive=True)
    except pika.exceptions.ChannelClosedByBroker:
        return False
    channel.close()
    return True


def test_auto_delete_goes_with_its_last_binding(ch: Any, fresh: Fresh) -> None:
    exchange, queue = declare(ch, fresh, "direct", auto_delete=True), own_queue(ch)
    ch.queue_bind(queue, exchange, "a")
    ch.queue_bind(queue, exchange, "b")
    ch.queue_unbind(queue, exchange, "a")
    assert exists(ch, exchange)
    ch.queue_unbind(queue, exchange, "b")
    eventually(lambda: not exists(ch, exchange), "the exchange is gone")


def test_auto_delete_goes_with_its_last_queue(ch: Any, fresh: Fresh) -> None:
    exchange, queue = declare(ch, fresh, "fanout", auto_delete=True), own_queue(ch)
    ch.queue_bind(queue, exchange)
    ch.queue_delete(queue)
    eventually(lambda: not exists(ch, exchange), "the exchange is gone")


def test_auto_delete_goes_with_the_last_exchange_bound_to_it(ch: Any, fresh: Fresh) -> None:
    source, destination = declare(ch, fresh, "fanout", auto_delete=True), declare(ch, fresh, "fanout")
    ch.exchange_bind(destination, source)
    ch.exchange_delete(destination)
    eventually(lambda: not exists(ch, source), "the exchange is gone")


def test_delete(ch: Any, fresh: Fresh) -> None:
    exchange = declare(ch, fresh, "direct")
    ch.exchange_delete(exchange, if_unused=True)
    ch.exchange_delete(exchange)  # what is not there may be deleted
    with expect_channel_error(404, f"NOT_FOUND - no exchange '{exchange}' in vhost '/'"):
        ch.exchange_declare(exchange, passive=True)


def test_an_exchange_that_only_receives_is_not_in_use(ch: Any, fresh: Fresh) -> None:
    exchange = declare(ch, fresh, "fanout")
    ch.exchange_bind(exchange, "amq.fanout")
    ch.exchange_delete(exchange, if_unused=True)


def test_cc_and_bcc_are_further_keys(ch: Any, fresh: Fresh) -> None:
    """RabbitMQ's sender-selected distribution: CC stays in the headers, BCC is taken out."""
    exchange = declare(ch, fresh, "direct")
    queues = {key: own_queue(ch) for key in ("to", "cc", "bcc")}
    for key, queue in queues.items():
        ch.queue_bind(queue, exchange, key)
    headers = {"CC": ["cc", "nobody"], "BCC": ["bcc"], "other": 1}
    ch.basic_publish(exchange, "to", b"x", pika.BasicProperties(headers=headers))
    for queue in queues.values():
        found = must_get(ch, queue)
        assert found.properties.headers == {"CC": ["cc", "nobody"], "other": 1}
        assert found.method.routing_key == "to"


def test_many_bindings(ch: Any, fresh: Fresh) -> None:
    exchange, queue = declare(ch, fresh, "topic"), own_queue(ch)
    for number in range(500):
        ch.queue_bind(queue, exchange, f"key.{number}.#")
    for number in (0, 250, 499):
        assert reached(ch, queue, exchange, f"key.{number}.x") == 1
    assert reached(ch, queue, exchange, "key.500.x") == 0
