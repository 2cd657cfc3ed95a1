"""The admin socket: who gets in, lines in and out, and that nothing of it harms the broker. The commands are fakes."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from leveret.cli import exits
from leveret.cli.client import Client, CommandFailed, find
from leveret.errors import AccessRefused, NotFound
from leveret.server import admin, admin_socket
from leveret.server.admin import AdminServer, Args


async def echo(args: Args) -> object:
    return dict(args)


async def missing(args: Args) -> object:
    raise NotFound("no queue 'x' in vhost '/'")


async def broken(args: Args) -> object:
    raise KeyError("secret detail")


async def names(args: Args) -> object:
    return {"name": b"a\xff".decode("utf-8", "surrogateescape"), "plain": "grün"}


COMMANDS: dict[str, admin.Command] = {"echo": echo, "missing": missing, "broken": broken, "names": names}


def serving(path: Path, work: Callable[[], Any], commands: dict[str, admin.Command] = COMMANDS) -> Any:
    """Run blocking work in a thread beside a server."""

    async def both() -> Any:
        server = AdminServer(path, commands)
        await server.start()
        try:
            return await asyncio.to_thread(work)
        finally:
            await server.close()

    return asyncio.run(both())


def ask(path: Path, command: str, **args: Any) -> Any:
    with Client(path) as client:
        return client.ask(command, **args)


def test_an_answer_comes_back(tmp_path: Path) -> None:
    path = admin_socket.of_data_dir(tmp_path)
    assert serving(path, lambda: ask(path, "echo", a=1, b="ü")) == {"a": 1, "b": "ü"}


def test_only_the_owner_can_reach_it_and_it_goes_with_the_broker(tmp_path: Path) -> None:
    path = admin_socket.of_data_dir(tmp_path)

    def look() -> tuple[int, int]:
        return stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode)

    assert serving(path, look) == (0o600, 0o700)
    assert not path.exists()


def test_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = admin_socket.of_data_dir(tmp_path)
    monkeypatch.setattr(admin, "peer_uid", lambda _: os.getuid() + 1)
    with pytest.raises(CommandFailed, match="the admin socket is for user id") as caught:
        serving(path, lambda: ask(path, "echo"))
    assert caught.value.code == exits.REFUSED


def test_the_kernel_says_who_is_there() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert admin.peer_uid(ours) == os.getuid()


@pytest.mark.parametrize(
    ("command", "text", "code"),
    [
        ("missing", "no queue 'x' in vhost '/'", exits.NOT_FOUND),
        ("nonsense", "unknown command 'nonsense'", exits.FAILED),
        ("broken", "KeyError, see the broker's log", exits.FAILED),
    ],
)
def test_errors_have_text_and_exit_code(tmp_path: Path, command: str, text: str, code: int) -> None:
    path = admin_socket.of_data_dir(tmp_path)
    with pytest.raises(CommandFailed) as caught:
        serving(path, lambda: ask(path, command))
    assert (caught.value.text, caught.value.code) == (text, code)


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[]", b'{"command": 1}', b'{"command": "echo", "args": 3}', b"\xff"]
)
def test_what_is_no_request_is_said_so_and_the_connection_lives(line: bytes, tmp_path: Path) -> None:
    path = admin_socket.of_data_dir(tmp_path)

    def talk() -> list[Any]:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
            sock.sendall(line + b'\n{"command": "echo", "args": {"x": 1}}\n')
            with sock.makefile("rb") as answers:
                return [json.loads(answers.readline()), json.loads(answers.readline())]

    first, second = serving(path, talk)
    assert first["error"]["code"] == 503
    assert second == {"result": {"x": 1}}


def test_a_line_that_never_ends_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_socket, "REQUEST_BYTES", 1000)
    path = admin_socket.of_data_dir(tmp_path)

    def talk() -> bytes:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
            sock.sendall(b"x" * 5000)
            with sock.makefile("rb") as answers:
                return answers.readline()

    assert b"at most 1000 bytes" in serving(path, talk)


def test_an_open_connection_does_not_keep_the_broker_from_ending(tmp_path: Path) -> None:
    path = admin_socket.of_data_dir(tmp_path)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)

        def talk() -> bytes:
            sock.connect(str(path))
            sock.sendall(b'{"command": "echo"}\n')
            return sock.recv(100)

        assert serving(path, talk) == b'{"result":{}}\n'
        assert sock.recv(1) == b""


def test_more_connections_than_allowed_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "CONNECTIONS", 1)
    path = admin_socket.of_data_dir(tmp_path)

    def work() -> None:
        with Client(path) as first:
            first.ask("echo")
            ask(path, "echo")

    with pytest.raises(CommandFailed, match="1 admin connections already"):
        serving(path, work)


def test_names_that_are_not_utf8_can_be_shown(tmp_path: Path) -> None:
    path = admin_socket.of_data_dir(tmp_path)
    assert serving(path, lambda: ask(path, "names")) == {"name": "a\\xff", "plain": "grün"}


def test_a_path_too_long_for_a_socket_works(tmp_path: Path) -> None:
    path = admin_socket.of_data_dir(tmp_path / ("d" * 100) / ("e" * 100))
    assert serving(path, lambda: ask(path, "echo", x=1)) == {"x": 1}


def test_a_socket_that_was_left_behind_is_replaced(tmp_path: Path) -> None:
    path = admin_socket.of_data_dir(tmp_path)
    admin_socket.listen(path).close()
    assert path.exists()
    with pytest.raises(CommandFailed, match="no broker is running here") as caught:
        ask(path, "echo")
    assert caught.value.code == exits.NO_BROKER
    assert serving(path, lambda: ask(path, "echo", x=1)) == {"x": 1}


def test_no_broker(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="no broker is running here") as caught:
        ask(admin_socket.of_data_dir(tmp_path), "echo")
    assert caught.value.code == exits.NO_BROKER


def test_a_socket_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(CommandFailed, match="belongs to another user") as caught:
        ask(tmp_path / "admin.sock", "echo")
    assert caught.value.code == exits.NOT_YOURS


def test_a_directory_that_somebody_else_put_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AccessRefused, match="not a directory of this user"):
        admin_socket.listen(admin_socket.of_data_dir(tmp_path))


def test_where_the_socket_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1")
    assert find(None, None, 5673) == Path("/run/user/1/leveret-5673/admin.sock")
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert find(None, None, 5673) == Path(f"/tmp/leveret-{os.getuid()}-5673/admin.sock")
    assert find(tmp_path, None, None) == tmp_path / "run" / "admin.sock"
    assert find(None, Path("/x.sock"), None) == Path("/x.sock")


def test_cancelled_commands_end_with_the_broker(tmp_path: Path) -> None:
    path = admin_socket.of_data_dir(tmp_path)
    began: list[bool] = []

    async def forever(args: Args) -> object:
        began.append(True)
        await asyncio.Event().wait()
        return None

    async def scenario() -> bytes:
        server = AdminServer(path, {"forever": forever})
        await server.start()
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b'{"command": "forever"}\n')
        while not began:
            await asyncio.sleep(0)
        await server.close()
        rest = await reader.read()
        writer.close()
        return rest

    assert asyncio.run(scenario()) == b""
