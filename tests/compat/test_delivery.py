"""Delivering, settling and putting back: order, flags, credit and turns (through pika)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pika
import pika.exceptions
import pytest

from .broker import Address
from .clients import (
    Inbox,
    await_count,
    connection,
    count,
    drain,
    expect_channel_error,
    get,
    must_get,
    publish_all,
    run_until,
    settle,
)

Fresh = Callable[..., str]


@pytest.fixture
def queue(fresh: Fresh, conn: Any) -> str:
    """A queue of its own that several connections may use."""
    name = fresh()
    conn.channel().queue_declare(name)
    return name


def numbered(total: int) -> list[bytes]:
    return [str(number).encode() for number in range(1, total + 1)]


def test_fields_of_a_delivery(ch: Any, queue: str) -> None:
    ch.queue_bind(queue, "amq.topic", queue + ".#")
    inbox = Inbox(ch, queue, consumer_tag="mine")
    for body in (b"1", b"2"):
        ch.basic_publish("amq.topic", queue + ".key", body)
    for number, found in enumerate(inbox.wait(2), start=1):
        method = found.method
        assert (method.consumer_tag, method.delivery_tag, method.redelivered) == ("mine", number, False)
        assert (method.exchange, method.routing_key, found.body) == (
            "amq.topic",
            queue + ".key",
            str(number).encode(),
        )


def test_fields_of_get(ch: Any, queue: str) -> None:
    assert get(ch, queue) is None
    publish_all(ch, queue, [b"1", b"2"])
    found = must_get(ch, queue)
    method = found.method
    assert (method.delivery_tag, method.redelivered, method.exchange) == (1, False, "")
    assert (method.routing_key, method.message_count, found.body) == (queue, 1, b"1")


def test_delivery_tags_count_within_the_channel(conn: Any, queue: str) -> None:
    first, second = conn.channel(), conn.channel()
    publish_all(first, queue, numbered(4))
    assert [must_get(each, queue).tag for each in (first, first, second, second)] == [1, 2, 1, 2]


def test_tags_of_consumers_and_gets_are_one_series(ch: Any, queue: str) -> None:
    publish_all(ch, queue, numbered(2))
    assert must_get(ch, queue, auto_ack=True).tag == 1
    assert Inbox(ch, queue).wait(1)[0].tag == 2


def test_the_broker_names_consumers_who_do_not(address: Address, queue: str) -> None:
    from pika import spec

    from .raw import RawConnection

    with RawConnection(address) as raw:
        raw.login().open_channel(1)
        tags = [raw.call(1, spec.Basic.Consume(queue=queue)).consumer_tag for _ in range(3)]
    assert len(set(tags)) == 3
    assert all(tag.startswith("amq.ctag-") for tag in tags)


def test_order_is_kept(ch: Any, queue: str) -> None:
    inbox = Inbox(ch, queue, auto_ack=True)
    bodies = numbered(3000)
    for body in bodies:
        ch.basic_publish("", queue, body)
    inbox.wait(len(bodies))
    assert inbox.bodies == bodies


# -- settling --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settles", "left"),
    [
        ([("basic_ack", {"delivery_tag": 2})], [b"1", b"3", b"4"]),
        ([("basic_ack", {"delivery_tag": 3, "multiple": True})], [b"4"]),
        ([("basic_ack", {"delivery_tag": 0, "multiple": True})], []),
        ([("basic_nack", {"delivery_tag": 2})], [b"1", b"2", b"3", b"4"]),
        ([("basic_nack", {"delivery_tag": 2, "requeue": False})], [b"1", b"3", b"4"]),
        ([("basic_nack", {"delivery_tag": 3, "multiple": True, "requeue": False})], [b"4"]),
        ([("basic_nack", {"delivery_tag": 0, "multiple": True})], [b"1", b"2", b"3", b"4"]),
        ([("basic_reject", {"delivery_tag": 1})], [b"1", b"2", b"3", b"4"]),
        ([("basic_reject", {"delivery_tag": 1, "requeue": False})], [b"2", b"3", b"4"]),
        ([("basic_recover", {"requeue": True})], [b"1", b"2", b"3", b"4"]),
        (
            [("basic_ack", {"delivery_tag": 4}), ("basic_ack", {"delivery_tag": 2, "multiple": True})],
            [b"3"],
        ),
    ],
    ids=lambda value: (
        " ".join(f"{name} {args}" for name, args in value) if value and isinstance(value[0], tuple) else ""
    ),
)
def test_settled_is_gone_and_the_rest_comes_back_in_order(
    address: Address, ch: Any, queue: str, settles: list[tuple[str, dict[str, Any]]], left: list[bytes]
) -> None:
    publish_all(ch, queue, numbered(4))
    with connection(address) as consumer:
        channel = consumer.channel()
        for _ in range(4):
            must_get(channel, queue)
        for name, args in settles:
            getattr(channel, name)(**args)
        channel.basic_qos(prefetch_count=1)  # a round trip: the settles are done
        channel.close()
    await_count(ch, queue, len(left))
    assert drain(ch, queue) == left


def test_put_back_goes_to_the_place_it_came_from(ch: Any, queue: str) -> None:
    publish_all(ch, queue, numbered(4))
    first, second = must_get(ch, queue), must_get(ch, queue)
    ch.basic_nack(second.tag)
    ch.basic_nack(first.tag)
    await_count(ch, queue, 4)
    found = [must_get(ch, queue, auto_ack=True) for _ in range(4)]
    assert [each.body for each in found] == numbered(4)
    assert [each.redelivered for each in found] == [True, True, False, False]


def test_put_back_of_a_consumer_comes_again_at_once(ch: Any, queue: str) -> None:
    ch.basic_qos(prefetch_count=1)
    inbox = Inbox(ch, queue)
    ch.basic_publish("", queue, b"x")
    inbox.wait(1)
    ch.basic_reject(inbox.received[0].tag, requeue=True)
    inbox.wait(2)
    assert [(each.tag, each.redelivered) for each in inbox.received] == [(1, False), (2, True)]


def test_a_prefetch_window_put_back_whole_keeps_its_order(ch: Any, queue: str) -> None:
    ch.basic_qos(prefetch_count=10)
    inbox = Inbox(ch, queue)
    for body in numbered(30):
        ch.basic_publish("", queue, body)
    inbox.wait(10)
    ch.basic_nack(0, multiple=True)
    inbox.wait(20)
    assert inbox.bodies == numbered(10) * 2
    assert [each.redelivered for each in inbox.received] == [False] * 10 + [True] * 10


def test_closing_the_channel_puts_back_in_order_and_marks(ch: Any, conn: Any, queue: str) -> None:
    publish_all(ch, queue, numbered(3))
    taker = conn.channel()
    for _ in range(2):
        must_get(taker, queue)
    taker.close()
    await_count(ch, queue, 3)
    found = [must_get(ch, queue, auto_ack=True) for _ in range(3)]
    assert [(each.body, each.redelivered) for each in found] == [(b"1", True), (b"2", True), (b"3", False)]


def test_recover_gives_consumers_their_messages_again(ch: Any, queue: str) -> None:
    inbox = Inbox(ch, queue)
    for body in numbered(3):
        ch.basic_publish("", queue, body)
    inbox.wait(3)
    ch.basic_recover(requeue=True)
    inbox.wait(6)
    assert inbox.bodies == numbered(3) * 2
    assert [each.tag for each in inbox.received] == [1, 2, 3, 4, 5, 6]
    assert all(each.redelivered for each in inbox.received[3:])


def test_auto_ack_needs_no_ack_and_knows_no_credit(ch: Any, queue: str) -> None:
    ch.basic_qos(prefetch_count=1)
    inbox = Inbox(ch, queue, auto_ack=True)
    for body in numbered(20):
        ch.basic_publish("", queue, body)
    inbox.wait(20)
    ch.close()
    assert not inbox.received[-1].redelivered


# -- credit and turns ------------------------------------------------------------------------------------


def test_prefetch_bounds_what_is_out(ch: Any, queue: str) -> None:
    ch.basic_qos(prefetch_count=3)
    inbox = Inbox(ch, queue)
    for body in numbered(10):
        ch.basic_publish("", queue, body)
    inbox.wait(3)
    await_count(ch, queue, 7)
    assert len(inbox.received) == 3
    ch.basic_ack(2, multiple=True)
    inbox.wait(5)
    await_count(ch, queue, 5)
    assert inbox.bodies == numbered(5)


def test_prefetch_is_each_consumers_own(ch: Any, queue: str) -> None:
    ch.basic_qos(prefetch_count=2)
    inboxes = [Inbox(ch, queue) for _ in range(3)]
    publish_all_counted(ch, queue, 10, left=4)
    assert [len(inbox.received) for inbox in inboxes] == [2, 2, 2]


def test_global_prefetch_is_the_channels(ch: Any, queue: str) -> None:
    ch.basic_qos(prefetch_count=4, global_qos=True)
    inboxes = [Inbox(ch, queue) for _ in range(3)]
    publish_all_counted(ch, queue, 10, left=6)
    received = [each for inbox in inboxes for each in inbox.received]
    assert len(received) == 4
    ch.basic_ack(received[0].tag)
    run_until(ch, lambda: sum(len(inbox.received) for inbox in inboxes) == 5, "one more")


def test_both_prefetches_hold(ch: Any, queue: str) -> None:
    ch.basic_qos(prefetch_count=2)
    ch.basic_qos(prefetch_count=3, global_qos=True)
    inboxes = [Inbox(ch, queue), Inbox(ch, queue)]
    publish_all_counted(ch, queue, 10, left=7)
    assert sorted(len(inbox.received) for inbox in inboxes) == [1, 2]


def test_global_prefetch_lifted(ch: Any, queue: str) -> None:
    ch.basic_qos(prefetch_count=1, global_qos=True)
    inbox = Inbox(ch, queue)
    publish_all_counted(ch, queue, 5, left=4)
    ch.basic_qos(prefetch_count=0, global_qos=True)
    inbox.wait(5)


def test_qos_of_consumers_lifts_the_channels(ch: Any, queue: str) -> None:
    """RabbitMQ drops the channel's limit with any basic.qos that is not global (rabbit_channel)."""
    ch.basic_qos(prefetch_count=1, global_qos=True)
    inbox = Inbox(ch, queue)
    publish_all_counted(ch, queue, 5, left=4)
    ch.basic_qos(prefetch_count=1)
    inbox.wait(5)


