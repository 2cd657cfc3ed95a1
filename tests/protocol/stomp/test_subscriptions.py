"""Subscriptions: acknowledge modes, prefetch, what is unsettled when one ends, and which queues destinations stand for."""

from __future__ import annotations

import pytest

from leveret.wire import requests
from leveret.wire.properties import Properties, encode_properties

from ..talker import Talker as AmqpTalker
from ..talker import publish
from .talker import Frame, Talker

VERSIONS = ("1.0", "1.1", "1.2")


def filled(version: str = "1.2", count: int = 5, **headers: str) -> tuple[Talker, list[Frame]]:
    """Subscribed to a durable queue with so many messages, which came."""
    talker = Talker(version=version).opened()
    for at in range(count):
        talker.send("/queue/q", b"%d" % at, persistent="true")
    talker.subscribe("/queue/q", **headers)
    messages = talker.receives()
    assert [each.body for each in messages] == [b"%d" % at for at in range(count)][: len(messages)]
    return talker, messages


def left(talker: Talker) -> list[tuple[bytes, str]]:
    """What is in the queue once this client is gone: bodies, and whether they were delivered before."""
    talker.lost()
    other = Talker(talker.rig).opened()
    other.subscribe("/queue/q")
    return [(each.body, each["redelivered"]) for each in other.receives()]


# ---- acknowledge modes


def test_auto_settles_as_it_sends() -> None:
    talker, messages = filled()
    assert all("ack" not in each.headers for each in messages)
    assert left(talker) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_client_settles_all_up_to_a_message(version: str) -> None:
    talker, messages = filled(version, ack="client")
    talker.ack(messages[2])
    assert left(talker) == [(b"3", "true"), (b"4", "true")]


@pytest.mark.parametrize("version", VERSIONS)
def test_client_individual_settles_one(version: str) -> None:
    talker, messages = filled(version, ack="client-individual")
    talker.ack(messages[2])
    talker.ack(messages[0])
    assert left(talker) == [(b"1", "true"), (b"3", "true"), (b"4", "true")]


def test_client_means_the_messages_of_its_subscription() -> None:
    talker = Talker().opened()
    talker.subscribe("/queue/a", "1", ack="client")
    talker.subscribe("/queue/q", "2", ack="client")
    for at in range(3):
        talker.send("/queue/a", b"a%d" % at)
        talker.send("/queue/q", b"q%d" % at)
    messages = {each.body: each for each in talker.receives()}
    talker.ack(messages[b"a2"])
    assert left(talker) == [(b"q0", "true"), (b"q1", "true"), (b"q2", "true")]


def test_an_id_of_a_message_is_as_in_rabbitmq_and_good_for_an_ack_in_1_2() -> None:
    talker, messages = filled(count=150, ack="client-individual")
    assert messages[149]["ack"] == messages[149]["message-id"]
    tag, session, number = messages[149]["message-id"].split("@@")
    assert (tag, int(number)) == ("T_0", 150) and session.startswith("session-")
    assert len({each["message-id"] for each in messages}) == 150
    for each in messages:
        talker.ack(each)
    assert left(talker) == []


@pytest.mark.parametrize(
    ("headers", "again"), [({}, [b"1"]), ({"requeue": "true"}, [b"1"]), ({"requeue": "false"}, [])]
)
def test_nack(headers: dict[str, str], again: list[bytes]) -> None:
    talker, messages = filled(ack="client-individual")
    talker.ack(messages[1], "NACK", **headers)
    came = talker.receives()
    assert [each.body for each in came] == again
    assert all(each["redelivered"] == "true" for each in came)


def test_nack_in_client_mode_means_all_up_to_it() -> None:
    talker, messages = filled(ack="client")
    talker.ack(messages[2], "NACK")
    assert talker.bodies() == [b"0", b"1", b"2"]


def test_nack_without_requeue_is_a_dead_letter() -> None:
    talker = Talker().opened()
    talker.subscribe("/queue/dead", "d")
    talker.subscribe("/queue/q", ack="client", x_dead_letter_exchange="", x_dead_letter_routing_key="dead")
    talker.send("/queue/q", b"bad", color="red")
    (message,) = talker.receives()
    talker.ack(message, "NACK", requeue="false")
    (dead,) = talker.receives()
    assert dead.body == b"bad"
    assert (dead["subscription"], dead["destination"], dead["color"]) == ("d", "/queue/dead", "red")
    assert (dead["x-first-death-queue"], dead["x-first-death-reason"]) == ("q", "rejected")


