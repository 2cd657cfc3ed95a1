"""The command line's end of the admin socket: finds it, asks, and says in plain words why it cannot."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from pathlib import Path
from typing import Any

from leveret.cli import exits
from leveret.config import PREFIX, default_data_dir
from leveret.server import admin_socket

TIMEOUT_S = 60.0
DATA_DIR = f"{PREFIX}DATA_DIR"


class CommandFailed(Exception):
    """Ends a command: what to tell the user, and the exit code."""

    def __init__(self, text: str, code: int = exits.FAILED) -> None:
        super().__init__(text)
        self.text = text
        self.code = code


def find(data: Path | None, path: Path | None, amqp_port: int | None) -> Path:
    """The socket that the options mean: the one named, a data directory's, or that of a broker in memory."""
    if path is not None:
        return path
    if amqp_port is not None:
        return admin_socket.of_memory_broker(amqp_port)
    told = os.environ.get(DATA_DIR)  # as `leveret serve` has it
    return admin_socket.of_data_dir(data or (Path(told) if told else default_data_dir()))


class Client:
    """A connection to a running broker's admin socket. A context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.settimeout(TIMEOUT_S)
        self._buffer = self._sock.makefile("rb")
        try:
            with admin_socket.short_address(path) as address:
                self._sock.connect(address)
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
            self.close()
            raise CommandFailed(
                f"no broker is running here: nobody answers at {path}. Start one with `leveret serve`, or name its"
                " directory with --data (or its port with --amqp-port if it keeps everything in memory)",
                exits.NO_BROKER,
            ) from error
        except PermissionError as error:
            self.close()
            raise CommandFailed(
                f"{path} belongs to another user; only the user who runs the broker, and root, may use it",
                exits.NOT_YOURS,
            ) from error
        except OSError as error:
            self.close()
            raise CommandFailed(f"cannot reach the broker at {path}: {error}") from error

    def ask(self, command: str, **args: Any) -> Any:
        """The result of a command."""
        request = json.dumps({"command": command, "args": args}).encode() + b"\n"
        try:
            with contextlib.suppress(
                BrokenPipeError
            ):  # who is refused is told why, and that is still to be read
                self._sock.sendall(request)
            line = self._buffer.readline()
        except TimeoutError as error:
            raise CommandFailed(f"the broker did not answer within {TIMEOUT_S:g} s") from error
        except OSError as error:
            raise CommandFailed(
                f"the broker went away: {error.strerror or error}", exits.NO_BROKER
            ) from error
        if not line:
            raise CommandFailed("the broker went away before it answered", exits.NO_BROKER)
        answer = json.loads(line)
        if "error" in answer:
            said = answer["error"]
            raise CommandFailed(str(said["text"]), exits.of_code(said["code"]))
        return answer["result"]

    def close(self) -> None:
        self._buffer.close()
        self._sock.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
