"""What some suites take for granted: a broker on port 5672, and RabbitMQ's HTTP API to clean up with.

The port is that of a proxy, on another loopback address if somebody has it on 127.0.0.1. The API knows how to delete a queue
and an exchange, by AMQP, and refuses all else: tests that are about it are not run.
"""

from __future__ import annotations

import contextlib
import errno
import json
import random
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

from tests.compat.broker import Address
from tests.compat.clients import connection, delete_all
from tests.compat.proxy import Proxy

AMQP_PORT = 5672
_TRIES = 20


@contextlib.contextmanager
def on_the_usual_port(address: Address, anywhere: bool) -> Iterator[Address]:
    """The broker, on port 5672 of 127.0.0.1; of some address of this machine if it may be `anywhere`."""
    hosts = ["127.0.0.1"]
    if anywhere:
        hosts += [f"127.{random.randint(1, 254)}.{random.randint(1, 254)}.1" for _ in range(_TRIES)]
    for host in hosts:
        try:
            proxy = Proxy(address, (host, AMQP_PORT))
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL):
                raise
            continue
        with proxy:
            yield proxy.address
        return
    raise RuntimeError(f"port {AMQP_PORT} is taken on every address that was tried")


@contextlib.contextmanager
def cleaning_api(address: Address) -> Iterator[str]:
    """An HTTP server that deletes queues and exchanges of the virtual host `/`. Yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_DELETE(self) -> None:
            kind, _, name = self.path.removeprefix("/api/").partition("/%2F/")
            if kind not in ("queues", "exchanges") or not name:
                self._answer(501, {"error": "this API only deletes queues and exchanges"})
                return
            with connection(address) as conn:
                delete_all(conn, [unquote(name)])
            self._answer(204, None)

        def _refuse(self) -> None:
            self._answer(501, {"error": "this API only deletes queues and exchanges"})

        do_GET = do_PUT = do_POST = _refuse

        def _answer(self, status: int, what: object) -> None:
            body = b"" if what is None else json.dumps(what).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