@pytest.mark.parametrize("command", ["ACK", "NACK"])
def test_what_is_settled_is_not_found_again(command: str) -> None:
    talker, messages = filled(ack="client")
    talker.ack(messages[2])
    talker.ack(messages[1], command)
    error = talker.fails()
    assert error["message"] == "Message not found"
    assert messages[1]["ack"] in error.body.decode()


def test_an_id_of_another_connection_settles_nothing() -> None:
    talker, messages = filled(ack="client")
    talker.lost()
    other = Talker(talker.rig).opened()
    other.subscribe("/queue/q", ack="client")
    assert len(other.receives()) == 5
    other.ack(messages[0])
    assert other.fails()["message"] == "Message not found"


# ---- prefetch, and the end of a subscription


def test_prefetch_count_bounds_what_is_unsettled() -> None:
    talker, messages = filled(ack="client", prefetch_count="2")
    assert len(messages) == 2
    talker.ack(messages[1])
    assert talker.bodies() == [b"2", b"3"]


def test_what_is_unsettled_after_unsubscribe_can_be_settled() -> None:
    talker, messages = filled(ack="client-individual")
    talker.does("UNSUBSCRIBE", {"id": "0"})
    talker.ack(messages[0])
    talker.ack(messages[4])
    assert len(talker.peer.subscribers) == 1
    assert left(talker) == [(b"1", "true"), (b"2", "true"), (b"3", "true")]


def test_a_session_goes_with_the_last_message_it_has() -> None:
    talker, messages = filled(count=2, ack="client")
    talker.does("UNSUBSCRIBE", {"id": "0"})
    talker.ack(messages[1])
    assert talker.peer.subscribers == {}


def test_a_subscription_of_the_same_id_goes_on_counting() -> None:
    talker, first = filled(count=2, ack="client-individual")
    talker.does("UNSUBSCRIBE", {"id": "0"})
    talker.subscribe("/queue/other", ack="client")
    for at in range(3):
        talker.send("/queue/other", b"o%d" % at)
    second = talker.receives()
    assert len({each["ack"] for each in first + second}) == 5
    talker.ack(first[1])  # by itself, as it was promised
    assert left(talker) == [(b"0", "true")]


def test_a_settled_delivery_may_come_back_from_a_transaction_after_unsubscribe() -> None:
    talker, (message,) = filled(count=1, ack="client")
    talker.does("BEGIN", {"transaction": "t"})
    talker.ack(message, transaction="t")
    talker.does("UNSUBSCRIBE", {"id": "0"})
    talker.does("ABORT", {"transaction": "t"})
    talker.ack(message)
    assert left(talker) == []


def test_a_subscription_without_an_id_goes_by_its_destination() -> None:
    talker = Talker(version="1.0").opened()
    talker.does("SUBSCRIBE", {"destination": "/queue/q", "ack": "client"})
    talker.send("/queue/q", b"x")
    (message,) = talker.receives()
    assert "subscription" not in message.headers
    talker.does("ACK", {"message-id": message["message-id"]})
    talker.does("UNSUBSCRIBE", {"destination": "/queue/q"})
    talker.send("/queue/q", b"y")
    assert talker.receives() == []
    assert left(talker) == [(b"y", "false")]


def test_a_consumer_that_does_not_read_gets_no_more_and_then_goes_on() -> None:
    talker = Talker().opened()
    talker.subscribe("/queue/q")
    talker.peer.unsent = 1 << 30
    talker.send("/queue/q", b"x")
    assert talker.receives() == []
    talker.peer.unsent = 0
    talker.peer.drained()
    assert talker.bodies() == [b"x"]


def test_large_messages_leave_uncopied() -> None:
    talker = Talker().opened()
    talker.subscribe("/queue/q")
    body = b"x" * 100_000
    talker.send("/queue/q", body)
    talker.sync()
    assert any(part.endswith(body) for part in talker.link.sent)
    assert talker.one().body == body


def test_a_deleted_queue_ends_its_subscription_and_no_other() -> None:
    talker = Talker().opened()
    talker.subscribe("/queue/q")
    talker.subscribe("/queue/other", "o")
    talker.rig.vhost.delete_queue("q", False, False, None)
    talker.sync()
    error = talker.one()
    assert (error.command, error["message"], error["subscription"]) == (
        "ERROR",
        "Server cancelled subscription",
        "0",
    )
    talker.send("/queue/other", b"on")
    assert talker.bodies() == [b"on"]
    talker.subscribe("/queue/q")
    talker.send("/queue/q", b"again")
    assert talker.bodies() == [b"again"]


