"""The part of the face of a client for threads that declares, as declaring.py is for asyncio."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from leveret.client.client import Client
from leveret.client.topology import Exchange, Queue, QueueInfo

T = TypeVar("T")


class SyncDeclaring:
    """What is declared here is declared again on every new connection."""

    _client: Client

    def _do(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        raise NotImplementedError

    def declare_queue(self, queue: str | Queue) -> QueueInfo:
        """Raises Refused where it is there with other arguments, Unsupported where the broker cannot."""
        return self._do(lambda: self._client.declare_queue(queue))

    def look_at_queue(self, name: str) -> QueueInfo:
        """What the broker says of a queue. Raises Refused with code 404 where there is none."""
        return self._do(lambda: self._client.look_at_queue(name))

    def delete_queue(self, name: str, *, if_unused: bool = False, if_empty: bool = False) -> int:
        """How many messages it had. Raises Refused."""
        return self._do(lambda: self._client.delete_queue(name, if_unused=if_unused, if_empty=if_empty))

    def purge(self, name: str) -> int:
        """Drop what is ready in it. How many that was. Raises Refused."""
        return self._do(lambda: self._client.purge(name))

    def declare_exchange(self, exchange: str | Exchange, kind: str = "topic", **fields: Any) -> None:
        """By name and kind, with `durable`, `auto_delete`, `internal`, `arguments`; or an Exchange. Raises Refused."""
        self._do(lambda: self._client.declare_exchange(exchange, kind, **fields))

    def delete_exchange(self, name: str, *, if_unused: bool = False) -> None:
        """Raises Refused."""
        self._do(lambda: self._client.delete_exchange(name, if_unused=if_unused))

    def bind(
        self, queue: str, exchange: str, key: str = "", arguments: Mapping[str, object] | None = None
    ) -> None:
        """Raises Refused."""
        self._do(lambda: self._client.bind(queue, exchange, key, arguments))

    def unbind(
        self, queue: str, exchange: str, key: str = "", arguments: Mapping[str, object] | None = None
    ) -> None:
        """Raises Refused."""
        self._do(lambda: self._client.unbind(queue, exchange, key, arguments))

    def bind_exchange(
        self, destination: str, source: str, key: str = "", arguments: Mapping[str, object] | None = None
    ) -> None:
        """What `source` gets and `key` matches goes to `destination` too. Raises Refused."""
        self._do(lambda: self._client.bind_exchange(destination, source, key, arguments))

    def unbind_exchange(
        self, destination: str, source: str, key: str = "", arguments: Mapping[str, object] | None = None
    ) -> None:
        """Raises Refused."""
        self._do(lambda: self._client.unbind_exchange(destination, source, key, arguments))
