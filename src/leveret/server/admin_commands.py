"""What can be asked over the admin socket: each command takes named arguments and gives plain values.

It reads the broker through its facade and the connections through a list that the server keeps; it knows nothing
of sockets. Listings take a copy of what they list and yield to the loop as they go, since they may be long.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Final, TypeVar

from leveret import build
from leveret._version import VERSION
from leveret.core import serving
from leveret.core.asking import Durable, OneMessage
from leveret.core.attempts import check_retry
from leveret.core.broker import Broker
from leveret.core.intake import ASKS_BY_HEADERS, ASKS_EXPIRATION
from leveret.core.queue import Queue
from leveret.core.scheduled import cancel
from leveret.core.session import Session
from leveret.core.vhost import VHost
from leveret.core.view import Seen
from leveret.errors import CommandInvalid, ContentTooLarge, NotFound, PreconditionFailed
from leveret.message import ACCEPTED, RELEASED, Message
from leveret.protocol.amqp091.copies import copy_keys, cut_bcc
from leveret.server import admin_socket
from leveret.server.admin import AdminServer, Args, Command
from leveret.server.admin_connections import Connected, connection_row
from leveret.server.admin_message import (
    make_message,
    message_row,
    plain,
    properties_from,
    raw_route,
)
from leveret.server.admin_queues import queue_row
from leveret.server.admin_scheduled import scheduled_rows

if TYPE_CHECKING:
    from leveret.server.server import Server

YIELD_EVERY: Final = 256  # rows between two looks at the loop
T = TypeVar("T")


class Commands:
    """The commands over one broker. `table` is what the admin socket serves."""

    def __init__(
        self,
        broker: Broker,
        connections: Callable[[], Iterable[Connected]],
        facts: Callable[[], dict[str, object]],
        turn_soon: Callable[[], None],
        message_size_max_bytes: int,
        backup: Callable[[str], Awaitable[object]] | None = None,
    ) -> None:
        """connections: those that are open; facts: what the server adds to the status (addresses, uptime_s, ...);
        turn_soon: ask for a turn of the broker; backup: copy the store to a directory, None without a store."""
        self.broker = broker
        self.connections = connections
        self.facts = facts
        self.turn_soon = turn_soon
        self.message_size_max_bytes = message_size_max_bytes
        self.backup = backup

    def table(self) -> dict[str, Command]:
        return {
            "status": self.status,
            "queues": self.queues,
            "exchanges": self.exchanges,
            "bindings": self.bindings,
            "connections": self.list_connections,
            "channels": self.channels,
            "consumers": self.consumers,
            "publish": self.publish,
            "get": self.get,
            "purge": self.purge,
            "delete_queue": self.delete_queue,
            "delete_exchange": self.delete_exchange,
            "backup": self.back_up,
            "scheduled": self.scheduled,
            "cancel_scheduled": self.cancel_scheduled,
        }

    # ---- looking

    async def status(self, args: Args) -> object:
        counts = {"ready": 0, "unacknowledged": 0, "consumers": 0, "queues": 0}
        for vhost in list(self.broker.vhosts.values()):
            async for queue in unhurried(list(vhost.topology.queues.values())):
                counts["queues"] += 1
                counts["ready"] += queue.ready_count()
                counts["unacknowledged"] += queue.unsettled_count()
                counts["consumers"] += queue.consumer_count()
        opened = list(self.connections())
        return {
            "version": VERSION,
            "build": build.MODE,
            "python": build.python(),
            "event_loop": build.event_loop(),
            "pid": os.getpid(),
            **self.facts(),
            "publishing_blocked": self.broker.blocked or "no",
            "vhosts": sorted(self.broker.vhosts),
            "connections": len(opened),
            "channels": sum(len(each.connection.the_peer().sessions()) for each in opened),
            **counts,
            "replies_dropped": sum(vhost.replies.dropped for vhost in self.broker.vhosts.values()),
        }

    async def queues(self, args: Args) -> object:
        found = list(self.vhost(args).topology.queues.values())
        return [queue_row(queue) async for queue in unhurried(found) if isinstance(queue, Queue)]

    async def exchanges(self, args: Args) -> object:
        found = list(self.vhost(args).topology.exchanges.values())
        return [
            {
                "name": exchange.name,
                "type": exchange.kind,
                "durable": exchange.durable,
                "auto_delete": exchange.auto_delete,
                "internal": exchange.internal,
                "arguments": plain(exchange.arguments),
            }
            async for exchange in unhurried(found)
        ]

    async def bindings(self, args: Args) -> object:
        found = self.vhost(args).topology.bindings()
        return [
            {
                "source": binding.source.name,
                "destination": binding.destination.name,
                "destination_kind": "queue" if binding.destination.is_queue else "exchange",
                "routing_key": binding.key,
                "arguments": plain(binding.arguments),
            }
            async for binding in unhurried(found)
        ]

    async def list_connections(self, args: Args) -> object:
        return [connection_row(each) async for each in unhurried(list(self.connections()))]

    async def channels(self, args: Args) -> object:
        return [
            {
                "connection": each.name,
                **each.connection.session_row(session),
                "user": each.connection.user.name,
                "vhost": each.connection.vhost_name,
                "consumers": len(session.consumers),
                "unacknowledged": int(session.out),
            }
            async for each, session in unhurried(self._sessions())
        ]

    def _sessions(self) -> list[tuple[Connected, Session]]:
        return [
            (each, session)
            for each in self.connections()
            for session in each.connection.the_peer().sessions()
        ]

    async def consumers(self, args: Args) -> object:
        vhost = self.vhost(args)
        rows: list[dict[str, object]] = []
        async for each, session in unhurried(self._sessions()):
            if each.connection.vhost is vhost:
                rows += [
                    {
                        "queue": consumer.queue.name,
                        "tag": consumer.tag,
                        "connection": each.name,
                        "channel": each.connection.session_row(session)["number"],
                        "ack_required": not consumer.no_ack,
                        "exclusive": consumer.exclusive,
                        "active": serving.is_active(consumer),
                        "priority": int(consumer.priority),
                        "timeout_ms": int(consumer.timeout_ms),
                        "prefetch": int(consumer.prefetch),
                        "unacknowledged": int(consumer.out),
                        "arguments": plain(consumer.arguments),
                    }
                    for consumer in session.consumers.values()
                ]
        return rows

    # ---- changing

    async def publish(self, args: Args) -> object:
        vhost = self.vhost(args)
        exchange, key = text(args, "exchange"), text(args, "routing_key")
        try:
            body = base64.b64decode(text(args, "body"), validate=True)
        except binascii.Error as error:
            raise CommandInvalid(f"body is not base64: {error}") from None
        if len(body) > self.message_size_max_bytes:
            raise ContentTooLarge(
                f"message size {len(body)} is larger than configured max size {self.message_size_max_bytes}"
            )
        properties = properties_from(args.get("properties") or {}, flag(args, "persistent"))
        route = vhost.resolve(raw_route(exchange, key))
        message = make_message(properties, route.raw, body)
        queues = route.queues
        more = copy_keys(message)
        cut_bcc(message)
        if route.by_headers or more is not None:
            queues = vhost.route_by_message(route, Seen(message, key, more))
        vhost.set_terms(route, message, ASKS_EXPIRATION | ASKS_BY_HEADERS)
        if not queues and not vhost.delays(route, message):
            raise NotFound(
                f"no queue takes this message: exchange '{exchange}', routing key '{key}' in vhost '{vhost.name}'"
            )
        check_retry(queues, message)
        position = vhost.take(route, queues, message)
        if vhost.refused:
            raise PreconditionFailed(
                "a queue refused this message: it is full, or a message with this key waits in it already"
            )
        await self._durable(int(position))
        return {"queues": len(queues)}

    async def get(self, args: Args) -> object:
        vhost = self.vhost(args)
        queue = vhost.queue(text(args, "queue"), None)
        count, ack = number(args, "count", 1, 1000), flag(args, "ack")
        session = Session()
        rows: list[dict[str, object]] = []
        try:
            for _ in range(count):
                message, redelivered = await self._one(session, queue)
                if message is None:
                    break
                rows.append(message_row(message, redelivered))
        except BaseException:
            session.release_all(True)
            self.turn_soon()
            raise
        session.settle(0, True, ACCEPTED if ack else RELEASED)
        self.turn_soon()
        return rows

    async def _one(self, session: Session, queue: Queue) -> tuple[Message | None, bool]:
        answer: asyncio.Future[tuple[Message | None, bool]] = asyncio.get_running_loop().create_future()

        def then(message: Message | None, redelivered: bool) -> None:
            if not answer.done():
                answer.set_result((message, redelivered))

        getter = OneMessage(session, queue, then)
        queue.get(getter)
        self.turn_soon()
        try:
            return await answer
        finally:
            getter.active = False

    async def purge(self, args: Args) -> object:
        dropped = self.vhost(args).purge_queue(text(args, "queue"), None)
        self.turn_soon()
        return {"messages": dropped}

    async def delete_queue(self, args: Args) -> object:
        vhost = self.vhost(args)
        vhost.queue(
            text(args, "queue"), None
        )  # AMQP deletes what is not there without a word; people want one
        dropped = vhost.delete_queue(
            text(args, "queue"), flag(args, "if_unused"), flag(args, "if_empty"), None
        )
        await self._durable(int(vhost.position))
        return {"messages": dropped}

    async def delete_exchange(self, args: Args) -> object:
        vhost = self.vhost(args)
        vhost.topology.exchange(text(args, "exchange"))
        vhost.delete_exchange(text(args, "exchange"), flag(args, "if_unused"))
        await self._durable(int(vhost.position))
        return {}

    async def scheduled(self, args: Args) -> object:
        vhost = self.vhost(args)
        name = text(args, "queue")
        queue = vhost.queue(name, None) if name else None
        return await scheduled_rows(self.broker, vhost, queue, number(args, "limit", 1, 10_000))

    async def cancel_scheduled(self, args: Args) -> object:
        await self._durable(int(cancel(self.broker, text(args, "id"))))
        return {}

    async def back_up(self, args: Args) -> object:
        if self.backup is None:
            raise CommandInvalid("there is no store to back up: this broker keeps everything in memory")
        return await self.backup(text(args, "destination"))

    async def _durable(self, position: int) -> None:
        """Wait until the journal is on disk up to a position; 0 waits for nothing."""
        if position:
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

            def then() -> None:
                if not done.done():
                    done.set_result(None)

            self.broker.turn.wait_for(Durable(position, then), position)
            self.turn_soon()
            await done
        else:
            self.turn_soon()

    def vhost(self, args: Args) -> VHost:
        name = args.get("vhost", "/")
        found = self.broker.vhosts.get(name) if isinstance(name, str) else None
        if found is None:
            raise NotFound(f"no vhost '{name}'")
        return found


async def unhurried(items: list[T]) -> AsyncIterator[T]:
    """The items, with a look at the loop every now and then."""
    for i, item in enumerate(items):
        if i % YIELD_EVERY == YIELD_EVERY - 1:
            await asyncio.sleep(0)
        yield item


def text(args: Args, name: str) -> str:
    value = args.get(name, "")
    if not isinstance(value, str):
        raise CommandInvalid(f"{name} is not a text")
    return value


def flag(args: Args, name: str) -> bool:
    value = args.get(name, False)
    if not isinstance(value, bool):
        raise CommandInvalid(f"{name} is not true or false")
    return value


def number(args: Args, name: str, low: int, high: int) -> int:
    value = args.get(name, low)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise CommandInvalid(f"{name} is not a whole number from {low} to {high}")
    return value


async def start(server: Server, backup: Callable[[str], Awaitable[object]] | None = None) -> AdminServer:
    """The admin socket of a started server, in its data directory or, without one, where its port says."""
    config = server.config
    if config.memory:
        path = admin_socket.of_memory_broker(server.address[1])
    else:
        path = admin_socket.of_data_dir(config.data_dir)
    started_s = time.monotonic()

    def facts() -> dict[str, object]:
        return {
            "data_dir": "in memory" if config.memory else str(config.data_dir),
            **server.addresses(),
            "uptime_s": round(time.monotonic() - started_s, 1),
        }

    commands = Commands(
        server.broker, server.links.values, facts, server.schedule, config.message_size_max_bytes, backup
    )
    admin = AdminServer(path, commands.table())
    await admin.start()
    return admin
