"""Direct reply-to: requests and replies between two connections, and every way in which it is refused."""

from __future__ import annotations

import pytest

from leveret.core.replies import PREFIX, PSEUDO_QUEUE, Replies, Requester
from leveret.limits import REPLIES_UNSENT_BYTES
from leveret.message import Message
from leveret.wire import methods, requests
from leveret.wire.properties import Properties, decode_properties, encode_properties

from .talker import Heard, Talker, closed, publish, request

ASKING = encode_properties(
    Properties(content_type="text/plain", headers={"a": 1}, correlation_id="7", reply_to=PSEUDO_QUEUE)
)


class Pair:
    """A client that asks on channel 1, and a server on a connection of its own that answers."""

    def __init__(self) -> None:
        self.client = Talker().opened(1)
        self.server = Talker(self.client.rig).opened(1)
        self.server.declare("work")
        consuming = self.client.asks(requests.basic_consume, 1, PSEUDO_QUEUE, "tag", no_ack=True)
        assert (consuming.name, consuming["consumer_tag"]) == ("basic.consume_ok", "tag")
        self.name = self.ask()

    def ask(self, body: bytes = b"question") -> str:
        self.client.says(publish(1, "work", body, ASKING))
        got = self.server.asks(requests.basic_get, 1, "work", no_ack=True)
        properties = decode_properties(got.properties)
        assert (got.body, properties.correlation_id, properties.headers) == (body, "7", {"a": 1})
        assert properties.content_type == "text/plain" and properties.reply_to is not None
        return properties.reply_to

    def reply(self, body: bytes, key: str = "", mandatory: bool = False) -> list[Heard]:
        """What the client hears of it."""
        self.server.says(publish(1, key or self.name, body, mandatory=mandatory))
        self.client.turn()
        return self.client.heard()


def test_a_reply_goes_straight_to_who_asked() -> None:
    pair = Pair()
    assert pair.name.startswith(PREFIX)
    assert pair.ask() == pair.name
    (reply,) = pair.reply(b"answer", mandatory=True)
    assert (reply.channel, reply.name, reply.body) == (1, "basic.deliver", b"answer")
    assert reply.fields == {
        "consumer_tag": "tag",
        "delivery_tag": 1,
        "redelivered": False,
        "exchange": "",
        "routing_key": pair.name,
    }
    assert [each["delivery_tag"] for each in pair.reply(b"once more")] == [2]
    assert pair.server.heard() == []
    assert int(pair.client.rig.vhost.unroutable) == 0


def test_a_large_request_and_a_large_reply() -> None:
    pair = Pair()
    body = bytes(300_000)
    assert pair.ask(body) == pair.name
    assert [len(each.body) for each in pair.reply(body)] == [300_000]


@pytest.mark.parametrize("end", ["cancel", "channel", "connection"])
def test_who_is_gone_gets_nothing(end: str) -> None:
    pair = Pair()
    if end == "cancel":
        assert pair.client.asks(methods.basic_cancel, 1, "tag", False).name == "basic.cancel_ok"
    elif end == "channel":
        assert pair.client.asks(methods.channel_close, 1, 200, "", 0, 0).name == "channel.close_ok"
    else:
        pair.client.lost()
    assert pair.reply(b"too late") == []
    assert pair.server.heard() == []
    pair.server.says(publish(1, pair.name, b"too late", mandatory=True))
    returned = pair.server.one()
    assert (returned.name, returned["reply_code"], returned.body) == ("basic.return", 312, b"too late")
    assert pair.client.rig.vhost.replies.requesters == {}


def test_each_consumer_has_a_name_of_its_own() -> None:
    pair = Pair()
    pair.client.asks(methods.basic_cancel, 1, "tag", False)
    pair.client.asks(requests.basic_consume, 1, PSEUDO_QUEUE, "tag", no_ack=True)
    other = pair.ask()
    assert other != pair.name
    assert pair.reply(b"to the old one") == []
    assert [each.body for each in pair.reply(b"to the new one", other)] == [b"to the new one"]


def test_a_name_cannot_be_guessed() -> None:
    pair = Pair()
    for wrong in (
        pair.name[:-1],
        pair.name + "a",
        pair.name[:-4] + "AAAA",
        PREFIX,
        PREFIX + "x",
        pair.name + "\udcff",
    ):
        assert pair.reply(b"?", wrong) == []
        assert pair.client.rig.vhost.replies.find(wrong) is None


def test_replies_are_confirmed_at_once_and_may_be_in_transactions() -> None:
    pair = Pair()
    pair.server.asks(requests.confirm_select, 1)
    assert [each.body for each in pair.reply(b"answer")] == [b"answer"]
    assert pair.server.names() == ["basic.ack"]
    pair.server.says(request(requests.channel_open, 2))
    pair.server.heard()
    pair.server.asks(requests.tx_select, 2)
    pair.server.says(publish(2, pair.name, b"in a transaction"))
    assert pair.client.heard() == []
    pair.server.says(request(requests.tx_commit, 2))
    assert [each.body for each in pair.client.heard()] == [b"in a transaction"]


REFUSED = [
    ("ack", {"no_ack": False}, "reply consumer cannot acknowledge"),
    ("again", {"no_ack": True}, "reply consumer already set"),
]


