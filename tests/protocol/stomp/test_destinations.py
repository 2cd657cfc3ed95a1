"""Destinations of both styles: what they name, what is refused in which words, and the way back from a route."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret.errors import InvalidDestination
from leveret.protocol.stomp.destinations import (
    ACTIVEMQ,
    AMQ_QUEUE,
    EXCHANGE,
    QUEUE,
    RABBITMQ,
    REPLY_QUEUE,
    TEMP_QUEUE,
    TOPIC,
    escape,
    format_route,
    parse,
    plain_reply_to,
    told_reply_to,
    unescape,
)
from leveret.wire.methods import route_bytes

VALID = "\nValid destination types are: /temp-queue, /exchange, /topic, /queue, /amq/queue, /reply-queue/.\n"

# kind, exchange, key, queue
PLACES = [
    ("/queue/a", QUEUE, "", "a", "a"),
    ("/queue/a.b c:d", QUEUE, "", "a.b c:d", "a.b c:d"),
    ("/queue/a%2Fb", QUEUE, "", "a/b", "a/b"),
    ("/queue/a%2fb", QUEUE, "", "a%2fb", "a%2fb"),
    ("/queue/50%25", QUEUE, "", "50%", "50%"),
    ("/queue/50%", QUEUE, "", "50%", "50%"),
    ("/queue/a%20b%41", QUEUE, "", "a%20b%41", "a%20b%41"),
    ("/queue/%C3%A9", QUEUE, "", "é", "é"),
    ("/queue/é", QUEUE, "", "é", "é"),
    ("a", QUEUE, "", "a", "a"),
    ("a%2Fb", QUEUE, "", "a/b", "a/b"),
    ("/amq/queue/a", AMQ_QUEUE, "", "a", "a"),
    ("/amq/queue/a%2Fb", AMQ_QUEUE, "", "a/b", "a/b"),
    ("/topic/a.*.#", TOPIC, "amq.topic", "a.*.#", ""),
    ("/topic/a%2Fb", TOPIC, "amq.topic", "a/b", ""),
    ("/exchange/x", EXCHANGE, "x", "", ""),
    ("/exchange/x/", EXCHANGE, "x", "", ""),
    ("/exchange/x%2Fy/k%2Fl", EXCHANGE, "x/y", "k/l", ""),
    ("/exchange/amq.topic/a.#", EXCHANGE, "amq.topic", "a.#", ""),
    ("/temp-queue/a", TEMP_QUEUE, "", "", "a"),
    ("/reply-queue/a", REPLY_QUEUE, "", "a", "a"),
    ("/reply-queue/a/b", REPLY_QUEUE, "", "a/b", "a/b"),
    ("/reply-queue/a//", REPLY_QUEUE, "", "a//", "a//"),
]

WRONG = [  # RabbitMQ's words
    ("", "Invalid destination", "Destination cannot be blank"),
    ("/queue", "Invalid destination", "'' is not a valid queue destination\n"),
    ("/queue/", "Invalid destination", "'/' is not a valid queue destination\n"),
    ("/queue/a/b", "Invalid destination", "'/a/b' is not a valid queue destination\n"),
    ("/queue//a", "Invalid destination", "'//a' is not a valid queue destination\n"),
    ("/topic", "Invalid destination", "'' is not a valid topic destination\n"),
    ("/topic/a/b", "Invalid destination", "'/a/b' is not a valid topic destination\n"),
    ("/exchange", "Invalid destination", "'' is not a valid exchange destination\n"),
    ("/exchange/", "Invalid destination", "'/' is not a valid exchange destination\n"),
    ("/exchange//k", "Invalid destination", "'//k' is not a valid exchange destination\n"),
    ("/exchange/a/b/c", "Invalid destination", "'/a/b/c' is not a valid exchange destination\n"),
    ("/amq/queue", "Invalid destination", "'' is not a valid amqqueue destination\n"),
    ("/amq/queue/", "Invalid destination", "'/' is not a valid amqqueue destination\n"),
    ("/temp-queue", "Invalid destination", "'' is not a valid temp_queue destination\n"),
    ("/temp-queue/a/b", "Invalid destination", "'/a/b' is not a valid temp_queue destination\n"),
    ("/reply-queue/", "Invalid destination", "'/' is not a valid reply_queue destination\n"),
    ("/reply-queue", "Unknown destination", "'/reply-queue' is not a valid destination." + VALID),
    ("/amq", "Unknown destination", "'/amq' is not a valid destination." + VALID),
    ("/", "Unknown destination", "'/' is not a valid destination." + VALID),
    ("queue/a", "Unknown destination", "'queue/a' is not a valid destination." + VALID),
    ("/Queue/a", "Unknown destination", "'/Queue/a' is not a valid destination." + VALID),
    ("/topics/a", "Unknown destination", "'/topics/a' is not a valid destination." + VALID),
]

ACTIVE = [
    ("/queue/a", QUEUE, "", "a", "a", False),
    ("/queue/a/b%2F", QUEUE, "", "a/b%2F", "a/b%2F", False),
    ("/queue/a.b*", QUEUE, "", "a.b*", "a.b*", False),
    ("/topic/a.b", TOPIC, "amq.topic", "a.b", "", False),
    ("/topic/a.>", TOPIC, "amq.topic", "a.#", "", True),
    ("/topic/>", TOPIC, "amq.topic", "#", "", True),
    ("/topic/*.b.*", TOPIC, "amq.topic", "*.b.*", "", True),
    ("/topic/a#.>b", TOPIC, "amq.topic", "a#.>b", "", False),
    ("/temp-queue/a/b", TEMP_QUEUE, "", "", "a/b", False),
    ("/amq/queue/a", AMQ_QUEUE, "", "a", "a", False),
    ("/exchange/x/k%2F", EXCHANGE, "x", "k/", "", False),
    ("/reply-queue/a/b", REPLY_QUEUE, "", "a/b", "a/b", False),
]

WRONG_ACTIVE = [
    ("", "Unknown destination", "Destinations begin with one of /queue/, /topic/"),
    ("a", "Unknown destination", "'a' is not a valid destination"),
    ("queue://a", "Unknown destination", "'queue://a' is not a valid destination"),
    ("/temp-topic/a", "Unknown destination", "'/temp-topic/a' is not a valid destination"),
    ("/queue/", "Invalid destination", "Destination cannot be blank"),
    ("/queue/a,/topic/b", "Invalid destination", "several destinations in one are not possible"),
    ("/queue/a?consumer.exclusive=true", "Invalid destination", "options behind a ? are not possible"),
    ("/queue/a.>", "Invalid destination", "wildcards are for topics"),
    ("/queue/*.a", "Invalid destination", "wildcards are for topics"),
    ("/topic/a.>.b", "Invalid destination", "> stands for all that follows"),
    ("/topic/a.#", "Invalid destination", "# cannot be a word of a topic"),
]


@pytest.mark.parametrize(("text", "kind", "exchange", "key", "queue"), PLACES)
def test_rabbitmqs_destinations(text: str, kind: int, exchange: str, key: str, queue: str) -> None:
    place = parse(text.encode(), RABBITMQ)
    assert (place.kind, place.exchange, place.key, place.queue) == (kind, exchange, key, queue)
    assert not place.wild
    assert place.route() == route_bytes(exchange, key)


@pytest.mark.parametrize(("text", "summary", "detail"), WRONG)
def test_what_is_none_in_rabbitmqs_words(text: str, summary: str, detail: str) -> None:
    with pytest.raises(InvalidDestination) as refused:
        parse(text.encode(), RABBITMQ)
    assert (refused.value.summary, refused.value.text) == (summary, detail)


@pytest.mark.parametrize(("text", "kind", "exchange", "key", "queue", "wild"), ACTIVE)
def test_activemqs_destinations(
    text: str, kind: int, exchange: str, key: str, queue: str, wild: bool
) -> None:
    place = parse(text.encode(), ACTIVEMQ)
    assert (place.kind, place.exchange, place.key, place.queue) == (kind, exchange, key, queue)
    assert place.wild == wild


@pytest.mark.parametrize(("text", "summary", "detail"), WRONG_ACTIVE)
def test_what_is_none_in_activemqs_style(text: str, summary: str, detail: str) -> None:
    with pytest.raises(InvalidDestination) as refused:
        parse(text.encode(), ACTIVEMQ)
    assert refused.value.summary == summary
    assert detail in refused.value.text


@pytest.mark.parametrize("style", [RABBITMQ, ACTIVEMQ])
def test_names_that_no_queue_can_have(style: int) -> None:
    assert parse(b"/queue/" + b"a" * 255, style).queue == "a" * 255
    for text in (b"/queue/" + b"a" * 256, b"/topic/" + "é".encode() * 128, b"/exchange/" + b"a" * 256):
        with pytest.raises(InvalidDestination, match="a name of 256 bytes, 255 are allowed"):
            parse(text, style)
    with pytest.raises(InvalidDestination, match="is not UTF-8"):
        parse(b"/queue/\xff", style)
    with pytest.raises(InvalidDestination, match="is not UTF-8 once its %XX are undone"):
        parse(b"/exchange/%FF", style)


@pytest.mark.parametrize(
    ("exchange", "key", "rabbitmq", "activemq"),
    [
        ("", "a", "/queue/a", "/queue/a"),
        ("", "a/b 50%", "/queue/a%2Fb 50%25", "/queue/a/b 50%"),
        ("", "é\n\x7f", "/queue/%C3%A9%0A\x7f", "/queue/é\n\x7f"),
        ("", "\0", "/queue/%00", "/queue/%00"),
        ("amq.topic", "a.b", "/topic/a.b", "/topic/a.b"),
        ("amq.topic", "", "/topic/", "/topic/"),
        ("x", "", "/exchange/x", "/exchange/x"),
        ("x/y", "k/l", "/exchange/x%2Fy/k%2Fl", "/exchange/x%2Fy/k%2Fl"),
    ],
)
def test_routes_as_destinations(exchange: str, key: str, rabbitmq: str, activemq: str) -> None:
    route = route_bytes(exchange, key)
    assert format_route(route, RABBITMQ).decode() == rabbitmq
    assert format_route(route, ACTIVEMQ).decode() == activemq


def test_reply_tos() -> None:
    for told in (b"/queue/a", b"/topic/a", b"/exchange/a/b", b"/amq/queue/a"):
        assert told_reply_to(told) == told
        assert plain_reply_to(told) == told
    assert told_reply_to(b"a/b%2F") == b"/reply-queue/a/b%252F"
    assert plain_reply_to(b"/reply-queue/a/b%252F") == b"a/b%2F"
    assert parse(told_reply_to(b"a/b%2F"), RABBITMQ).queue == "a/b%2F"
    assert told_reply_to(b"/reply-queue/a") == b"/reply-queue/a"
    assert plain_reply_to(b"/reply-queue/") == b"/reply-queue/"


NAME = st.text(st.characters(codec="utf-8"), max_size=30)


@given(NAME)
def test_a_name_survives_its_escapes(name: str) -> None:
    assert unescape(escape(name.encode()).decode()) == name


@given(NAME, NAME.filter(bool))
def test_a_told_destination_leads_back(exchange: str, key: str) -> None:
    route = route_bytes(exchange, key)
    assert parse(format_route(route, RABBITMQ), RABBITMQ).route() == route


@given(st.binary(max_size=40) | st.text("/aq%2F>*.#,?", max_size=40).map(str.encode))
def test_anything_is_a_destination_or_refused(text: bytes) -> None:
    for style in (RABBITMQ, ACTIVEMQ):
        for prefix in (b"", b"/queue/", b"/topic/", b"/exchange/", b"/reply-queue/"):
            try:
                place = parse(prefix + text, style)
            except InvalidDestination as refused:
                assert refused.summary in ("Invalid destination", "Unknown destination")
            else:
                assert len(place.route()) <= 512
