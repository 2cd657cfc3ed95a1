"""stomp.py over TLS: against a certificate it can check, with one of its own, and with none where one is asked for."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import stomp

from tests.compat.broker import Address, Leveret
from tests.server.certificates import Files, files

from .broker import OPTIONS, listeners
from .test_stomp_py import Told

TLS = ("--stomps-port", "0", "--set", "amqps_port=off", "--set", "web_stomps_port=off")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Files:
    if os.environ.get("COMPAT_URL"):
        pytest.skip("the certificates are of a Leveret that is started here")
    return files(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def start(certificates: Files, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Address]]:
    """A broker with these options; where it speaks STOMP over TLS."""
    with contextlib.ExitStack() as started:

        def one(*options: str) -> Address:
            keys = ("--tls-certificate", str(certificates.certificate), "--tls-key", str(certificates.key))
            broker = Leveret(tmp_path_factory.mktemp("stomps"), *OPTIONS, *TLS, *keys, *options)
            started.callback(broker.stop)
            broker.start()
            return broker.address.at(int(listeners(broker.log)["stomps"].rpartition(":")[2]))

        yield one


def connection(at: Address, **tls: Any) -> Any:
    made = stomp.StompConnection12([(at.host, at.port)], vhost="/", reconnect_attempts_max=1)
    made.set_ssl([(at.host, at.port)], **tls)
    made.told = Told()
    made.set_listener("told", made.told)
    return made


def exchange(conn: Any, size_bytes: int) -> None:
    """A message there and back."""
    conn.connect("guest", "guest", wait=True)
    queue = f"/queue/stomps.{uuid.uuid4().hex}"
    conn.subscribe(queue, "1", ack="auto", headers={"auto-delete": "true", "durable": "false"})
    conn.send(queue, "x" * size_bytes, receipt="sent")
    conn.told.wait_receipt("sent")
    assert [len(body) for body in (frame.body for frame in conn.told.wait(1))] == [size_bytes]
    conn.disconnect()


@pytest.mark.parametrize("size_bytes", [1, 300_000])
def test_a_certificate_is_checked(
    start: Callable[..., Address], certificates: Files, tmp_path: Path, size_bytes: int
) -> None:
    at = start()
    exchange(connection(at, ca_certs=str(certificates.ca)), size_bytes)
    other = files(tmp_path)  # of somebody else
    with pytest.raises(stomp.exception.ConnectFailedException):
        connection(at, ca_certs=str(other.ca)).connect("guest", "guest", wait=True)


def test_without_a_certificate_nobody_gets_in_where_one_is_asked_for(
    start: Callable[..., Address], certificates: Files
) -> None:
    at = start("--tls-client-ca", str(certificates.ca))
    own = {"cert_file": str(certificates.client), "key_file": str(certificates.client)}
    exchange(connection(at, ca_certs=str(certificates.ca), **own), 1)
    stranger = connection(at, ca_certs=str(certificates.ca))
    with contextlib.suppress(stomp.exception.ConnectFailedException):
        stranger.connect("guest", "guest", wait=False)
        assert stranger.told.disconnected.wait(10)
    assert stranger.told.connected == 0
