"""Pulling: a channel for each queue that is pulled from, with as many requests on their way as are wanted.

basic.get is answered in order, so `drain` asks ahead and still takes nothing that it was not to take. What was asked for
and not handed out goes back before the connection ends: the broker would count it as a try that failed.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Final

from leveret.client.engine.inbox import Channel, Event
from leveret.client.engine.message import Message
from leveret.client.handling import Serving
from leveret.client.link import CLOSE_TIMEOUT_S, Owner
from leveret.errors import Closed, Disconnected, LeveretError
from leveret.wire import methods, requests

if TYPE_CHECKING:
    from leveret.client.client import Client
    from leveret.client.link import Link

AHEAD: Final = 64


class Puller(Owner):
    """Takes messages of one queue, when asked."""

    def __init__(self, client: Client, serving: Serving) -> None:
        self._client = client
        self._serving = serving
        self._channel: Channel | None = None
        self._link: Link | None = None
        self._lock = asyncio.Lock()
        self._closing = False
        self._ahead: dict[asyncio.Future[Event], Channel] = {}  # asked for by somebody who waits, or will
        self._returning: set[asyncio.Future[Event]] = set()  # asked for by nobody any more

    async def get(self) -> Message | None:
        """One message, or None if the queue has none. Raises Refused, Closed, Disconnected."""
        while True:
            try:
                link, channel = await self._open()
                asked = self._ask(link, channel)
                try:
                    return self._hand_out(asked, await asyncio.shield(asked))
                finally:
                    self._give_back([asked])
            except Disconnected:
                if not self._client.reconnects:
                    raise

    async def drain(self, limit: int | None) -> AsyncIterator[Message]:
        """What is there, up to `limit`; ends when the queue is empty. Raises Refused, Closed, Disconnected."""
        link, channel = await self._open()
        asked: deque[asyncio.Future[Event]] = deque()
        left = -1 if limit is None else limit
        empty = False
        try:
            while True:
                while not empty and left != 0 and len(asked) < AHEAD:
                    asked.append(self._ask(link, channel))
                    left -= 1
                if not asked:
                    return
                event = await asyncio.shield(asked[0])
                message = self._hand_out(asked.popleft(), event)
                if message is None:
                    empty = True
                else:
                    yield message
        finally:
            self._give_back(asked)

    async def close(self) -> None:
        """Nothing more is handed out: what comes goes back, and when that is on its way, this returns."""
        self._closing = True
        self._give_back(list(self._ahead))
        if self._returning:
            await asyncio.wait(self._returning, timeout=CLOSE_TIMEOUT_S)

    def _hand_out(self, asked: asyncio.Future[Event], event: Event) -> Message | None:
        """Raises Closed where it was given back meanwhile."""
        channel = self._ahead.pop(asked, None)
        if channel is None:
            raise Closed("the client was closed")
        return self._read(channel, event)

    def _give_back(self, asked: Iterable[asyncio.Future[Event]]) -> None:
        """What comes for a caller who is gone. What was handed out or given back already is left as it is."""
        for future in asked:
            channel = self._ahead.pop(future, None)
            if channel is not None:
                self._returning.add(future)
                future.add_done_callback(functools.partial(self._come, channel))

    def _come(self, channel: Channel, future: asyncio.Future[Event]) -> None:
        self._returning.discard(future)
        if not future.cancelled() and future.exception() is None:
            message = self._read(channel, future.result())
            if message is not None and channel.settling.alive:
                message.release()

    def _ask(self, link: Link, channel: Channel) -> asyncio.Future[Event]:
        if self._closing:
            raise Closed("the client was closed")
        number = channel.number
        asked = link.request(
            number,
            lambda out: requests.basic_get(out, number, self._serving.queue),
            methods.BASIC_GET_OK,
            methods.BASIC_GET_EMPTY,
        )
        self._ahead[asked] = channel
        return asked

    @staticmethod
    def _read(channel: Channel, event: Event) -> Message | None:
        return channel.got(event) if event.method == methods.BASIC_GET_OK else None

    async def _open(self) -> tuple[Link, Channel]:
        async with self._lock:
            link = await self._client.wait_link()
            if self._channel is None or self._link is not link:
                self._channel = await link.open_channel(self, self._serving)
                self._link = link
            return link, self._channel

    # ---- for the link

    def closed(self, error: LeveretError) -> None:
        if self._channel is not None:
            self._client.count(self._channel)
        self._channel = self._link = None
