"""Where the admin socket is and what goes over it. Shared by the broker's side and the command line's.

The socket belongs to the user who runs the broker: a directory of mode 0700, a socket of mode 0600, and the
broker asks the system who is at the other end.

    a broker on disk        DATA/run/admin.sock
    a broker in memory      $XDG_RUNTIME_DIR/leveret-PORT/admin.sock, or /tmp/leveret-UID-PORT/admin.sock

One line is one JSON object. Request: {"command": NAME, "args": {...}}. Answer: {"result": ...} or
{"error": {"code": NUMBER, "name": NAME, "text": TEXT}}, with AMQP's codes and RabbitMQ's wording.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from leveret.errors import AccessRefused

SOCKET_NAME: Final = "admin.sock"
REQUEST_BYTES: Final = 48 << 20  # a message of 32 MiB in base64, and some properties
PATH_BYTES: Final = 107  # sockaddr_un.sun_path, less its final zero


def of_data_dir(data_dir: Path) -> Path:
    return data_dir / "run" / SOCKET_NAME


def of_memory_broker(amqp_port: int) -> Path:
    """For a broker without a data directory: its port tells it from others."""
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    if base.startswith("/"):
        return Path(base, f"leveret-{amqp_port}", SOCKET_NAME)
    return Path("/tmp", f"leveret-{os.getuid()}-{amqp_port}", SOCKET_NAME)


def private_directory(folder: Path) -> None:
    """Make it, mode 0700, or see that it is ours alone: in /tmp anybody may have been there before."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700, parents=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise AccessRefused(f"{folder} is not a directory of this user: the admin socket cannot be there")
    if stat.S_IMODE(found.st_mode) != 0o700:
        folder.chmod(0o700)


@contextlib.contextmanager
def short_address(path: Path) -> Iterator[str]:
    """An address of the socket that fits sockaddr_un, however long the path is: through /proc where it must be."""
    if len(os.fsencode(path)) <= PATH_BYTES:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def listen(path: Path) -> socket.socket:
    """A listening socket of mode 0600. One that an ended broker left is replaced: two brokers cannot share a place."""
    private_directory(path.parent)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        with short_address(path) as address:
            sock.bind(address)  # nobody else can look into the directory, so the mode may follow
        path.chmod(0o600)
        sock.listen(16)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock
