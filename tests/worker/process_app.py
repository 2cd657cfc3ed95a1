"""Handlers that a process of the pool finds again by importing this module."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator

import msgspec

from leveret import Reject, RetryLater
from leveret.client.topology import Retry
from leveret.worker import App

app = App(name="jobs")
AT_ONCE = Retry(max=1, delay_s=0.0, max_delay_s=0.0)


class Pair(msgspec.Struct):
    left: int
    right: int


@app.resource
def number() -> Iterator[int]:
    yield os.getpid()


@app.resource(scope="job")
def session(number: int) -> Iterator[str]:
    yield f"session in {number}"


@app.consumer("pairs", pool="process", concurrency=1, retry=AT_ONCE)
def add(pair: Pair) -> Pair:
    return Pair(pair.left + pair.right, os.getpid())


@app.consumer("resources", pool="process", concurrency=1)
def with_resources(body: bytes, number: int, session: str) -> str:
    return f"{number == os.getpid()} {session == f'session in {number}'}"


@app.consumer("failing", pool="process", concurrency=1, retry=AT_ONCE)
def failing(what: str) -> None:
    if what == "reject":
        raise Reject("not this")
    if what == "later":
        raise RetryLater("not yet", delay_s=0.0)
    if what == "exit":
        sys.exit("enough")
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    raise ValueError("broken")


@app.consumer("endless", pool="process", concurrency=1, timeout_s=0.2, retry=Retry(max=0))
def endless(body: bytes) -> None:
    threading.Event().wait()


@app.consumer("held", pool="process", concurrency=1, prefetch=5)
def held(path: str) -> None:
    with open(path) as pipe:
        pipe.read()


@app.task(queue="sums", pool="process", concurrency=1)
def total(numbers: list[int]) -> int:
    return sum(numbers)