def test_prefetch_holds_for_consumers_that_come_after_it(ch: Any, queue: str) -> None:
    unlimited = Inbox(ch, queue)
    ch.basic_qos(prefetch_count=1)
    publish_all_counted(ch, queue, 5, left=0)
    assert len(unlimited.wait(5)) == 5


def publish_all_counted(ch: Any, queue: str, total: int, left: int) -> None:
    """Publish, and wait until consumers hold all but `left`."""
    ch.confirm_delivery()
    for body in numbered(total):
        ch.basic_publish("", queue, body)
    await_count(ch, queue, left)
    settle(ch)


def test_three_idle_workers_get_a_message_each(address: Address, ch: Any, queue: str) -> None:
    with connection(address) as one, connection(address) as two, connection(address) as three:
        workers = []
        for each in (one, two, three):
            channel = each.channel()
            channel.basic_qos(prefetch_count=1)
            workers.append(Inbox(channel, queue))
        publish_all_counted(ch, queue, 3, left=0)
        for worker in workers:
            worker.wait(1)
        assert sorted(worker.bodies[0] for worker in workers) == numbered(3)


def test_consumers_with_credit_are_served_in_turn(ch: Any, queue: str) -> None:
    inboxes = [Inbox(ch, queue, auto_ack=True) for _ in range(3)]
    for body in numbered(30):
        ch.basic_publish("", queue, body)
        settle(ch)
    run_until(ch, lambda: sum(len(inbox.received) for inbox in inboxes) == 30, "all are delivered")
    assert [len(inbox.received) for inbox in inboxes] == [10, 10, 10]