def test_priorities_of_consumers() -> None:
    talker = Talker().opened()
    talker.subscribe("/queue/q", "low")
    talker.subscribe("/queue/q", "high", x_priority="5")
    for _ in range(3):
        talker.send("/queue/q", b"x")
    assert [each["subscription"] for each in talker.receives()] == ["high"] * 3


# ---- destinations


def queue(talker: Talker, name: str) -> tuple[bool, bool, bool, dict[str, object]]:
    found = talker.rig.vhost.topology.queues[name]
    return found.durable, found.exclusive, found.auto_delete, found.arguments


@pytest.mark.parametrize("subscribes", [True, False])
def test_a_queue_is_declared_as_it_is_used(subscribes: bool) -> None:
    talker = Talker().opened()
    headers = {
        "x-max-length": "5", "x-dead-letter-exchange": "amq.fanout", "x-single-active-consumer": "true",
        "x-message-ttl": "60000", "x-queue-type": "classic",
    }  # fmt: skip
    talker.does("SUBSCRIBE" if subscribes else "SEND", {"destination": "/queue/q", "id": "0"} | headers)
    assert talker.heard() == []
    assert queue(talker, "q") == (
        True,
        False,
        False,
        {
            "x-max-length": 5, "x-dead-letter-exchange": "amq.fanout", "x-single-active-consumer": True,
            "x-message-ttl": 60000, "x-queue-type": "classic",
        },
    )  # fmt: skip


def test_a_queue_that_is_there_is_used_as_it_is() -> None:
    talker = Talker().opened()
    talker.rig.queue("q", durable=False, arguments={"x-max-length": 7})
    talker.subscribe("/queue/q", x_max_length="8")
    talker.send("/queue/q", b"x")
    assert talker.bodies() == [b"x"]


def test_a_queue_that_does_not_last() -> None:
    talker = Talker().opened()
    talker.subscribe("/queue/q", durable="false")
    assert queue(talker, "q")[:3] == (False, True, True)


def test_persistent_speaks_of_the_message_and_not_of_the_queue() -> None:
    talker = Talker().opened()
    talker.send("/queue/q", b"x", persistent="false")
    assert queue(talker, "q")[:3] == (True, False, False)


def test_a_queue_that_was_deleted_is_there_again_for_the_next_send() -> None:
    talker = Talker().opened()
    talker.send("/queue/q", b"1")
    talker.rig.vhost.delete_queue("q", False, False, None)
    talker.send("/queue/q", b"2")
    talker.subscribe("/queue/q")
    assert talker.bodies() == [b"2"]


def test_an_argument_that_means_nothing_is_refused() -> None:
    talker = Talker().opened()
    talker.subscribe("/queue/q", x_max_length="many")
    error = talker.fails()
    assert error["message"] == "precondition_failed"
    assert "x-max-length" in error.body.decode()


def test_amq_queue_has_to_be_there() -> None:
    talker = Talker().opened()
    talker.send("/amq/queue/q", b"nobody gets it")
    talker.rig.queue("q")
    talker.subscribe("/amq/queue/q")
    talker.send("/amq/queue/q", b"x")
    (message,) = talker.receives()
    assert (message.body, message["destination"]) == (b"x", "/queue/q")
    talker.subscribe("/amq/queue/none", "1")
    assert talker.fails()["message"] == "not_found"


def test_topics() -> None:
    talker = Talker().opened()
    talker.subscribe("/topic/a.*.c", "1")
    talker.subscribe("/topic/a.#", "2")
    talker.send("/topic/a.b.c", b"1")
    talker.send("/topic/a", b"2")
    talker.send("/topic/b", b"3")
    came = sorted((each["subscription"], each.body, each["destination"]) for each in talker.receives())
    assert came == [
        ("1", b"1", "/topic/a.b.c"),
        ("2", b"1", "/topic/a.b.c"),
        ("2", b"2", "/topic/a"),
    ]
    names = [name for name in talker.rig.vhost.topology.queues if name.startswith("stomp-subscription-")]
    assert len(names) == 2 and all(queue(talker, name)[:3] == (False, True, True) for name in names)
    talker.does("UNSUBSCRIBE", {"id": "1"})
    assert len(talker.rig.vhost.topology.queues) == 1
    talker.lost()
    assert not talker.rig.vhost.topology.queues


