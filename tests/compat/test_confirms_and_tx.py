"""Publisher confirms and transactions (through pika, and frame by frame where pika hides it)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pika
import pika.exceptions
import pytest
from pika import spec

from .broker import Address
from .clients import await_count, connection, count, drain, must_get, publish_all, settle
from .raw import RawConnection, header_frame, method_frame, publish

Fresh = Callable[..., str]


def own_queue(ch: Any) -> str:
    return str(ch.queue_declare("", exclusive=True).method.queue)


def confirmed(raw: RawConnection, last: int) -> list[int]:
    """The publish numbers in the order they were confirmed, up to `last` of them."""
    pending, order = list(range(1, last + 1)), []
    while pending:
        ack = raw.read_method(1)
        assert isinstance(ack, spec.Basic.Ack), ack
        done = [
            each for each in pending if each == ack.delivery_tag or (ack.multiple and each < ack.delivery_tag)
        ]
        assert ack.delivery_tag in done, f"{ack} confirms what was confirmed or never published"
        order += done
        pending = [each for each in pending if each not in done]
    return order


# -- confirms --------------------------------------------------------------------------------------------


def test_every_publish_is_confirmed_once(address: Address) -> None:
    with RawConnection(address) as raw:
        raw.login().open_channel(1)
        queue = raw.call(1, spec.Queue.Declare(exclusive=True)).queue
        assert isinstance(raw.call(1, spec.Confirm.Select()), spec.Confirm.SelectOk)
        persistent = b"\x10\x00\x02"
        for number in range(500):
            to = queue if number % 3 else "compat.nobody"  # what has no route is confirmed too
            raw.send(publish(1, to, b"x", persistent if number % 2 else b"\0\0"))
        assert sorted(confirmed(raw, 500)) == list(range(1, 501))
        raw.send_method(1, spec.Basic.Qos())
        assert isinstance(raw.read_method(1), spec.Basic.QosOk)


def test_numbers_begin_with_confirm_select(address: Address) -> None:
    with RawConnection(address) as raw:
        raw.login().open_channel(1)
        raw.send(publish(1, "compat.nobody", b"before"))
        for _ in range(2):
            assert isinstance(raw.call(1, spec.Confirm.Select()), spec.Confirm.SelectOk)
        raw.send(publish(1, "compat.nobody", b"after"))
        assert raw.read_method(1).delivery_tag == 1


def test_a_confirmed_durable_message_is_there(ch: Any, fresh: Fresh) -> None:
    queue = fresh()
    ch.queue_declare(queue, durable=True)
    ch.confirm_delivery()
    for _ in range(20):
        ch.basic_publish("", queue, b"x", pika.BasicProperties(delivery_mode=2))
    assert count(ch, queue) == 20


def test_confirmed_though_consumed_at_once(ch: Any) -> None:
    queue = own_queue(ch)
    bodies: list[bytes] = []
    ch.basic_consume(queue, lambda _channel, _method, _properties, body: bodies.append(body), auto_ack=True)
    ch.confirm_delivery()
    for number in range(50):
        ch.basic_publish("", queue, str(number).encode(), pika.BasicProperties(delivery_mode=2))
    settle(ch)
    assert len(bodies) == 50


def test_a_return_comes_before_its_confirm(address: Address) -> None:
    with RawConnection(address) as raw:
        raw.login().open_channel(1).call(1, spec.Confirm.Select())
        start = spec.Basic.Publish(exchange="amq.direct", routing_key="compat.nobody", mandatory=True)
        raw.send(method_frame(1, start) + header_frame(1, 0))
        returned = raw.read_content(1)
        assert isinstance(returned.method, spec.Basic.Return)
        assert raw.read_method(1).delivery_tag == 1


def test_pika_raises_for_what_has_no_route(ch: Any) -> None:
    ch.confirm_delivery()
    with pytest.raises(pika.exceptions.UnroutableError):
        ch.basic_publish("", "compat.nobody", b"x", mandatory=True)


def test_fanout_is_confirmed_once(ch: Any, address: Address) -> None:
    queues = [own_queue(ch) for _ in range(5)]
    for queue in queues:
        ch.queue_bind(queue, "amq.fanout")
    with RawConnection(address) as raw:
        raw.login().open_channel(1).call(1, spec.Confirm.Select())
        raw.send(publish(1, "", b"x", exchange="amq.fanout") + publish(1, "", b"y", exchange="amq.fanout"))
        assert confirmed(raw, 2) == [1, 2]
    assert [drain(ch, queue) for queue in queues] == [[b"x", b"y"]] * 5


# -- transactions ----------------------------------------------------------------------------------------


def test_publishes_wait_for_commit(ch: Any, conn: Any) -> None:
    queue, tx = own_queue(ch), conn.channel()
    tx.tx_select()
    for body in (b"1", b"2"):
        tx.basic_publish("", queue, body)
    settle(tx)
    assert count(ch, queue) == 0
    tx.tx_commit()
    assert drain(ch, queue) == [b"1", b"2"]
    tx.basic_publish("", queue, b"3")  # the next transaction has begun
    settle(tx)
    assert count(ch, queue) == 0


def test_rollback_forgets_publishes(ch: Any, conn: Any) -> None:
    queue, tx = own_queue(ch), conn.channel()
    tx.tx_select()
    tx.basic_publish("", queue, b"1")
    tx.tx_rollback()
    tx.tx_commit()
    assert count(ch, queue) == 0


def test_closing_the_channel_forgets_publishes(ch: Any, conn: Any) -> None:
    queue, tx = own_queue(ch), conn.channel()
    tx.tx_select()
    tx.basic_publish("", queue, b"1")
    tx.close()
    assert count(ch, queue) == 0


def test_acks_wait_for_commit(ch: Any, fresh: Fresh, address: Address) -> None:
    queue = fresh()
    ch.queue_declare(queue)
    publish_all(ch, queue, [b"1", b"2"])
    with connection(address) as brief:
        tx = brief.channel()
        tx.tx_select()
        tx.basic_ack(must_get(tx, queue).tag)
        tx.tx_commit()
        tx.basic_ack(must_get(tx, queue).tag)
        settle(tx)  # not committed
    await_count(ch, queue, 1)
    assert drain(ch, queue) == [b"2"]


def test_rollback_makes_acked_messages_unacked_again(ch: Any) -> None:
    queue = own_queue(ch)
    publish_all(ch, queue, [b"1", b"2"])
    ch.tx_select()
    tags = [must_get(ch, queue).tag for _ in range(2)]
    ch.basic_ack(tags[1], multiple=True)
    ch.tx_rollback()
    assert count(ch, queue) == 0  # still out: a rollback does not put back
    ch.basic_ack(tags[0])  # and may be settled again
    ch.basic_nack(tags[1])
    ch.tx_commit()
    await_count(ch, queue, 1)
    found = must_get(ch, queue)
    assert (found.body, found.redelivered) == (b"2", True)


def test_nack_and_reject_wait_for_commit(ch: Any) -> None:
    queue = own_queue(ch)
    publish_all(ch, queue, [b"1", b"2", b"3"])
    ch.tx_select()
    tags = [must_get(ch, queue).tag for _ in range(3)]
    ch.basic_nack(tags[0])
    ch.basic_reject(tags[1], requeue=False)
    ch.basic_reject(tags[2], requeue=True)
    assert count(ch, queue) == 0
    ch.tx_commit()
    await_count(ch, queue, 2)
    found = [must_get(ch, queue) for _ in range(2)]
    assert [(each.body, each.redelivered) for each in found] == [(b"1", True), (b"3", True)]


def test_an_unknown_tag_is_an_error_at_once(ch: Any) -> None:
    ch.tx_select()
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as caught:
        ch.basic_ack(7)
        settle(ch)
    assert caught.value.reply_text == "PRECONDITION_FAILED - unknown delivery tag 7"


def test_mandatory_in_a_transaction_returns_at_commit(address: Address) -> None:
    with RawConnection(address) as raw:
        raw.login().open_channel(1)
        for _ in range(2):
            assert isinstance(raw.call(1, spec.Tx.Select()), spec.Tx.SelectOk)
        start = spec.Basic.Publish(exchange="", routing_key="compat.nobody", mandatory=True)
        raw.send(method_frame(1, start) + header_frame(1, 0))
        assert isinstance(raw.call(1, spec.Basic.Qos()), spec.Basic.QosOk)
        raw.send_method(1, spec.Tx.Commit())
        assert isinstance(raw.read_content(1).method, spec.Basic.Return)
        assert isinstance(raw.read_method(1), spec.Tx.CommitOk)


def test_a_large_transaction(ch: Any, conn: Any) -> None:
    queue, tx = own_queue(ch), conn.channel()
    tx.tx_select()
    bodies = [str(number).encode() for number in range(2000)]
    for body in bodies:
        tx.basic_publish("", queue, body, pika.BasicProperties(delivery_mode=2))
    tx.tx_commit()
    assert count(ch, queue) == 2000
    assert drain(ch, queue) == bodies


def test_gets_and_declares_do_not_wait(ch: Any) -> None:
    ch.tx_select()
    queue = own_queue(ch)
    ch.queue_bind(queue, "amq.direct", "k")
    assert count(ch, queue) == 0