def test_a_busy_consumer_is_passed_over(ch: Any, queue: str) -> None:
    ch.basic_qos(prefetch_count=1)
    busy, free = Inbox(ch, queue), Inbox(ch, queue)
    publish_all_counted(ch, queue, 2, left=0)
    run_until(ch, lambda: busy.received and free.received, "each has one")
    for body in numbered(4):
        ch.basic_publish("", queue, body)
        ch.basic_ack(free.received[-1].tag)
        total = len(free.received) + 1
        free.wait(total)
    assert len(busy.received) == 1


# -- consumers -------------------------------------------------------------------------------------------


def test_cancel_keeps_what_is_out_and_sends_no_more(ch: Any, queue: str) -> None:
    inbox = Inbox(ch, queue)
    ch.basic_publish("", queue, b"1")
    inbox.wait(1)
    ch.basic_cancel(inbox.tag)
    publish_all(ch, queue, [b"2"])
    assert inbox.bodies == [b"1"]
    ch.basic_ack(inbox.received[0].tag)
    settle(ch)
    assert drain(ch, queue) == [b"2"]


def test_a_tag_may_be_used_again_after_cancel(ch: Any, queue: str) -> None:
    for _ in range(2):
        ch.basic_cancel(Inbox(ch, queue, consumer_tag="tag").tag)