def test_exchanges() -> None:
    talker = Talker().opened()
    talker.rig.vhost.declare_exchange("x", "direct", True, False, False, {}, False)
    talker.subscribe("/exchange/x/k", "1")
    talker.subscribe("/exchange/amq.fanout", "2")
    talker.send("/exchange/x/k", b"1")
    talker.send("/exchange/x/other", b"2")
    talker.send("/exchange/amq.fanout", b"3")
    came = [(each["subscription"], each.body, each["destination"]) for each in talker.receives()]
    assert sorted(came) == [("1", b"1", "/exchange/x/k"), ("2", b"3", "/exchange/amq.fanout")]


def test_an_exchange_that_is_not_there() -> None:
    talker = Talker().opened()
    talker.subscribe("/exchange/none/k")
    assert talker.fails()["message"] == "not_found"
    assert not talker.rig.vhost.topology.queues
    other = Talker(talker.rig).opened()
    other.send("/exchange/none/k", b"", receipt="r")
    error = other.fails()
    assert (error["message"], error["receipt-id"]) == ("not_found", "r")
    assert "no exchange 'none' in vhost '/'" in error.body.decode()


@pytest.mark.parametrize("header", ["durable", "persistent"])
def test_a_durable_topic_subscription_outlives_its_connection(header: str) -> None:
    told = {header: "true", "auto-delete": "false"}
    talker = Talker().opened()
    talker.does("SUBSCRIBE", {"destination": "/topic/t", "id": "mine"} | told)
    (name,) = talker.rig.vhost.topology.queues
    assert name.startswith("stomp-subscription-")
    talker.lost()
    other = Talker(talker.rig).opened()
    other.send("/topic/t", b"kept", persistent="true")
    talker = Talker(other.rig.crash() if header == "durable" else other.rig).opened()
    talker.does("SUBSCRIBE", {"destination": "/topic/t", "id": "mine"} | told)
    assert talker.bodies() == ([] if header == "durable" else [b"kept"])  # it was not on disk yet
    talker.does("UNSUBSCRIBE", {"id": "mine", header: "true"})
    assert not talker.rig.vhost.topology.queues


def test_a_durable_subscription_has_the_name_that_rabbitmq_gives_it_or_its_own() -> None:
    talker = Talker().opened()
    talker.subscribe("/topic/t", "mine", durable="true", auto_delete="false")
    talker.subscribe("/topic/t", "other", durable="true", auto_delete="false", x_queue_name="named")
    # base64 of the MD5 of Erlang's term_to_binary({<<"t">>, <<"mine">>})
    assert set(talker.rig.vhost.topology.queues) == {"stomp-subscription-VIeWzmOPgF6BNNn_wv6-zQ", "named"}


def test_a_reply_comes_to_a_temp_queue() -> None:
    client = Talker().opened()
    server = Talker(client.rig).opened()
    server.subscribe("/queue/work")
    for at in range(2):
        client.send("/queue/work", b"ask%d" % at, reply_to="/temp-queue/answers", correlation_id=str(at))
    asked = server.receives()
    assert asked[0]["reply-to"] == asked[1]["reply-to"]
    assert asked[0]["reply-to"].startswith("/reply-queue/stomp.gen-")
    for each in asked:
        server.send(each["reply-to"], b"re:" + each.body, correlation_id=each["correlation-id"])
    answers = client.receives()
    assert [(each.body, each["subscription"], each["correlation-id"]) for each in answers] == [
        (b"re:ask0", "/temp-queue/answers", "0"),
        (b"re:ask1", "/temp-queue/answers", "1"),
    ]
    client.lost()
    assert set(client.rig.vhost.topology.queues) == {"work"}


def test_a_reply_queue_that_was_deleted_is_made_anew() -> None:
    talker = Talker().opened()
    talker.subscribe("/queue/work")
    talker.send("/queue/work", b"1", reply_to="/temp-queue/t")
    (first,) = talker.receives()
    talker.rig.vhost.delete_queue(first["reply-to"].removeprefix("/reply-queue/"), False, False, None)
    talker.sync()
    assert talker.one()["subscription"] == "/temp-queue/t"
    talker.send("/queue/work", b"2", reply_to="/temp-queue/t")
    (second,) = talker.receives()
    assert second["reply-to"] != first["reply-to"]
    talker.send(second["reply-to"], b"3")
    assert talker.bodies() == [b"3"]


def test_a_request_by_amqp_is_answered_by_stomp() -> None:
    server = Talker().opened()
    server.subscribe("/queue/work")
    client = AmqpTalker(server.rig).opened(1)
    pseudo = "amq.rabbitmq.reply-to"
    assert client.asks(requests.basic_consume, 1, pseudo, "c", no_ack=True).name == "basic.consume_ok"
    properties = encode_properties(Properties(reply_to=pseudo, correlation_id="7", headers={"n": 5}))
    client.says(publish(1, "work", b"ask", properties))
    (asked,) = server.receives()
    assert (asked["correlation-id"], asked["n"]) == ("7", "5")
    server.send(asked["reply-to"], b"answer", correlation_id="7")
    client.sync()
    answer = client.one()
    assert (answer.name, answer.body) == ("basic.deliver", b"answer")


