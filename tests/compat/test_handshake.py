"""Opening, negotiating and closing a connection, byte by byte (AMQP 0-9-1, 2.2.4; RabbitMQ's rabbit_reader)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pika import spec

from .broker import Address
from .raw import METHOD, Closed, RawConnection, longstr

LOGIN_REFUSED = "ACCESS_REFUSED - Login was refused using authentication mechanism {}. For details see the broker logfile."
CAPABILITIES = (
    "publisher_confirms",
    "exchange_exchange_bindings",
    "basic.nack",
    "consumer_cancel_notify",
    "connection.blocked",
    "consumer_priorities",
    "authentication_failure_close",
    "per_consumer_qos",
    "direct_reply_to",
)
AMQPLAIN = b"\x05LOGINS" + longstr(b"guest") + b"\x08PASSWORDS"


def to_tune(raw: RawConnection) -> RawConnection:
    raw.handshake()
    raw.authenticate()
    raw.tune = raw.read_method(0)
    return raw


def close_of(raw: RawConnection) -> tuple[int, str]:
    closed = raw.read_method(0)
    assert isinstance(closed, spec.Connection.Close), closed
    return closed.reply_code, closed.reply_text


def test_start_names_the_protocol_the_mechanisms_and_the_capabilities(address: Address) -> None:
    with RawConnection(address) as raw:
        start = raw.handshake()
    assert (start.version_major, start.version_minor) == (0, 9)
    assert {b"PLAIN", b"AMQPLAIN"} <= set(start.mechanisms.split())
    assert start.locales == b"en_US"
    assert {"product", "version", "platform", "copyright", "information", "capabilities"} <= set(
        start.server_properties
    )
    assert set(start.server_properties["capabilities"]) <= set(CAPABILITIES)


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_start_names_a_capability(address: Address, capability: str) -> None:
    with RawConnection(address) as raw:
        assert raw.handshake().server_properties["capabilities"][capability] is True


def test_tune_offers_what_rabbitmq_offers(address: Address) -> None:
    with RawConnection(address) as raw:
        tune = to_tune(raw).tune
    assert (tune.channel_max, tune.frame_max, tune.heartbeat) == (2047, 131072, 60)


@pytest.mark.parametrize(
    ("header", "answer"),
    [
        (b"AMQP\x00\x00\x09\x00", b"AMQP\x00\x00\x09\x01"),
        (b"AMQP\x00\x00\x0a\x00", b"AMQP\x00\x00\x09\x01"),
        (b"AMQP\x00\x00\x08\x00", None),
        (b"AMQP\x01\x01\x08\x00", None),
        (b"AMQP\x00\x01\x00\x00", None),
        (b"HELLO WORLD, HOW", None),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", None),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", None),
    ],
)
def test_another_protocol_header_is_answered_with_the_one_to_use(
    address: Address, header: bytes, answer: bytes | None
) -> None:
    """RabbitMQ names AMQP 1.0 with SASL where it can make nothing of the header; a broker without it names 0-9-1."""
    with RawConnection(address) as raw:
        raw.send(header)
        found = raw.read_until_closed()
    assert found in ([answer] if answer else [b"AMQP\x03\x01\x00\x00", b"AMQP\x00\x00\x09\x01"])


def test_the_header_of_0_9_is_taken_for_0_9_1(address: Address) -> None:
    with RawConnection(address) as raw:
        raw.send(b"AMQP\x01\x01\x00\x09")
        assert raw.read_method(0).version_minor == 9


@pytest.mark.parametrize(
    ("mechanism", "response"), [("PLAIN", b"\0guest\0guest"), ("AMQPLAIN", AMQPLAIN + longstr(b"guest"))]
)
def test_login(address: Address, mechanism: str, response: bytes) -> None:
    with RawConnection(address) as raw:
        raw.handshake()
        raw.authenticate(mechanism=mechanism, response=response)
        assert isinstance(raw.read_method(0), spec.Connection.Tune)


@pytest.mark.parametrize(
    ("mechanism", "response"),
    [
        ("PLAIN", b"\0guest\0wrong"),
        ("PLAIN", b"\0nobody\0guest"),
        ("PLAIN", b"\0guest\0"),
        ("AMQPLAIN", AMQPLAIN + longstr(b"wrong")),
    ],
)
def test_a_refused_login_is_told_to_who_can_be_told(
    address: Address, mechanism: str, response: bytes
) -> None:
    with RawConnection(address) as raw:
        raw.handshake()
        raw.authenticate(
            mechanism=mechanism, response=response, capabilities={"authentication_failure_close": True}
        )
        assert close_of(raw) == (403, LOGIN_REFUSED.format(mechanism))


@pytest.mark.parametrize("vhost", ["nowhere", ""])
def test_a_missing_vhost(address: Address, vhost: str) -> None:
    with RawConnection(address) as raw:
        to_tune(raw).tune_ok()
        raw.send_method(0, spec.Connection.Open(virtual_host=vhost))
        assert close_of(raw) == (530, f"NOT_ALLOWED - vhost {vhost} not found")


# What ends the connection before it is open. RabbitMQ closes the socket without a word after 3 s, since it does
# not trust who is not known yet; a connection.close with a reason is as good. All are waited for at once.
def _authenticated(**answer: Any) -> Callable[[RawConnection], None]:
    def play(raw: RawConnection) -> None:
        raw.handshake()
        raw.authenticate(**answer)

    return play


def _tuned(**answer: Any) -> Callable[[RawConnection], None]:
    def play(raw: RawConnection) -> None:
        to_tune(raw).tune_ok(**answer)
        raw.send_method(0, spec.Connection.Open(virtual_host=raw.address.vhost))

    return play


def _out_of_order(method: Any, channel: int, tuned: bool) -> Callable[[RawConnection], None]:
    def play(raw: RawConnection) -> None:
        _ = to_tune(raw) if tuned else raw.handshake()
        raw.send_method(channel, method)

    return play


def _large_frame(raw: RawConnection) -> None:
    raw.handshake()
    raw.send(struct.pack(">BHI", METHOD, 0, 9000))


ENDINGS: dict[str, Callable[[RawConnection], None]] = {
    "wrong password, told nobody": _authenticated(response=b"\0guest\0wrong", capabilities={}),
    "unknown mechanism": _authenticated(mechanism="NTLM"),
    "malformed PLAIN": _authenticated(response=b"guest"),
    "malformed AMQPLAIN": _authenticated(mechanism="AMQPLAIN", response=b"x"),
    "AMQPLAIN without password": _authenticated(
        mechanism="AMQPLAIN", response=b"\x05LOGINS" + longstr(b"guest")
    ),
    "frame-max below the least": _tuned(frame_max=1000),
    "frame-max above the offer": _tuned(frame_max=131_073),
    "no frame-max against a limit": _tuned(frame_max=0),
    "channel-max above the offer": _tuned(channel_max=3000),
    "no channel-max against a limit": _tuned(channel_max=0),
    "channel.open before start-ok": _out_of_order(spec.Channel.Open(), 1, tuned=False),
    "channel.open before open": _out_of_order(spec.Channel.Open(), 1, tuned=True),
    "open before tune-ok": _out_of_order(spec.Connection.Open(virtual_host="/"), 0, tuned=True),
    "frame larger than the first limit": _large_frame,
}


@pytest.fixture(scope="session")
def endings(address: Address) -> dict[str, Any]:
    def ending(play: Callable[[RawConnection], None]) -> Any:
        with RawConnection(address) as raw:
            try:
                play(raw)
                return raw.read_method(0)
            except Closed:
                return None

    with ThreadPoolExecutor(len(ENDINGS)) as pool:
        return dict(zip(ENDINGS, pool.map(ending, ENDINGS.values()), strict=True))


@pytest.mark.parametrize("name", ENDINGS)
def test_the_handshake_ends(endings: dict[str, Any], name: str) -> None:
    found = endings[name]
    assert found is None or isinstance(found, spec.Connection.Close), found
    if name == "wrong password, told nobody":
        assert found is None


def test_client_may_ask_for_less(address: Address) -> None:
    with RawConnection(address) as raw:
        raw.login(frame_max=8192, channel_max=1, heartbeat=0).open_channel(1)
        raw.close()


def test_channels_are_counted_against_channel_max(address: Address) -> None:
    with RawConnection(address) as raw:
        raw.login(channel_max=2).open_channel(1).open_channel(2)
        raw.call(1, spec.Channel.Close(200, "", 0, 0))
        raw.open_channel(1)
        raw.send_method(3, spec.Channel.Open())
        text = "number of channels opened (2) has reached the negotiated channel_max (2)"
        assert close_of(raw) == (530, f"NOT_ALLOWED - {text}")


def test_heartbeats_are_sent_and_silence_ends_the_connection(address: Address) -> None:
    with RawConnection(address) as raw:
        raw.login(heartbeat=1)
        sent = raw.read_until_closed()  # we send nothing: after two periods the broker has enough
        assert sent.startswith(b"\x08\0\0\0\0\0\0\xce")


def test_a_wrong_method_on_channel_0(address: Address) -> None:
    for method in (
        spec.Connection.Open(virtual_host="/"),
        spec.Connection.TuneOk(0, 0, 0),
        spec.Connection.StartOk({}, "PLAIN", "", "en_US"),
        spec.Connection.Blocked("x"),
        spec.Channel.Open(),
        spec.Basic.Qos(),
    ):
        with RawConnection(address) as raw:
            raw.login().send_method(0, method)
            assert close_of(raw) == (504, "CHANNEL_ERROR - unexpected method in connection state running")


def test_update_secret(address: Address) -> None:
    with RawConnection(address) as raw:
        raw.login()
        answer = raw.call(0, spec.Connection.UpdateSecret(address.password, "rotation"))
        assert isinstance(answer, spec.Connection.UpdateSecretOk)
        raw.open_channel(1)


def test_after_a_connection_error_only_closing_is_heard(address: Address) -> None:
    with RawConnection(address) as raw:
        raw.login().open_channel(1)
        raw.send_method(1, spec.Basic.Qos(prefetch_size=1))
        closed = raw.read_method(0)
        assert (closed.reply_code, closed.class_id, closed.method_id) == (540, 60, 10)
        raw.send_method(1, spec.Queue.Declare(queue="", exclusive=True))
        raw.send_method(0, spec.Connection.CloseOk())
        assert raw.read_until_closed() == b""


def test_both_sides_close_at_once(address: Address) -> None:
    with RawConnection(address) as raw:
        raw.login().open_channel(1)
        raw.send_method(1, spec.Basic.Qos(prefetch_size=1))
        assert isinstance(raw.read_method(0), spec.Connection.Close)
        raw.send_method(0, spec.Connection.Close(200, "", 0, 0))
        assert isinstance(raw.read_method(0), spec.Connection.CloseOk)


def test_after_close_ok_it_is_for_the_client_to_end_the_stream(address: Address) -> None:
    """A client whose threads close at once takes an end of stream for a lost connection (RabbitMQ waits 30 s)."""
    with RawConnection(address) as raw:
        raw.login().open_channel(1).close()
        raw.socket.settimeout(0.3)
        with pytest.raises(TimeoutError):
            raw.read_exactly(1)
