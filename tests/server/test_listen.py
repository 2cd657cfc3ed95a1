"""An address that cannot be had: the error says which, and what to do."""

from __future__ import annotations

import errno
import socket

import pytest

from leveret import config
from leveret.server.server import Server


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = Server(config.load(None, {}, {"memory": True, "amqp_port": port}))
        with pytest.raises(OSError, match="choose another with --amqp-port") as caught:
            server.listen("127.0.0.1", port)
    assert (caught.value.errno, caught.value.filename) == (errno.EADDRINUSE, f"127.0.0.1:{port}")