@pytest.mark.parametrize(("tag", "options", "text"), REFUSED, ids=[row[0] for row in REFUSED])
def test_consuming_is_refused(tag: str, options: dict[str, bool], text: str) -> None:
    talker = Talker().opened(1)
    if tag == "again":
        talker.asks(requests.basic_consume, 1, PSEUDO_QUEUE, "first", no_ack=True)
    answer = talker.asks(requests.basic_consume, 1, PSEUDO_QUEUE, tag, **options)
    assert closed(answer) == ("channel.close", 406, f"PRECONDITION_FAILED - {text}", (60, 20))
    assert talker.rig.vhost.replies.requesters == {}


def test_a_tag_in_use_is_refused_and_one_of_the_reply_consumer_is_free() -> None:
    talker = Talker().opened(1)
    talker.declare()
    talker.asks(requests.basic_consume, 1, PSEUDO_QUEUE, "same", no_ack=True)
    assert talker.asks(requests.basic_consume, 1, "q", "same").name == "basic.consume_ok"
    assert talker.asks(methods.basic_cancel, 1, "same", False).name == "basic.cancel_ok"
    assert talker.rig.vhost.replies.requesters == {}
    assert talker.rig.queue("q", durable=False).consumer_count() == 1
    again = talker.asks(requests.basic_consume, 1, PSEUDO_QUEUE, "same", no_ack=True)
    assert closed(again)[:3] == (
        "connection.close",
        530,
        "NOT_ALLOWED - attempt to reuse consumer tag 'same'",
    )


@pytest.mark.parametrize("step", [0, 7])
def test_a_request_needs_a_reply_consumer(step: int) -> None:
    talker = Talker().opened(1)
    talker.declare()
    talker.says(publish(1, "q", b"x", ASKING), step=step)
    text = "PRECONDITION_FAILED - fast reply consumer does not exist"
    assert closed(talker.one()) == ("channel.close", 406, text, (60, 40))


def test_other_names_to_reply_to_stay_as_they_are() -> None:
    talker = Talker().opened(1)
    talker.declare()
    for name in ("mine", PSEUDO_QUEUE + "x", PSEUDO_QUEUE[:-1] + "p", PREFIX + "1.2", ""):
        talker.says(publish(1, "q", b"x", encode_properties(Properties(reply_to=name))))
        got = talker.asks(requests.basic_get, 1, "q", no_ack=True)
        assert decode_properties(got.properties).reply_to == name


def test_declaring_tells_whether_it_is_there() -> None:
    pair = Pair()
    for name in (PSEUDO_QUEUE, pair.name):
        for options in ({}, {"passive": True}, {"durable": True, "exclusive": True}):
            there = pair.server.asks(requests.queue_declare, 1, name, **options)
            assert (there.name, there.fields) == (
                "queue.declare_ok",
                {"queue": name, "message_count": 0, "consumer_count": 1},
            )
    pair.client.lost()
    gone = pair.server.asks(requests.queue_declare, 1, pair.name, passive=True)
    assert closed(gone)[1:3] == (404, f"NOT_FOUND - no queue '{pair.name}' in vhost '/'")


def test_it_is_no_queue() -> None:
    pair = Pair()
    server, what = pair.server, f"queue '{pair.name}' in vhost '/'"
    assert server.asks(requests.queue_purge, 1, pair.name)["message_count"] == 0
    assert server.asks(requests.queue_delete, 1, pair.name)["message_count"] == 0
    assert [each.body for each in pair.reply(b"still there")] == [b"still there"]
    bind = "ACCESS_REFUSED - cannot bind or unbind to a volatile (direct reply-to) queue"
    assert closed(server.asks(requests.queue_bind, 1, pair.name, "amq.direct", "k"))[1:3] == (403, bind)
    server.says(request(methods.channel_close_ok, 1), request(requests.channel_open, 1))
    server.heard()
    consume = f"PRECONDITION_FAILED - only creator channel may consume from {what}"
    assert closed(server.asks(requests.basic_consume, 1, pair.name, ""))[1:3] == (406, consume)
    get = f"NOT_IMPLEMENTED - basic.get not supported by volatile {what}"
    server.says(request(methods.channel_close_ok, 1), request(requests.channel_open, 1))
    server.heard()
    assert closed(server.asks(requests.basic_get, 1, pair.name))[:3] == ("connection.close", 540, get)
    own = f"PRECONDITION_FAILED - multiple consumers are unsupported for {what}"
    assert closed(pair.client.asks(requests.basic_consume, 1, pair.name, ""))[1:3] == (406, own)


def test_who_does_not_read_loses_replies() -> None:
    pair = Pair()
    pair.client.peer.unsent = REPLIES_UNSENT_BYTES + 1
    assert pair.reply(b"lost", mandatory=True) == []
    assert pair.server.heard() == []
    assert pair.client.rig.vhost.replies.dropped == 1
    pair.client.peer.unsent = 0
    assert len(pair.reply(b"taken")) == 1


class Nobody(Requester):
    def take_reply(self, m: Message) -> bool:
        return True


def test_names_tell_nothing_of_each_other() -> None:
    replies = Replies()
    many = [Nobody() for _ in range(100)]
    for each in many:
        replies.enter(each)
    assert len({each.name.partition(".r")[2] for each in many}) == 100
    assert all(replies.find(each.name) is each for each in many)
    for each in many:
        replies.leave(each)
        assert replies.find(each.name) is None
