"""AMQP URLs: what they mean, what is refused and how, and that no password is ever shown."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest

from leveret.client.address import Address, parse_addresses, parse_url
from leveret.errors import ClientError, InvalidAddress

SECRET = "hunter2"


def one(url: str) -> Address:
    (address,) = parse_url(url)
    return address


@pytest.mark.parametrize(
    "url, host, port, user, password, vhost",
    [
        ("amqp://", "localhost", 5672, "guest", "guest", "/"),
        ("amqp://localhost", "localhost", 5672, "guest", "guest", "/"),
        ("AMQP://Host:1234/", "Host", 1234, "guest", "guest", "/"),
        ("amqp://host//", "host", 5672, "guest", "guest", "/"),
        ("amqp://u:p@host/%2F", "host", 5672, "u", "p", "/"),
        ("amqp://u@host/v", "host", 5672, "u", "", "v"),
        ("amqp://u:@host/v", "host", 5672, "u", "", "v"),
        ("amqp://u:p:q@host/v%2fw", "host", 5672, "u", "p:q", "v/w"),
        ("amqp://us%40er:p%25%2F%3F%23w@host:1/caf%C3%A9", "host", 1, "us@er", "p%/?#w", "café"),
        ("amqp://u:a,b@host", "host", 5672, "u", "a,b", "/"),
        ("amqp://[::1]:5673/v", "::1", 5673, "guest", "guest", "v"),
        ("amqp://[fe80::1]", "fe80::1", 5672, "guest", "guest", "/"),
        ("amqp://10.0.0.1:", "10.0.0.1", 5672, "guest", "guest", "/"),
        (" amqp://host/v?heartbeat=5 ", "host", 5672, "guest", "guest", "v"),
        ("amqp://host?heartbeat=5", "host", 5672, "guest", "guest", "/"),
    ],
)
def test_parts(url: str, host: str, port: int, user: str, password: str, vhost: str) -> None:
    address = one(url)
    assert (address.host, address.port) == (host, port)
    assert (address.user, address.password, address.vhost) == (user, password, vhost)
    assert address.has_credentials == ("@" in url)
    assert address.tls is None


def test_options() -> None:
    address = one(
        "amqp://host/v?heartbeat=5&connection_timeout=10000&frame_max=8192&channel_max=7&name=my%20app&auth_mechanism=plain"
    )
    assert address.heartbeat_s == 5
    assert address.connect_timeout_s == 10.0
    assert address.frame_max_bytes == 8192
    assert address.channel_max == 7
    assert address.name == "my app"
    plain = one("amqp://host")
    assert (plain.heartbeat_s, plain.connect_timeout_s, plain.frame_max_bytes) == (None, None, None)
    assert (plain.channel_max, plain.name) == (None, "")


@pytest.mark.parametrize("name", ["timeout", "socket_timeout", "stack_timeout"])
def test_timeouts_of_pika_and_aio_pika_are_seconds(name: str) -> None:
    assert one(f"amqp://host?{name}=2.5").connect_timeout_s == 2.5


@pytest.mark.parametrize(
    "url, text",
    [
        ("localhost", "begins with amqp:// or amqps://"),
        ("http://host", "'http'"),
        ("amqp://host:0", "a port is a number from 1 to 65535"),
        ("amqp://host:65536", "a port is a number"),
        ("amqp://host:x", "a port is a number"),
        ("amqp://[::1", "an IPv6 address in []"),
        ("amqp://:5672", "a host is a name"),
        ("amqp://host/a/b", "%2F"),
        ("amqp://host/%zz", "the virtual host has a '%'"),
        ("amqp://host/%ff", "not UTF-8"),
        ("amqp://host/" + "v" * 256, "255 bytes"),
        ("amqp://host/v#f", "%23"),
        ("amqp://host?hartbeat=5", "do you mean 'heartbeat'?"),
        ("amqp://host?zzzz=5", "there are heartbeat, connection_timeout"),
        ("amqp://host?heartbeat", "heartbeat is a number of seconds from 0 to 65535, not ''"),
        ("amqp://host?heartbeat=-1", "not '-1'"),
        ("amqp://host?heartbeat=65536", "from 0 to 65535"),
        ("amqp://host?heartbeat=1&heartbeat=2", "twice"),
        ("amqp://host?connection_timeout=0", "milliseconds from 1"),
        ("amqp://host?connection_timeout=1&timeout=1", "give one"),
        ("amqp://host?timeout=nan", "not 'nan'"),
        ("amqp://host?timeout=soon", "not 'soon'"),
        ("amqp://host?frame_max=4095", "at least 4096 bytes"),
        ("amqp://host?channel_max=65536", "from 0 to 65535"),
        ("amqp://host?auth_mechanism=external", "only be plain"),
        ("amqp://host?verify=verify_none", "write amqps://"),
        ("amqps://host?verify=no", "verify_peer or verify_none, not 'no'"),
        ("amqps://host?no_verify_ssl=yes", "0 or 1"),
        ("amqps://host?no_verify_ssl=1&verify=verify_none", "give one"),
        ("amqps://host?cacertfile=/does/not/exist", "No such file"),
        ("amqps://host?keyfile=/x", "without certfile"),
        ("amqps://host?cafile=/x&cacertfile=/y", "give one"),
        ("amqp://host,", None),
    ],
)
def test_what_is_wrong_is_said(url: str, text: str | None) -> None:
    if text is None:
        assert [a.host for a in parse_url(url)] == ["host", "localhost"]
        return
    with pytest.raises(InvalidAddress) as caught:
        parse_url(url)
    assert text in str(caught.value)
    assert isinstance(caught.value, ClientError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    "url",
    [
        "amqp://user:{}/x@host/v",
        "amqp://user:x/{}@host/v",
        "amqp://user:{}?x@host/v",
        "amqp://user:x?{}=1@host/v",
        "amqp://user:{}#x@host/v",
        "amqp://user:{}@x@host/v",
        "amqp://user:x@{}@host/v",
        "amqp://user:%zz{}@host/v",
        "amqp://user:{}%ff@host/v",
        "amqp://user:{}/",
        "amqp://user:{}@host:port",
        "amqp://user:{}@host/v?nonsense=1",
        "amqp://user:{}@host/a/b",
        "amqps://user:{}@host?cacertfile=/does/not/exist",
        "http://user:{}@host",
        "user:{}@host",
    ],
)
def test_no_error_shows_a_password(url: str) -> None:
    with pytest.raises(InvalidAddress) as caught:
        parse_url(url.format(SECRET))
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_no_text_of_an_address_shows_a_password() -> None:
    address = one(f"amqp://me:{SECRET}@host:1/a%2Fb?heartbeat=3")
    assert address.password == SECRET
    assert repr(address) == "Address('amqp://me@host:1/a%2Fb')"
    assert SECRET not in f"{address} {address!r} {address.url} {address.place}"


def test_several_hosts_are_several_addresses() -> None:
    found = parse_url("amqp://u:p@one, two:5673,[::1]:9/v?heartbeat=7")
    assert [(a.host, a.port) for a in found] == [("one", 5672), ("two", 5673), ("::1", 9)]
    assert {(a.user, a.password, a.vhost, a.heartbeat_s) for a in found} == {("u", "p", "v", 7)}
    assert [a.place for a in found] == ["one:5672", "two:5673", "[::1]:9"]


def test_several_urls_keep_their_order() -> None:
    found = parse_addresses(["amqp://a:1@one/x,amqp://b:2@two", "amqp://three"])
    assert [(a.user, a.host, a.vhost) for a in found] == [
        ("a", "one", "x"),
        ("b", "two", "/"),
        ("guest", "three", "/"),
    ]


def test_without_urls_the_environment_says_and_then_localhost() -> None:
    (address,) = parse_addresses(environ={"LEVERET_URL": "amqp://u:p@elsewhere/v"})
    assert (address.host, address.user, address.vhost) == ("elsewhere", "u", "v")
    for environ in ({}, {"LEVERET_URL": " "}):
        (address,) = parse_addresses(environ=environ)
        assert (address.host, address.port) == ("localhost", 5672)


class InMemory:
    def dial(self, protocol_factory: object) -> None:
        raise NotImplementedError


def test_a_broker_of_this_process_is_an_address() -> None:
    broker = InMemory()
    (address,) = parse_addresses([broker])
    assert address.dialer is broker
    assert repr(address) == "Address('memory://guest@memory/%2F')"
    with pytest.raises(InvalidAddress, match="not int"):
        parse_addresses([5672])  # type: ignore[list-item]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    plain, locked, made = (str(folder / name) for name in ("key.pem", "locked.pem", "cert.pem"))
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-subj",
        "/CN=localhost",
        "-days",
        "2",
        "-nodes",
    ]
    subprocess.run([*command, "-keyout", plain, "-out", made], check=True, capture_output=True)
    command = ["openssl", "rsa", "-aes256", "-passout", f"pass:{SECRET}"]
    subprocess.run([*command, "-in", plain, "-out", locked], check=True, capture_output=True)
    return folder


def test_amqps_verifies_unless_told_not_to(certificate: Path) -> None:
    address = one("amqps://host")
    assert address.port == 5671
    assert address.tls is not None and address.tls.check_hostname
    assert address.tls.verify_mode == ssl.CERT_REQUIRED
    assert address.server_hostname == "host"
    assert address.url == "amqps://guest@host:5671/%2F"
    for query in ("verify=verify_none", "no_verify_ssl=1"):
        context = one(f"amqps://host?{query}").tls
        assert context is not None and context.verify_mode == ssl.CERT_NONE
    own = one(f"amqps://host?cacertfile={certificate}/cert.pem").tls
    assert own is not None and [c["subject"] for c in own.get_ca_certs()] == [
        ((("commonName", "localhost"),),)
    ]


def test_each_host_is_checked_by_its_name_unless_the_url_names_one() -> None:
    assert [a.server_hostname for a in parse_url("amqps://one,two")] == ["one", "two"]
    assert [a.server_hostname for a in parse_url("amqps://one,two?server_name_indication=b")] == ["b", "b"]
    address = one("amqps://host?server_name_indication=disable")
    assert address.server_hostname == ""
    assert address.tls is not None and not address.tls.check_hostname
    assert address.tls.verify_mode == ssl.CERT_REQUIRED


def test_client_certificates(certificate: Path) -> None:
    files = f"certfile={certificate}/cert.pem&keyfile={certificate}"
    assert one(f"amqps://host?{files}/key.pem").tls is not None
    assert one(f"amqps://host?{files}/locked.pem&password={SECRET}").tls is not None
    for password in ("", "&password=wrong" + SECRET):
        with pytest.raises(InvalidAddress, match="certfile with keyfile") as caught:
            one(f"amqps://host?{files}/locked.pem{password}")
        assert SECRET not in str(caught.value)


def test_a_context_of_ones_own() -> None:
    context = ssl.create_default_context()
    assert parse_url("amqps://host", context)[0].tls is context
    assert parse_url("amqps://host?server_name_indication=b", context)[0].server_hostname == "b"
    with pytest.raises(InvalidAddress, match="write amqps://"):
        parse_url("amqp://host", context)
    with pytest.raises(InvalidAddress, match="'verify' and tls="):
        parse_url("amqps://host?verify=verify_none", context)
    with pytest.raises(InvalidAddress, match="checks no host name"):
        parse_url("amqps://host?server_name_indication=disable", context)