def test_the_same_tag_on_another_channel(conn: Any, queue: str) -> None:
    for channel in (conn.channel(), conn.channel()):
        Inbox(channel, queue, consumer_tag="tag")


def test_cancel_of_an_unknown_tag_is_answered(address: Address) -> None:
    from pika import spec

    from .raw import RawConnection

    with RawConnection(address) as raw:
        raw.login().open_channel(1)
        assert raw.call(1, spec.Basic.Cancel(consumer_tag="nobody")).consumer_tag == "nobody"


def test_an_exclusive_consumer_makes_room_when_it_goes(ch: Any, other: Any, queue: str) -> None:
    inbox = Inbox(ch, queue, exclusive=True)
    with expect_channel_error(403, f"ACCESS_REFUSED - queue '{queue}' in vhost '/' in exclusive use"):
        other.channel().basic_consume(queue, lambda *_: None)
    ch.basic_cancel(inbox.tag)
    Inbox(other.channel(), queue, exclusive=True)


def test_basic_get_of_a_queue_in_exclusive_use(ch: Any, other: Any, queue: str) -> None:
    """Exclusive use concerns consumers; RabbitMQ lets others get."""
    ch.basic_qos(prefetch_count=1)
    inbox = Inbox(ch, queue, exclusive=True)
    publish_all_counted(ch, queue, 2, left=1)
    inbox.wait(1)
    assert must_get(other.channel(), queue).body == b"2"


def test_no_local_is_ignored(address: Address, queue: str) -> None:
    from pika import spec

    from .raw import RawConnection, publish

    with RawConnection(address) as raw:
        raw.login().open_channel(1)
        raw.call(1, spec.Basic.Consume(queue=queue, no_local=True, no_ack=True))
        raw.send(publish(1, queue, b"mine"))
        assert raw.read_content(1).body == b"mine"


def test_unknown_arguments_of_consumers_are_ignored(ch: Any, queue: str) -> None:
    Inbox(ch, queue, arguments={"x-unknown": 1, "whatever": "yes"})


def test_consumers_of_one_connection_on_many_channels(conn: Any, queue: str) -> None:
    inboxes = []
    for _ in range(20):
        channel = conn.channel()
        channel.basic_qos(prefetch_count=1)
        inboxes.append(Inbox(channel, queue))
    publisher = conn.channel()
    publish_all_counted(publisher, queue, 20, left=0)
    run_until(publisher, lambda: all(len(inbox.received) == 1 for inbox in inboxes), "one each")


# -- returns ---------------------------------------------------------------------------------------------


def test_mandatory_without_a_route_comes_back_whole(ch: Any) -> None:
    returned: list[Any] = []
    ch.add_on_return_callback(
        lambda _channel, method, properties, body: returned.append((method, properties, body))
    )
    properties = pika.BasicProperties(content_type="text/plain", headers={"a": 1}, delivery_mode=2)
    ch.basic_publish("amq.direct", "compat.nobody", b"body", properties, mandatory=True)
    run_until(ch, lambda: returned, "the message comes back")
    method, found, body = returned[0]
    assert (method.reply_code, method.reply_text) == (312, "NO_ROUTE")
    assert (method.exchange, method.routing_key, body) == ("amq.direct", "compat.nobody", b"body")
    assert found == properties


def test_mandatory_with_a_route_does_not(ch: Any, queue: str) -> None:
    returned: list[Any] = []
    ch.add_on_return_callback(lambda *args: returned.append(args))
    ch.basic_publish("", queue, b"1", mandatory=True)
    ch.basic_publish("", "compat.nobody", b"2")
    assert must_get(ch, queue).body == b"1"
    settle(ch)
    assert not returned


def test_user_id_of_ones_own_is_kept(ch: Any, queue: str) -> None:
    ch.basic_publish("", queue, b"x", pika.BasicProperties(user_id="guest"))
    assert must_get(ch, queue).properties.user_id == "guest"
    assert count(ch, queue) == 0
