"""What runs in a process of a pool: jobs in, results out, by frames of msgpack over a socket.

The main thread does jobs, one after the other. A second thread reads, so that jobs can be taken back that did not begin,
and sends results that would wait behind a long job. What is being done since when is noted in memory shared with the
parent: it knows that even of a process that was killed. Nothing is unpickled. Knows nothing of brokers.

Frames: four bytes of length, then one array. To the child: HELLO, JOBS, RECALL, STOP; from it: READY, FAILED, RESULTS,
RETURNED; see `process_link` for the other side.
"""

from __future__ import annotations

import importlib.util
import logging
import mmap
import os
import select
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from collections import deque
from queue import SimpleQueue
from typing import Any, Final

import msgspec

HELLO: Final = 0  # {"module", "qualname", "main", "path", "pythonpath", "log"}
JOBS: Final = 1  # [[number, job], ...]
RECALL: Final = 2  # give back what has not begun
STOP: Final = 3  # do what is there, then end
READY: Final = 0
FAILED: Final = 1  # text, traceback
RESULTS: Final = 2  # [number or [number, result] or [number, None, why there is none], ...], busy_ns
RETURNED: Final = 3  # [number, ...]

LENGTH: Final = struct.Struct("<I")
STARTED: Final = 0  # cells of the shared memory: the job that began last,
BEGAN_NS: Final = 1  # when (monotonic clock),
FINISHED: Final = 2  # the job that ended last,
TELLING: Final = 3  # and the last one of which there is more to tell than that it was done
SHARED_BYTES: Final = 4096
FLUSH_NS: Final = 500_000  # results wait for others so long while jobs go on
FLUSH_MS: Final = 20  # and so long behind a job that does not end
READ_BYTES: Final = 1 << 18
MAIN_NAME: Final = "__leveret_main__"  # what a program's own file is imported as


class Frames:
    """Frames out of a stream of bytes."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._decode = msgspec.msgpack.Decoder().decode

    def feed(self, data: bytes) -> list[Any]:
        """What was completed by `data`."""
        held = self._held
        held += data
        found: list[Any] = []
        start = 0
        while len(held) - start >= LENGTH.size:
            (length,) = LENGTH.unpack_from(held, start)
            end = start + LENGTH.size + length
            if len(held) < end:
                break
            with memoryview(held) as view:
                found.append(self._decode(view[start + LENGTH.size : end]))
            start = end
        if start:
            del held[:start]
        return found


def main(socket_fd: int, shared_fd: int) -> None:
    """The life of a process: load the handler, do jobs until told to stop, or until the parent is gone."""
    # The parent says when to end; a signal to the whole group (Ctrl-C, systemd) is for it. Not SIG_IGN: that would be
    # inherited by programs that handlers start.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _nothing)
    for fd in (socket_fd, shared_fd):
        os.set_inheritable(fd, False)
    shared = mmap.mmap(shared_fd, SHARED_BYTES)
    child = Child(socket.socket(fileno=socket_fd), memoryview(shared).cast("q"))
    child.run()


def _nothing(number: int, frame: object) -> None:
    """For signals that are the parent's."""


def load(hello: dict[str, Any]) -> Any:
    """The runner of the handler that the pool is for (an `interfaces.ChildRunner`)."""
    sys.path[:] = hello["path"]
    if hello["pythonpath"] is None:
        os.environ.pop("PYTHONPATH", None)
    else:
        os.environ["PYTHONPATH"] = hello["pythonpath"]
    module = hello["module"]
    if hello["main"] is not None:
        module = MAIN_NAME
        spec = importlib.util.spec_from_file_location(module, hello["main"])
        assert spec is not None and spec.loader is not None
        sys.modules[module] = made = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(made)
    from leveret.worker.interfaces import Target

    runner = Target(module, hello["qualname"]).load()
    if hello["log"] is not None:  # unless the application has set it up when it was imported
        level, text = hello["log"]
        logging.basicConfig(level=level, format=text)
    return runner


