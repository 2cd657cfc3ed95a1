"""The brokers of a run: by URL, a Leveret of our own, or Debian's RabbitMQ as a private node.

A node is private by its name, ports and folder; it is ended by the process id that it wrote itself.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pika

from ..compat.broker import Address, Leveret, parse_url
from ..compat.clients import parameters, server_properties
from ..compat.waiting import eventually

_SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"
_START_TIMEOUT_S = 60.0


@contextlib.contextmanager
def broker(named: str, folder: Path) -> Iterator[Address]:
    """`named` is "leveret", "rabbitmq" (Debian's, of this system) or an amqp URL."""
    if named == "leveret":
        own = Leveret(folder / "leveret")
        try:
            yield own.start()
        finally:
            own.stop()
    elif named == "rabbitmq":
        node = RabbitMQ(folder / "rabbitmq")
        try:
            yield node.start()
        finally:
            node.stop()
    else:
        yield parse_url(named)


def version_of(address: Address) -> tuple[str, str]:
    """What the broker calls itself, and its version."""
    connection = pika.BlockingConnection(parameters(address))
    found = server_properties(connection)
    connection.close()
    return str(found["product"]), str(found["version"])


def free_port() -> int:
    """One that the system does not give away by itself, so that it is still free when it is used, or used again:
    outgoing connections get theirs from above."""
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class RabbitMQ:
    """A node of Debian's package. `start` may be called again after `stop` or `kill`: same port, same data."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = Address("127.0.0.1", free_port())
        self._distribution, self._mapper = free_port(), free_port()
        self._node: subprocess.Popen[bytes] | None = None
        self._epmd: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)
        (folder / "plugins").write_text("[].")
        (folder / "rabbitmq.conf").write_text("")

    def start(self) -> Address:
        # a name mapper of our own, so that none is left over when the node is gone
        self._epmd = subprocess.Popen(
            ["epmd", "-port", str(self._mapper)],
            env={**os.environ, "ERL_EPMD_ADDRESS": "127.0.0.1"},
            stderr=subprocess.DEVNULL,
        )
        output = self.folder / "output"
        with output.open("ab") as log:
            node = subprocess.Popen(
                [_SERVER], env=self._environment(), stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        self._node = node
        eventually(lambda: _listens(self.address.port, node, output), "RabbitMQ listens", _START_TIMEOUT_S)
        return self.address

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def _environment(self) -> dict[str, str]:
        folder, port = self.folder, self.address.port
        return {
            "HOME": str(folder),
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL": "C.UTF-8",
            "RABBITMQ_NODENAME": f"differential{port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._mapper),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        }

    def _end(self, number: signal.Signals) -> None:
        node, self._node = self._node, None
        epmd, self._epmd = self._epmd, None
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
            os.kill(int((self.folder / "pid").read_text()), number)
        if node is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                node.wait(30)
        for process in (node, epmd):
            if process is not None:
                process.kill()
                process.wait()
        (self.folder / "pid").unlink(missing_ok=True)


def _listens(port: int, node: subprocess.Popen[bytes], output: Path) -> bool:
    if node.poll() is not None:
        raise RuntimeError(f"RabbitMQ ended with {node.returncode}: {output.read_text()[-2000:]}")
    try:
        socket.create_connection(("127.0.0.1", port)).close()  # cheaper to be refused than by pika
        version_of(Address("127.0.0.1", port))
    except (OSError, pika.exceptions.AMQPError):
        return False
    return True


@contextlib.contextmanager
def two_brokers(left: str, right: str) -> Iterator[tuple[Address, Address]]:
    """Both sides; the same name twice is one broker that is asked twice."""
    with contextlib.ExitStack() as stack:
        folder = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(prefix="leveret-differential-", ignore_cleanup_errors=True)
            )
        )
        one = stack.enter_context(broker(left, folder))
        yield one, one if left == right else stack.enter_context(broker(right, folder))
