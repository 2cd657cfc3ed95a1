"""ERROR: says what was wrong and with which frame, has its receipt, and is the end; nothing accepted is lost by it."""

from __future__ import annotations

import pytest

from leveret.core.access import User

from .talker import Talker, frame


def error_of(
    command: str, headers: dict[str, str], version: str = "1.2", body: bytes = b""
) -> tuple[str, str]:
    talker = Talker(version=version).opened()
    talker.subscribe("/queue/q", "q", ack="client")
    talker.send("/queue/q", b"held", persistent="true")
    assert len(talker.receives()) == 1
    talker.does(command, headers | {"receipt": "r:1" if version != "1.0" else "r"}, body)
    error = talker.fails()
    assert error["receipt-id"] == ("r:1" if version != "1.0" else "r")
    assert error["content-type"] == "text/plain" and error["version"] == "1.0,1.1,1.2"
    assert f"The frame:\n-----\n{command}\n" in error.body.decode()
    assert talker.peer.subscribers == {}
    other = Talker(talker.rig).opened()
    other.subscribe("/queue/q")
    assert other.bodies() == [b"held"]
    return error["message"], error.body.decode()


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
@pytest.mark.parametrize(
    ("command", "headers", "summary", "text"),
    [
        ("FOO", {}, "Bad command", 'Could not interpret command "FOO"'),
        ("MESSAGE", {}, "Bad command", "MESSAGE"),
        ("send", {"destination": "/queue/q"}, "Bad command", "send"),
        ("SEND", {}, "Missing destination", "SEND must include a 'destination' header"),
        (
            "SEND",
            {"destination": "/queue/q", "message-id": "1"},
            "Invalid header",
            "'message-id' is not allowed",
        ),
        ("SUBSCRIBE", {"id": "1"}, "Missing destination", "SUBSCRIBE must include a 'destination' header"),
        ("SUBSCRIBE", {"id": "/temp-queue/x", "destination": "/queue/q"}, "Invalid id", "may not start with"),
        (
            "SUBSCRIBE",
            {"id": "q", "destination": "/queue/q"},
            "Duplicated subscription identifier",
            "'q' already",
        ),
        ("SUBSCRIBE", {"id": "1", "destination": "/queue/q", "ack": "maybe"}, "Invalid header", "'maybe'"),
        (
            "SUBSCRIBE",
            {"id": "1", "destination": "/queue/q", "selector": "a = 1"},
            "Selectors are not supported",
            "'selector'",
        ),
        (
            "SUBSCRIBE",
            {"id": "1", "destination": "/queue/q", "prefetch-count": "x"},
            "Invalid header",
            "'prefetch-count'",
        ),
        (
            "SUBSCRIBE",
            {"destination": "/topic/q", "durable": "true"},
            "Missing Header",
            "durable subscriptions",
        ),
        ("UNSUBSCRIBE", {}, "Missing destination or id", "UNSUBSCRIBE must include"),
        ("UNSUBSCRIBE", {"id": "x"}, "No subscription found", "Subscription to 'x' not found"),
        ("UNSUBSCRIBE", {"destination": "/queue/q"}, "No subscription found", "'/queue/q' not found"),
        ("ACK", {}, "Missing header", "ACK must include the"),
        ("ACK", {"id": "1", "message-id": "1"}, "Invalid header", "ACK must include a valid id"),
        (
            "NACK",
            {"id": "a@@b@@c", "message-id": "a@@b@@c"},
            "Invalid header",
            "NACK must include a valid id",
        ),
        ("NACK", {"id": "T_q@@s@@1", "message-id": "T_q@@s@@1"}, "Message not found", "T_q@@s@@1"),
    ],
)
def test_what_is_wrong(version: str, command: str, headers: dict[str, str], summary: str, text: str) -> None:
    said, body = error_of(command, headers, version)
    assert said == summary
    assert text in body


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({"user-id": "other"}, "user_id property set to 'other' but authenticated user was 'guest'"),
        ({"expiration": "soon"}, "invalid expiration 'soon'"),
        ({"x-deliver-after": "soon"}, "x-deliver-after"),
        ({"correlation-id": "c" * 300}, "correlation-id"),
    ],
)
def test_a_message_that_cannot_be_taken(headers: dict[str, str], text: str) -> None:
    summary, body = error_of("SEND", {"destination": "/queue/q"} | headers)
    assert summary == "precondition_failed"
    assert text in body


def test_an_impersonator_may_say_who_it_is() -> None:
    talker = Talker()
    talker.rig.broker.access.add(User("imp", "imp", None, ("impersonator",)))
    talker.opened(login="imp", passcode="imp")
    talker.subscribe("/queue/q")
    talker.send("/queue/q", b"x", user_id="other")
    (message,) = talker.receives()
    assert message["user-id"] == "other"


def test_a_queue_of_another_connection() -> None:
    owner = Talker().opened()
    owner.subscribe("/queue/mine", durable="false")
    talker = Talker(owner.rig).opened()
    talker.subscribe("/queue/mine", receipt="s")
    error = talker.fails()
    assert (error["message"], error["receipt-id"]) == ("resource_locked", "s")


def test_an_error_on_the_short_way_says_which_frame() -> None:
    talker = Talker(message_size_max_bytes=10).opened()
    talker.send("/queue/q", b"short")
    talker.send("/queue/q", b"x" * 11)
    error = talker.fails()
    assert "message size 11 is larger" in error.body.decode()
    assert "SEND\ndestination:/queue/q" in error.body.decode()


def test_a_route_that_is_gone_is_an_error_on_the_short_way_too() -> None:
    talker = Talker().opened()
    talker.rig.vhost.declare_exchange("x", "fanout", True, False, False, {}, False)
    talker.send("/exchange/x", b"1")
    talker.rig.vhost.delete_exchange("x", False)
    talker.send("/exchange/x", b"2")
    assert talker.fails()["message"] == "not_found"


def test_a_long_frame_is_told_in_part() -> None:
    talker = Talker().opened()
    talker.does("FOO", {"a": "b" * 5000})
    assert len(talker.fails().body) < 1200


def test_nothing_is_heard_after_an_error() -> None:
    talker = Talker().opened()
    talker.says(frame("FOO") + frame("SEND", {"destination": "/queue/q"}, b"x"))
    assert talker.fails()["message"] == "Bad command"
    talker.send("/queue/q", b"y")
    assert "q" not in talker.rig.vhost.topology.queues


def test_delays_retries_and_priorities_as_for_amqp() -> None:
    talker = Talker().opened()
    talker.rig.at(1_000_000)
    talker.rig.queue("q", arguments={"x-max-priority": 9})
    talker.send("/queue/q", b"low", priority="1")
    talker.send("/queue/q", b"high", priority="8")
    talker.send("/queue/q", b"later", x_deliver_after="1000")
    talker.send("/queue/q", b"gone", expiration="500")
    talker.rig.pass_time(1_000_600)
    talker.subscribe("/queue/q")
    assert talker.bodies() == [b"high", b"low"]
    talker.rig.pass_time(1_001_200)
    assert talker.bodies() == [b"later"]


def test_a_headers_exchange_routes_by_what_a_send_says() -> None:
    talker = Talker().opened()
    talker.rig.queue("q")
    talker.rig.vhost.bind_queue("q", "amq.headers", "", {"x-match": "all", "color": "red"}, None)
    talker.subscribe("/queue/q")
    talker.send("/exchange/amq.headers", b"1", color="red")
    talker.send("/exchange/amq.headers", b"2", color="blue")
    assert talker.bodies() == [b"1"]
