"""The part of a client's face that declares: queues, exchanges, bindings, by name or as values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from leveret.client.topology import Binding, Exchange, Queue, QueueInfo

if TYPE_CHECKING:
    from leveret.client.control import Control


class Declaring:
    """What is declared here is declared again on every new connection."""

    control: Control

    async def declare_queue(self, queue: str | Queue) -> QueueInfo:
        """Raises Refused where it is there with other arguments, Unsupported where the broker cannot."""
        return await self.control.declare_queue(queue if isinstance(queue, Queue) else Queue(queue))

    async def look_at_queue(self, name: str) -> QueueInfo:
        """What the broker says of a queue. Raises Refused with code 404 where there is none."""
        return await self.control.look_at_queue(name)

    async def delete_queue(self, name: str, *, if_unused: bool = False, if_empty: bool = False) -> int:
        """How many messages it had. Raises Refused."""
        return await self.control.delete_queue(name, if_unused, if_empty)

    async def purge(self, name: str) -> int:
        """Drop what is ready in it. How many that was. Raises Refused."""
        return await self.control.purge(name)

    async def declare_exchange(self, exchange: str | Exchange, kind: str = "topic", **fields: Any) -> None:
        """By name and kind, with `durable`, `auto_delete`, `internal`, `arguments`; or an Exchange. Raises Refused."""
        if isinstance(exchange, str):
            exchange = Exchange(exchange, kind, **fields)
        await self.control.declare_exchange(exchange)

    async def delete_exchange(self, name: str, *, if_unused: bool = False) -> None:
        """Raises Refused."""
        await self.control.delete_exchange(name, if_unused)

    async def bind(
        self, queue: str, exchange: str, key: str = "", arguments: Mapping[str, object] | None = None
    ) -> None:
        """Raises Refused."""
        await self.control.bind(Binding(queue, exchange, key, tuple((arguments or {}).items())))

    async def unbind(
        self, queue: str, exchange: str, key: str = "", arguments: Mapping[str, object] | None = None
    ) -> None:
        """Raises Refused."""
        await self.control.unbind(Binding(queue, exchange, key, tuple((arguments or {}).items())))

    async def bind_exchange(
        self, destination: str, source: str, key: str = "", arguments: Mapping[str, object] | None = None
    ) -> None:
        """What `source` gets and `key` matches goes to `destination` too. Raises Refused."""
        await self.control.bind(Binding(destination, source, key, tuple((arguments or {}).items()), True))

    async def unbind_exchange(
        self, destination: str, source: str, key: str = "", arguments: Mapping[str, object] | None = None
    ) -> None:
        """Raises Refused."""
        await self.control.unbind(Binding(destination, source, key, tuple((arguments or {}).items()), True))
