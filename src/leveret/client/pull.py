"""Pulling: a channel for each queue that is pulled from, with as many requests on their way as are wanted.

basic.get is answered in order, so `drain` asks ahead and still takes nothing that it was not to take.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Final

from leveret.client.engine.inbox import Channel, Event
from leveret.client.engine.message import Message
from leveret.client.handling import Serving
from leveret.client.link import Owner
from leveret.errors import Disconnected, LeveretError
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

    async def get(self) -> Message | None:
        """One message, or None if the queue has none. Raises Refused."""
        while True:
            try:
                link, channel = await self._open()
                asked = self._ask(link, channel)
                try:
                    return self._read(channel, await asyncio.shield(asked))
                except asyncio.CancelledError:
                    self._give_back(channel, [asked])
                    raise
            except Disconnected:
                if not self._client.reconnects:
                    raise

    async def drain(self, limit: int | None) -> AsyncIterator[Message]:
        """What is there, up to `limit`; ends when the queue is empty. Raises Refused, Disconnected."""
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
                asked.popleft()
                message = self._read(channel, event)
                if message is None:
                    empty = True
                else:
                    yield message
        finally:
            self._give_back(channel, asked)

    def _give_back(self, channel: Channel, asked: Iterable[asyncio.Future[Event]]) -> None:
        """What comes for a caller who is gone."""

        def come(future: asyncio.Future[Event]) -> None:
            if not future.cancelled() and future.exception() is None:
                message = self._read(channel, future.result())
                if message is not None and channel.settling.alive:
                    message.release()

        for future in asked:
            future.add_done_callback(come)

    def _ask(self, link: Link, channel: Channel) -> asyncio.Future[Event]:
        number = channel.number
        return link.request(
            number,
            lambda out: requests.basic_get(out, number, self._serving.queue),
            methods.BASIC_GET_OK,
            methods.BASIC_GET_EMPTY,
        )

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
