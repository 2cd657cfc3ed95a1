"""The broker under test: one that COMPAT_URL names, or a Leveret of our own in a process of its own.

COMPAT_PYTHON names the interpreter that runs Leveret where the tests' own does not have it.
Knows how to start, find and stop it; knows nothing of AMQP. The broker is stopped by its own process id only.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 15.0


@dataclass(frozen=True)
class Address:
    """Where a broker listens and who may come in. `vhost` is the decoded name."""

    host: str
    port: int
    user: str = "guest"
    password: str = "guest"
    vhost: str = "/"

    @property
    def url(self) -> str:
        return f"amqp://{self.user}:{self.password}@{self.host}:{self.port}/{quote(self.vhost, safe='')}"

    def at(self, port: int) -> Address:
        """The same broker through another port (a proxy's)."""
        return Address(self.host, port, self.user, self.password, self.vhost)


def parse_url(url: str) -> Address:
    parts = urlsplit(url)
    return Address(
        host=parts.hostname or "127.0.0.1",
        port=parts.port or 5672,
        user=unquote(parts.username or "guest"),
        password=unquote(parts.password or "guest"),
        vhost=unquote(parts.path[1:]) or "/",
    )


class Leveret:
    """A `leveret serve` process on a free port. `start` may be called again after `stop` or `kill`."""

    def __init__(self, data: Path, *options: str) -> None:
        self.data = data
        self.options = options
        self.address = Address("127.0.0.1", 0)
        self._process: subprocess.Popen[str] | None = None
        self._log = data / "broker.log"

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def start(self) -> Address:
        """Start it, on the port it had before if it had one, and wait for its `ready` line."""
        self.data.mkdir(parents=True, exist_ok=True)
        python = os.environ.get("COMPAT_PYTHON", sys.executable)
        command = [python, "-m", "leveret", "serve", "--data", str(self.data / "store")]
        command += ["--amqp-port", str(self.address.port), "--log-format", "json"]
        command += ["--stomp-port", "0", "--web-stomp-port", "off", *self.options]
        offset = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("a") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, text=True)
        self.address = self._wait_until_ready(offset)
        return self.address

    def stop(self) -> int:
        """End it as a service manager would and return its exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(number)
        try:
            return process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"the broker did not end within {STOP_TIMEOUT_S} s:\n{self.log}") from None

    def _wait_until_ready(self, offset: int) -> Address:
        from .waiting import eventually

        def ready() -> Address | None:
            assert self._process is not None
            found = _ready_address(self.log[offset:])
            if found is None and self._process.poll() is not None:
                raise RuntimeError(f"the broker ended with {self._process.returncode}:\n{self.log}")
            return found

        return eventually(ready, "the broker is ready", START_TIMEOUT_S)


def _ready_address(log: str) -> Address | None:
    """The AMQP listener that the line with `"event": "ready"` names, as `host:port`."""
    for line in log.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if not isinstance(entry, dict) or entry.get("event") != "ready":
            continue
        listeners = entry.get("addresses") or entry.get("listeners") or entry
        host, _, port = str(listeners["amqp"]).removeprefix("amqp://").rpartition(":")
        return Address(host.strip("[]"), int(port))
    return None


@contextlib.contextmanager
def held_port() -> Iterator[int]:
    """A port for a broker that is started again: no connection gets it for its own end while the broker is away.

    Who connects to a port of the ephemeral range where nobody listens may be given that very port, and meet itself.
    """
    with socket.socket() as place:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.bind(("127.0.0.1", 0))
        yield int(place.getsockname()[1])


@contextlib.contextmanager
def running_broker() -> Iterator[Address]:
    """The broker of COMPAT_URL, or a Leveret for as long as the context lasts."""
    url = os.environ.get("COMPAT_URL")
    if url:
        yield parse_url(url)
        return
    with tempfile.TemporaryDirectory(prefix="leveret-compat-") as folder:
        broker = Leveret(Path(folder))
        try:
            yield broker.start()
        finally:
            broker.stop()
