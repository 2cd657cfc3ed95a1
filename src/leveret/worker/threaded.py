"""What a handler in a thread gets of the loop's things: its message and the app's client, with calls that wait.

The client and its messages belong to the loop's thread. A call here is made there, and its result or error comes back.
What can only be read is read at once.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from typing import Any, Final

from leveret.client.engine.message import READY, Message
from leveret.errors import Closed, ConfigError

SETTLING: Final = ("ack", "release", "drop", "retry", "reject", "move", "hold", "finish", "undo")
ITERATED: Final = ("consume", "subscribe", "drain")
FOR_LIFE: Final = ("open", "close", "__aenter__", "__aexit__")


class Here(threading.local):
    """Whether this is a thread of handlers. Others that want the client know what they do."""

    handles = False


HERE: Final = Here()


def running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def on_loop(loop: asyncio.AbstractEventLoop, call: Callable[[], Any], wait: bool) -> Any:
    """Make the call there; with `wait`, await what it gives. Raises what it raises; Closed if the loop is."""

    if running_loop() is loop:  # it was handed on to the loop
        return call()

    async def made() -> Any:
        result = call()
        return await result if wait and inspect.isawaitable(result) else result

    work = made()
    try:
        future = asyncio.run_coroutine_threadsafe(work, loop)
    except RuntimeError:
        work.close()
        raise Closed("the worker has left: nothing can be told to its broker any more") from None
    return future.result()


class ThreadMessage:
    """A message in a thread: all that a `leveret.Message` has. It may be settled here, once."""

    __slots__ = ("_loop", "_message")

    def __init__(self, message: Any, loop: Any) -> None:
        self._message = message
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._message, name)
        if name in SETTLING:
            return self._there(found, False)
        return self._there(found, True) if name == "reply" else found

    def _there(self, method: Callable[..., Any], wait: bool) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            on_loop(self._loop, lambda: method(*args, **options), wait)
            return READY  # as there, it may be awaited and need not be

        return call

    def __enter__(self) -> ThreadMessage:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        on_loop(self._loop, lambda: self._message.__exit__(kind, error, trace), False)

    def __repr__(self) -> str:
        return repr(self._message)


class ThreadClient:
    """The app's client in a thread: the same methods, and what is awaited there is waited for here.

    What is iterated over belongs to the loop: ConfigError says so.
    """

    __slots__ = ("_client", "_loop")

    def __init__(self, client: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._client = client
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if name in ITERATED:
            raise ConfigError(
                f"client.{name}() in a thread of a handler: take messages in handlers, one by one with client.get(), or"
                " by a client of leveret.connect_sync()"
            )
        if name in FOR_LIFE:
            raise ConfigError(f"client.{name}() in a thread of a handler: the client is the worker's")
        if not callable(found):
            return found

        def call(*args: Any, **options: Any) -> Any:
            result = on_loop(self._loop, lambda: found(*args, **options), True)
            if isinstance(result, Message):
                return ThreadMessage(result, self._loop)
            return READY if name == "post" else result

        return call

    def __repr__(self) -> str:
        return f"<{self._client!r} in a thread>"
