"""One process of a pool as its parent sees it: started, talked to, looked at, ended.

Frames go over a socket that never blocks the loop; what the process does right now is read from memory shared with it
(see `child`). Which jobs it gets and what becomes of them is the pool's.
"""

from __future__ import annotations

import asyncio
import logging
import mmap
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import msgspec

from leveret.errors import ConfigError
from leveret.worker import child
from leveret.worker.interfaces import Target

PROGRAM: Final = "from leveret.worker.child import main; main({}, {})"
BUFFER_BYTES: Final = 1 << 20


class ProcessLink:
    """A child process. `on_frame(link, message)` for what it says, `on_exit(link, how)` once when it has ended."""

    def __init__(
        self,
        target: Target,
        on_frame: Callable[[ProcessLink, list[Any]], None],
        on_exit: Callable[[ProcessLink, str], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_frame = on_frame
        self._on_exit = on_exit
        self._frames = child.Frames()
        self._encode = msgspec.msgpack.Encoder().encode
        self._unsent = bytearray()
        shared_fd = _shared_memory()
        self._shared = mmap.mmap(shared_fd, child.SHARED_BYTES)
        self._cells = memoryview(self._shared).cast("q")
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        for end in (self._socket, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        try:
            self._process = _start(theirs.fileno(), shared_fd)
        finally:
            theirs.close()
            os.close(shared_fd)
        self.pid: int = self._process.pid
        self.ended = False
        self._ending = False
        # The socket stays open as long as anything that a handler started has it: the process itself tells when it ends.
        self._pid_fd = os.pidfd_open(self.pid) if hasattr(os, "pidfd_open") else -1
        self._loop.add_reader(self._socket.fileno(), self._readable)
        if self._pid_fd >= 0:
            self._loop.add_reader(self._pid_fd, self._exited)
        self.send([child.HELLO, hello(target)])

    def send(self, message: list[Any]) -> None:
        """Never waits. Raises what encoding raises, and then nothing was sent."""
        frame = self._encode(message)
        if self.ended:
            return
        length = child.LENGTH.pack(len(frame))
        sent = 0
        if not self._unsent:
            with suppress(OSError):  # full, or ended: which is told elsewhere
                sent = self._socket.sendmsg((length, frame))
            if sent == len(length) + len(frame):
                return
            self._loop.add_writer(self._socket.fileno(), self._writable)
        self._unsent += (length + frame)[sent:]

    def encodable(self, job: Any) -> str:
        """Why a job cannot be sent; empty if it can."""
        try:
            self._encode(job)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return ""

    def progress(self) -> tuple[int, int, int]:
        """The job that began last, when (monotonic, ns), and the job that ended last; 0 for none."""
        while True:
            started = self._cells[child.STARTED]
            began_ns = self._cells[child.BEGAN_NS]
            finished = self._cells[child.FINISHED]
            if started == self._cells[child.STARTED]:
                return started, began_ns, finished

    def told_all(self, number: int) -> bool:
        """Whether a job that has ended was simply done: there was no result and no error to tell."""
        return number > self._cells[child.TELLING]

    def memory_bytes(self) -> int:
        """Resident memory of the process, 0 if it has ended. Linux only."""
        try:
            with open(f"/proc/{self.pid}/statm", "rb") as file:
                return int(file.read().split()[1]) * mmap.PAGESIZE
        except (OSError, IndexError):
            return 0

    def kill(self) -> None:
        """End it, with all programs that it started. `on_exit` follows."""
        if not self.ended:
            with suppress(OSError):
                os.killpg(self.pid, signal.SIGKILL)

    # ---- events

    def _readable(self) -> None:
        while not self.ended:
            try:
                data = self._socket.recv(child.READ_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._loop.remove_reader(self._socket.fileno())
                self.kill()  # it can tell nothing any more
                if self._pid_fd < 0:
                    self._exited()
                return
            for message in self._frames.feed(data):
                self._on_frame(self, message)
            if len(data) < child.READ_BYTES:
                return

    def _writable(self) -> None:
        try:
            sent = self._socket.send(self._unsent)
        except BlockingIOError:
            return
        except OSError:
            self._unsent.clear()
        else:
            del self._unsent[:sent]
        if not self._unsent:
            self._loop.remove_writer(self._socket.fileno())

    def _exited(self) -> None:
        if self._ending:
            return
        self._ending = True
        self._readable()  # what it said last
        self.kill()  # and what it left behind
        code = self._process.wait()
        self.ended = True
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        if self._pid_fd >= 0:
            self._loop.remove_reader(self._pid_fd)
            os.close(self._pid_fd)
        self._on_exit(self, how_ended(code))
        self._cells.release()
        self._shared.close()


def hello(target: Target) -> dict[str, Any]:
    """What a child needs to find the handler as this process would. Raises ConfigError."""
    main: str | None = None
    module = target.module
    if module == "__main__":
        program = sys.modules["__main__"]
        spec = getattr(program, "__spec__", None)
        if spec is not None:
            module = spec.name
        else:
            main = getattr(program, "__file__", None)
            if main is None:
                raise ConfigError(
                    f"{target.qualname} cannot run in a process of its own: it was declared in an interactive session,"
                    " where no other process can import it; put it in a module"
                )
            main = os.path.abspath(main)
    return {
        "module": module,
        "qualname": target.qualname,
        "main": main,
        "path": sys.path,
        "pythonpath": os.environ.get("PYTHONPATH"),
        "log": _log_settings(),
    }


def _log_settings() -> list[Any] | None:
    """Level and format of what this process logs, for the child to log alike; None if nobody has set that up."""
    root = logging.getLogger()
    if not root.handlers:
        return None
    formatter = root.handlers[0].formatter
    return [root.level, None if formatter is None else formatter._fmt]


def how_ended(code: int) -> str:
    """An exit code of subprocess, in words."""
    if code >= 0:
        return f"the process ended with exit code {code}"
    try:
        name = f" ({signal.Signals(-code).name})"
    except ValueError:
        name = ""
    return f"the process died with signal {-code}{name}"


def _shared_memory() -> int:
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("leveret")
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, child.SHARED_BYTES)
    return fd


def _start(socket_fd: int, shared_fd: int) -> subprocess.Popen[bytes]:
    """A fresh interpreter, not a fork: this process may have threads."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(socket_fd, shared_fd)],
        stdin=subprocess.DEVNULL,
        pass_fds=(socket_fd, shared_fd),
        env=environment,
        process_group=0,
    )
