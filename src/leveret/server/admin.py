"""The admin socket of a running broker: who may use it, how a line becomes a command and an answer a line.

`admin_socket` has the place and the format, `admin_commands` what can be asked; this file knows neither queues nor
exchanges, only a table of commands. Its connections are few and slow ones may wait: it must never hold up the
broker, so a command that lists much yields to the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from leveret import logs
from leveret.errors import AccessRefused, CommandInvalid, LeveretError, ResourceError
from leveret.server import admin_socket

Args = Mapping[str, Any]
Command = Callable[[Args], Awaitable[object]]

CONNECTIONS: Final = 16
IDLE_S: Final = 300.0
PEER_CREDENTIALS: Final = struct.Struct("3i")  # struct ucred: pid, uid, gid (unix(7))

log = logs.get("admin")


class Request(msgspec.Struct):
    command: str
    args: dict[str, Any] = {}


class AdminServer:
    """Serves `commands` on a Unix socket. `start` and `close` are called on the loop."""

    def __init__(self, path: Path, commands: Mapping[str, Command]) -> None:
        self.path = path
        self.commands = commands
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        sock = admin_socket.listen(self.path)
        self._server = await asyncio.start_unix_server(
            self._connected, sock=sock, limit=admin_socket.REQUEST_BYTES
        )

    async def close(self) -> None:
        """Stop listening, end the open connections, leave no socket behind."""
        if self._server is None:
            return
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None
        self.path.unlink(missing_ok=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._conversation(reader, writer))
        self._tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:  # also for one that was cancelled before it began
            self._tasks.discard(task)
            writer.close()

        task.add_done_callback(ended)

    async def _conversation(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # On OSError, or on a line that is not whole, the other side went away or had nothing more to say.
        with contextlib.suppress(OSError, TimeoutError):
            refusal = self._refusal(writer)
            if refusal is None:
                await self._serve(reader, writer)
            else:
                writer.write(failure(refusal))
                await writer.drain()

    def _refusal(self, writer: asyncio.StreamWriter) -> LeveretError | None:
        uid = peer_uid(writer.get_extra_info("socket"))
        if uid not in (0, os.getuid()):
            log.warning("admin connection refused", extra=logs.fields(uid=uid))
            return AccessRefused(f"the admin socket is for user id {os.getuid()} only")
        if len(self._tasks) > CONNECTIONS:
            return ResourceError(f"there are {CONNECTIONS} admin connections already")
        return None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                async with asyncio.timeout(IDLE_S):
                    line = await reader.readline()
            except ValueError:  # longer than the limit; what follows cannot be told from the rest of it
                writer.write(
                    failure(CommandInvalid(f"a request is at most {admin_socket.REQUEST_BYTES} bytes"))
                )
                await writer.drain()
                return
            if not line.endswith(b"\n"):
                return
            writer.write(await self.answer(line))
            await writer.drain()

    async def answer(self, line: bytes) -> bytes:
        """The answer, a line, to a request, a line."""
        try:
            request = msgspec.json.decode(line, type=Request)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return failure(CommandInvalid(f"not a request: {error}"))
        command = self.commands.get(request.command)
        if command is None:
            return failure(CommandInvalid(f"unknown command '{request.command}'"))
        try:
            return encode({"result": await command(request.args)})
        except LeveretError as error:
            return failure(error)
        except Exception as error:  # a bug in a command must neither end the broker nor the connection
            log.exception("admin command failed", extra=logs.fields(command=request.command))
            return failure(LeveretError(f"{type(error).__name__}, see the broker's log"))


def peer_uid(sock: Any) -> int:
    """The user at the other end, as the kernel knows it; -1 where the system cannot say."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return -1
    raw = sock.getsockopt(socket.SOL_SOCKET, option, PEER_CREDENTIALS.size)
    return int(PEER_CREDENTIALS.unpack(raw)[1])


def failure(error: LeveretError) -> bytes:
    return encode({"error": {"code": error.code, "name": error.name, "text": error.text}})


def encode(answer: object) -> bytes:
    return msgspec.json.encode(clean(answer)) + b"\n"


def clean(value: object) -> object:
    """Names and values from clients as JSON can carry them: bytes that are no UTF-8 are shown as `\\xff`."""
    if isinstance(value, str):
        if value.isascii():
            return value
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, Mapping):
        return {str(clean(name)): clean(each) for name, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [clean(each) for each in value]
    return value