@pytest.mark.parametrize(
    ("command", "destination", "summary"),
    [
        ("SEND", "/temp-queue/t", "Invalid destination"),
        ("SUBSCRIBE", "/temp-queue/t", "Invalid destination"),
        ("SEND", "/nowhere/t", "Unknown destination"),
        ("SUBSCRIBE", "/nowhere/t", "Unknown destination"),
        ("SEND", "/queue/", "Invalid destination"),
        ("SUBSCRIBE", "/queue/amq.mine", "access_refused"),
        ("SEND", "/exchange/amq.rabbitmq.trace/k", "access_refused"),
    ],
)
def test_destinations_that_cannot_be(command: str, destination: str, summary: str) -> None:
    talker = Talker().opened()
    talker.does(command, {"destination": destination, "id": "0", "receipt": "r"})
    error = talker.fails()
    assert (error["message"], error["receipt-id"]) == (summary, "r")


def test_activemq_style() -> None:
    talker = Talker(style=1)
    talker.conversation.peer.style = 1
    talker.opened(host="some-machine")
    talker.subscribe("/topic/a.>", "1")
    talker.send("/topic/a.b.c", b"1")
    talker.subscribe("/queue/a.b", "2")
    talker.send("/queue/a.b", b"2")
    assert [(each["subscription"], each["destination"]) for each in talker.receives()] == [
        ("1", "/topic/a.b.c"),
        ("2", "/queue/a.b"),
    ]
    now = int(talker.rig.broker.turn.now_ms)
    talker.does("UNSUBSCRIBE", {"id": "2"})
    talker.send("/queue/a.b", b"late", expires=str(now + 50))
    talker.send("/queue/a.b", b"for ever", expires="0")
    talker.rig.pass_time(now + 100)
    talker.subscribe("/queue/a.b", "2")
    assert talker.bodies() == [b"for ever"]
    talker.send("/topic/a.*", b"")
    assert "wildcards" in talker.fails().body.decode()


@pytest.mark.parametrize("version", VERSIONS)
def test_many_acks_of_two_subscriptions_in_pieces(version: str) -> None:
    """Acknowledged one by one, in turns and in rows, with and without more headers: short ways and long."""
    for step in (0, 1, 7):
        talker = Talker(version=version).opened()
        name = "id" if version == "1.2" else "message-id"
        came: list[Frame] = []
        for sub in ("a", "b"):
            talker.subscribe(f"/queue/{sub}", sub, ack="client-individual")
            for at in range(120):
                talker.send(f"/queue/{sub}", b"%d" % at)
            came += talker.receives()
        order = came[:100] + [
            each for pair in zip(came[100:120], came[120:140], strict=True) for each in pair
        ]
        order += came[140:]
        said = [
            f"ACK\n{name}:{each['message-id'].replace(':', chr(92) + 'c')}\n{'x:y' + chr(10) if at % 10 == 9 else ''}\n\0"
            for at, each in enumerate(order)
        ]
        talker.says("".join(said).encode(), step=step)
        talker.sync()
        assert talker.heard() == []
        assert [int(each.out) for each in talker.peer.sessions()] == [0, 0]
        talker.says(said[-1].encode())
        assert talker.fails()["message"] == "Message not found"


def test_an_ack_behind_an_unsubscribe_takes_no_short_way() -> None:
    talker, messages = filled(count=4, ack="client")
    talker.ack(messages[0])
    talker.does("UNSUBSCRIBE", {"id": "0"})
    talker.ack(messages[1])
    talker.subscribe("/queue/other", ack="client-individual")
    talker.ack(messages[2])
    talker.ack(messages[3])
    assert left(talker) == []


def test_a_subscription_may_be_called_as_a_temp_queue_is() -> None:
    talker = Talker().opened()
    talker.subscribe("/queue/other", "me")
    talker.send("/queue/work", b"1", reply_to="/temp-queue/me")
    talker.rig.vhost.delete_queue("other", False, False, None)
    talker.sync()
    assert talker.one()["message"] == "Server cancelled subscription"
    talker.send("/queue/work", b"2", reply_to="/temp-queue/me", receipt="r")
    talker.sync()
    assert talker.one().command == "RECEIPT"
