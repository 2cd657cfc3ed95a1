"""From addresses to an open connection: each is tried in turn, beginning with the one after the last that was lost.

It knows TCP, TLS and brokers in this process; what is said over the connection is link.py's business.
"""

from __future__ import annotations

import asyncio
import inspect
import socket
from collections.abc import Sequence

from leveret.client import credentials as who
from leveret.client.address import Address
from leveret.client.engine.outbox import Outbox
from leveret.client.link import Link
from leveret.errors import ConnectFailed, Disconnected, LeveretError, Refused


class Connector:
    """`heartbeat_s` and `timeout_s` are for addresses that say nothing of them; `busy_poll_s` is for links by sockets."""

    def __init__(
        self,
        addresses: Sequence[Address],
        credentials: who.Credentials,
        name: str,
        heartbeat_s: float,
        timeout_s: float,
        busy_poll_s: float = 0.0,
    ) -> None:
        self.addresses = tuple(addresses)
        self.credentials = who.checked(credentials)
        self.name = name
        self.heartbeat_s = heartbeat_s
        self.timeout_s = timeout_s
        self.busy_poll_s = busy_poll_s
        self.address = self.addresses[0]  # the one in use, or last in use
        self._first = 0

    async def connect(self, outbox: Outbox) -> Link:
        """A link that the broker has let in. Raises ConnectFailed, which says why for every address."""
        reasons: list[str] = []
        code = 0
        for turn in range(len(self.addresses)):
            at = (self._first + turn) % len(self.addresses)
            address = self.addresses[at]
            try:
                link = await self._open(address, outbox)
            except TimeoutError:
                reasons.append(f"{address.place}: no answer in time")
            except Refused as error:
                code = error.code
                reasons.append(f"{address.place}: refused: {error.text}")
            except LeveretError as error:
                reasons.append(f"{address.place}: {error.text}")
            except OSError as error:
                reasons.append(f"{address.place}: {error.strerror or error}")
            else:
                self.address = address
                self._first = (at + 1) % len(self.addresses)
                return link
        failed = ConnectFailed(f"no broker could be reached: {'; '.join(reasons)}")
        failed.code = code or failed.code
        raise failed

    async def _open(self, address: Address, outbox: Outbox) -> Link:
        timeout_s = self.timeout_s if address.connect_timeout_s is None else address.connect_timeout_s
        heartbeat_s = self.heartbeat_s if address.heartbeat_s is None else float(address.heartbeat_s)
        try:
            async with asyncio.timeout(timeout_s):
                user, password = await who.resolve(self.credentials, address)
        except TimeoutError:
            raise ConnectFailed("credentials did not come in time") from None
        link = Link(user, password, address.vhost, address.name or self.name, heartbeat_s, outbox)
        if address.dialer is None:  # a broker in this process wants the processor that we would poll with
            link.polling.allow(self.busy_poll_s)
        if address.frame_max_bytes:
            link.frame_max_bytes = min(link.frame_max_bytes, address.frame_max_bytes)
        if address.channel_max:
            link.channel_max = min(link.channel_max, address.channel_max)
        try:
            async with asyncio.timeout(timeout_s):
                await self._dial(address, link)
                await link.opened
        except BaseException as error:
            link.fail(Disconnected("the connection was not opened"))
            if isinstance(error, Disconnected) and link.greeted:
                # a broker without authentication_failure_close hangs up on a wrong password
                raise Refused(
                    403, f"the broker hung up during the login of {user!r} to {address.vhost!r}"
                ) from None
            raise
        return link

    async def _dial(self, address: Address, link: Link) -> None:
        if address.dialer is not None:
            transport = address.dialer.dial(lambda: link)
            if inspect.isawaitable(transport):
                await transport
            return
        name = (address.server_hostname or None) if address.tls is not None else None
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(
            lambda: link, address.host, address.port, ssl=address.tls, server_hostname=name
        )
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