class Child:
    """See the module. `cells` is the memory shared with the parent, as 64-bit numbers."""

    def __init__(self, sock: socket.socket, cells: memoryview) -> None:
        self.sock = sock
        self.cells = cells
        self.jobs: deque[tuple[int, Any]] = deque()
        self.results: deque[Any] = deque()
        self.stopping = False
        self.busy_ns = 0
        self._frames = Frames()
        self._encode = msgspec.msgpack.Encoder().encode
        self._sending = threading.Lock()
        self._wanted = False  # the main thread waits for a job
        self._wake: SimpleQueue[None] = SimpleQueue()

    def run(self) -> None:
        """Until told to stop."""
        hello: list[Any] = []
        while not hello:
            hello = self._frames.feed(self._read())
        try:
            runner = load(hello[0][1])
            runner.open()
        except BaseException as error:
            text = "".join(traceback.format_exception_only(error)).strip()
            self._send([FAILED, text, traceback.format_exc()])
            return
        self._take(hello[1:])
        threading.Thread(target=self._receive, name="leveret-jobs", daemon=True).start()
        self._send([READY])
        self._work(runner)
        runner.close()

    # ---- the main thread

    def _work(self, runner: Any) -> None:
        jobs, results, cells, clock_ns = self.jobs, self.results, self.cells, time.monotonic_ns
        now_ns = flushed_ns = clock_ns()
        while True:
            try:
                number, job = jobs.popleft()
            except IndexError:
                self._flush()
                if not self._wait():
                    return
                now_ns = flushed_ns = clock_ns()
                continue
            cells[BEGAN_NS] = began_ns = now_ns
            cells[STARTED] = number
            try:
                result = runner(job)
            except BaseException as error:
                text = "".join(traceback.format_exception_only(error)).strip()
                results.append((number, None, f"the handler's runner failed: {text}"))
                cells[TELLING] = number
            else:
                if result is None:
                    results.append(number)
                else:
                    results.append((number, result))
                    cells[TELLING] = number
            cells[FINISHED] = number
            now_ns = clock_ns()
            self.busy_ns += now_ns - began_ns
            if now_ns - flushed_ns > FLUSH_NS:
                self._flush()
                flushed_ns = now_ns = clock_ns()

    def _wait(self) -> bool:
        """Until there is a job; False if there will be none."""
        self._wanted = True
        if not self.jobs and not self.stopping:
            self._wake.get()
        self._wanted = False
        return bool(self.jobs) or not self.stopping

    # ---- the second thread

    def _receive(self) -> None:
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        while True:
            # What has ended must not wait for what does not.
            busy = bool(self.jobs or self.results)
            if poll.poll(FLUSH_MS if busy else None):
                self._take(self._frames.feed(self._read()))
            else:
                self._flush()

    def _read(self) -> bytes:
        try:
            data = self.sock.recv(READ_BYTES)
        except OSError:
            data = b""
        if not data:
            _end_group()
        return data

    def _take(self, messages: list[Any]) -> None:
        for message in messages:
            if message[0] == JOBS:
                self.jobs.extend(message[1])
            elif message[0] == RECALL:
                self._give_back()
            elif message[0] == STOP:
                self.stopping = True
        if self._wanted:
            self._wake.put(None)

    def _give_back(self) -> None:
        returned: list[int] = []
        while True:
            try:
                returned.append(self.jobs.pop()[0])
            except IndexError:
                break
        self._send([RETURNED, returned])

    # ---- both

    def _flush(self) -> None:
        with self._sending:
            ended: list[Any] = []
            while self.results:
                ended.append(self.results.popleft())
            if ended:
                busy_ns, self.busy_ns = self.busy_ns, 0
                try:
                    frame = self._encode([RESULTS, ended, busy_ns])
                except Exception:
                    frame = self._encode([RESULTS, [self._sendable(one) for one in ended], busy_ns])
                self._write(frame)

    def _sendable(self, ended: Any) -> Any:
        try:
            self._encode(ended)
        except Exception as error:
            return ended[0], None, f"the result cannot be sent from the process: {error}"
        return ended

    def _send(self, message: list[Any]) -> None:
        with self._sending:
            self._write(self._encode(message))

    def _write(self, frame: bytes) -> None:
        try:
            self.sock.sendall(LENGTH.pack(len(frame)) + frame)
        except OSError:
            _end_group()


def _end_group() -> None:
    """The parent is gone, and what is done here is given to others: end at once, with what handlers started."""
    if os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
