"""The loop: sockets that are ready, one turn of the core, one block for the disk, one write a connection.

A turn is bounded: so many bytes are read in it, and every loop of the core has a bound of its own. It decides when
publishers are not read from; it decides nothing about messages.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import logging
import platform
import sys
import time
from collections.abc import Callable

from leveret import __version__, limits, logs
from leveret.busypoll import BusyPoll
from leveret.clock import Clock
from leveret.config import Config
from leveret.core.access import User
from leveret.core.broker import Broker
from leveret.errors import ConnectionForced, LeveretError
from leveret.protocol.amqp091 import connection as amqp
from leveret.server.link import ServerLink, TcpLink
from leveret.server.listener import Listener, Make, bound
from leveret.server.memory import MemoryLink, MemoryTransport
from leveret.server.storage import Storage
from leveret.server.watermarks import Watermarks

log = logs.get("server")

TICK_S = 0.1
LIGHT_BYTES = 4_096  # a turn that read no more had one peer or two that wait for their answer
RETRY_FULL_MS = 5_000
GOODBYE_S = 3.0  # how long clients may take to answer that the broker leaves


def descriptors() -> int:
    """How many file descriptors this process may have."""
    if sys.platform == "win32":
        return limits.CONNECTIONS
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return limits.CONNECTIONS if soft == resource.RLIM_INFINITY else soft


class Server:
    """`start` it on a running loop; `stop` ends it in order. Changes nothing that belongs to the process as a whole.

    clock: what the broker takes for the time, on which messages expire and fall due; sockets have the system's.
    own_process: nobody else wants the interpreter, so that it may stay awake for its peers.
    """

    def __init__(self, config: Config, clock: Clock | None = None, own_process: bool = False) -> None:
        self.config = config
        self.clock = Clock() if clock is None else clock
        self.storage = Storage(config)
        self.now_ms = 0
        self.budget = limits.TURN_BUDGET_BYTES
        self.polling = BusyPoll(
            lambda look: self.loop.call_soon(look), config.busy_poll_us / 1_000_000 if own_process else 0
        )
        self.wakes_ms = 0  # the turn that is asked for ahead of the next tick, wall clock
        self.scheduled = False
        self.links: dict[int, ServerLink] = {}
        self.paused: set[ServerLink] = set()
        self.on_link: Callable[[ServerLink], None] | None = None  # told of each new one
        self.stopping_publishers = False
        self.listeners: dict[str, Listener] = {}
        self.timer: asyncio.TimerHandle | None = None
        self.fatal: asyncio.Future[str] | None = None
        self.stopping = False
        self.all_gone = asyncio.Event()  # the last connection ended, while stopping
        self.ended = False  # the store is being closed: nothing more is written
        self.next_try_ms = 0  # of a store that had no room
        self.accepted = 0
        self.refused = 0
        self.room = 0  # connections for which there are file descriptors
        self.settings = amqp.Settings("Leveret", __version__, f"Python {platform.python_version()}")
        self.settings.frame_max_bytes = config.frame_max_bytes
        self.settings.channel_max = config.channel_max
        self.settings.heartbeat_s = config.heartbeat_s
        self.settings.overdue_closes_channel = config.consumer_timeout_closes_channel
        self.settings.message_size_max_bytes = config.message_size_max_bytes
        self.settings.gather_max_bytes = max(
            4 * config.message_size_max_bytes, self.settings.gather_max_bytes
        )

    # ---- start and stop

    def open(self) -> Broker:
        """Recover the state. Before the loop needs to run."""
        self.broker = self.storage.open()
        broker = self.broker
        for name in self.config.vhosts:
            broker.add_vhost(name)
        broker.access.remote_guest = self.config.allow_remote_guest
        for user in self.config.users.values():
            hashed = None if user.password_hash is None else base64.b64decode(user.password_hash)
            broker.access.add(User(user.name, user.password, hashed, tuple(user.tags)))
        broker.overdue.default_ms = self.config.consumer_timeout_ms
        self.core_turn = broker.turn
        self.core_turn.now_ms = self.clock.wall_ms()
        self.core_turn.tick_ms = self.clock.monotonic_ms()
        self.journal = self.storage.log_journal
        self.pager = self.storage.file_pager
        return broker

    async def start(self, listen: bool = True) -> None:
        """Begin. Without `listen` only `dial` leads here, until `listen` is called."""
        self.loop = asyncio.get_running_loop()
        self.fatal = self.loop.create_future()
        self.now_ms = time.monotonic_ns() // 1_000_000
        self.storage.start(self._wake(self.block_landed), self._wake(self.pages_landed))
        self.watermarks = Watermarks(self.config, self.broker)
        self.commit()
        await self._first_checkpoint()
        self.timer = self.loop.call_later(TICK_S, self.tick)
        if listen:
            self.listen(self.config.host, self.config.amqp_port)

    def _wake(self, callback: Callable[[], None]) -> Callable[[], None]:
        loop = self.loop

        def wake() -> None:
            loop.call_soon_threadsafe(callback)

        return wake

    async def _first_checkpoint(self) -> None:
        """Nothing is accepted before the log of this run has begun."""
        journal = self.journal
        while journal is not None and (journal.closed or self._writing()) and not self._failed():
            await asyncio.sleep(0)

    def _writing(self) -> bool:
        return self.storage.writer is not None and self.storage.writer.busy

    def _failed(self) -> bool:
        return self.fatal is not None and self.fatal.done()

    def listen(self, host: str, port: int) -> None:
        """Take AMQP connections there; port 0 picks a free one, see `address`. Raises OSError."""
        self.take_at("amqp", host, port, "--amqp-port", lambda sock, address: TcpLink(self, sock, address))

    def take_at(self, name: str, host: str, port: int, option: str, make: Make) -> Listener:
        """One more place to take connections at. Raises OSError."""
        self.room = max(1, descriptors() - limits.RESERVED_DESCRIPTORS)
        listener = Listener(self, name, bound(host, port, option), make)
        self.listeners[name] = listener
        return listener

    def addresses(self) -> dict[str, str]:
        """Every listener's name, and where it listens: `127.0.0.1:5672`, `[::1]:5672`."""
        found = {}
        for name, listener in self.listeners.items():
            host, port = listener.address
            found[name] = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return found

    @property
    def listener(self) -> Listener | None:
        """The one for AMQP."""
        return self.listeners.get("amqp")

    @property
    def address(self) -> tuple[str, int]:
        """Where AMQP listens."""
        return self.listeners["amqp"].address if "amqp" in self.listeners else ("", 0)

    async def stop(self, goodbye_s: float = GOODBYE_S) -> None:
        """Say goodbye to every connection, bring everything to disk, end. goodbye_s: how long to wait for answers."""
        self.stopping = True
        self.broker.stopping = True
        for listener in self.listeners.values():
            listener.close()
        error = ConnectionForced("broker forced connection closure with reason 'shutdown'")
        for link in list(self.links.values()):
            link.connection.close(error)
        self.turn()
        if self.links:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.all_gone.wait(), goodbye_s)
        for link in list(self.links.values()):
            link.lost("shutdown")
        if self.timer is not None:
            self.timer.cancel()
        if self.journal is not None and not self._failed():
            self.broker.stop_cleanly(self.journal)
            while not (self.journal.empty() and not self._writing()) and not self._failed():
                self.journal.urgent = True
                self.commit()
                await asyncio.sleep(0.001)
        self.ended = True
        self.watermarks.close()
        if self.storage.writer is not None:
            await self.loop.run_in_executor(None, self.storage.close)

    # ---- the turn

    def schedule(self) -> None:
        """Ask for a turn. What comes in this round of the loop comes now: what is too old by now is gone before."""
        if not self.scheduled:
            self.scheduled = True
            self.polling.over()
            self.loop.call_soon(self.turn)
            self.core_turn.now_ms = self.clock.wall_ms()
            try:
                self.broker.expiry.run()
            except Exception:
                log.exception("bug", extra=logs.fields(where="expiry"))

    def turn(self) -> None:
        self.scheduled = False
        light = self.budget > limits.TURN_BUDGET_BYTES - LIGHT_BYTES
        self.budget = limits.TURN_BUDGET_BYTES
        turn = self.core_turn
        more = False
        try:
            more = self.broker.work()
            turn.pump()
            turn.settle_waiters()
        except Exception:
            log.exception("bug", extra=logs.fields(where="turn"))
        self.commit()
        turn.flush()
        pager = self.pager
        if pager is not None and pager.pending_bytes > pager.limit_bytes // 4:
            self.press()
        if turn.dirty or more:
            self.schedule()
        else:
            self._wake_in_time()
            if light and not self._writing():
                self.polling.begin()

    def _wake_in_time(self) -> None:
        """What is due before the next tick gets a turn of its own then."""
        at = self.broker.next_ms()
        now = self.core_turn.now_ms
        if now < at < now + int(TICK_S * 1000) and not now < self.wakes_ms <= at:
            self.wakes_ms = at
            self.loop.call_later((at - now) / 1000, self.schedule)

    def commit(self) -> None:
        """Hand the next block to the writer, if one is due and it is free."""
        writer = self.storage.writer
        journal = self.journal
        if writer is None or journal is None or writer.busy or not journal.due():
            return
        if self.ended or self._failed():
            return
        block = journal.take()
        if block is not None:
            writer.hand(block)
            if journal.backlog_bytes > limits.LOG_BACKLOG_BYTES:
                self.press()

    def block_landed(self) -> None:
        """On the loop: the block is on disk (or never will be)."""
        writer = self.storage.writer
        journal = self.journal
        if writer is None or journal is None:
            return
        block = writer.block
        writer.busy = False
        if writer.error:
            self.fail(writer.error)
            return
        if block is not None:
            journal.written(block)
            if block.flags & 1 and self.pager is not None:
                self.pager.prepare()
        if self.pager is not None:
            self.pager.settle_deletions(journal.durable)
        self.commit()
        self.core_turn.settle_waiters()
        self.commit()
        self.core_turn.flush()
        if self.core_turn.dirty:
            self.schedule()
        if self.stopping_publishers:
            self.release()

    def pages_landed(self) -> None:
        pager = self.pager
        if pager is None:
            return
        try:
            pager.finish()
        except LeveretError as error:
            self.fail(error.text)
            return
        if pager.failure:
            self.fail(pager.failure)
            return
        if pager.full and not self.broker.blocked:
            self._watermarks(self.now_ms)
        self.schedule()
        if self.stopping_publishers:
            self.release()

    def fail(self, text: str) -> None:
        """The disk failed: nothing more can be promised, so the broker ends (never retried, never confirmed)."""
        if self.fatal is not None and not self.fatal.done():
            log.critical("fatal", extra=logs.fields(error=text))
            self.fatal.set_result(text)

    # ---- back-pressure

    def press(self) -> None:
        """More is waiting for the disk than we want to hold: stop reading from those who publish."""
        self.stopping_publishers = True

    def overfull(self) -> bool:
        pager = self.pager
        journal = self.journal
        if journal is not None and journal.backlog_bytes > limits.LOG_BACKLOG_BYTES // 2:
            return True
        return pager is not None and pager.pending_bytes > pager.limit_bytes // 8

    def must_pause(self, link: ServerLink) -> bool:
        """Whether a publisher is not read from now. One that consumes too is only stopped when the log is far behind
        or the disk is full, since its acks come the same way."""
        if not (self.overfull() or self.broker.blocked):
            return False
        if not link.connection.consumes():
            return True
        journal = self.journal
        return journal is not None and journal.backlog_bytes > 2 * limits.LOG_BACKLOG_BYTES

    def release(self) -> None:
        """Read from publishers again, if the reason to stop has gone."""
        if self.overfull() or self.broker.blocked:
            return
        self.stopping_publishers = False
        for link in list(self.paused):
            if link.peer.unsent < limits.OUTPUT_HIGH_BYTES:
                link.resume()

    def block(self, reason: str) -> None:
        """Memory or disk is short: publishers are told and not read from; consumers go on."""
        self.broker.blocked = reason
        self.stopping_publishers = True
        log.warning("publishers blocked", extra=logs.fields(reason=reason))
        for link in self.links.values():
            link.connection.block(reason)
        self.schedule()

    def unblock(self) -> None:
        self.broker.blocked = ""
        log.info("publishers unblocked")
        for link in self.links.values():
            link.connection.unblock()
        self.release()
        self.schedule()

    # ---- connections

    def dial(self, protocol: asyncio.BaseProtocol) -> MemoryTransport:
        """A connection without a socket, for a client on this loop. Raises ConnectionRefusedError."""
        if self.stopping or len(self.links) >= self.config.connections_max:
            self.refused += 1
            raise ConnectionRefusedError(
                errno.ECONNREFUSED,
                "the broker is closing" if self.stopping else "the broker has all its connections",
            )
        self.accepted += 1
        link = MemoryLink(self, -self.accepted, protocol)
        self.join(link)
        return link.transport

    def join(self, link: ServerLink) -> None:
        self.links[link.number] = link
        if self.on_link is not None:
            self.on_link(link)

    def forget(self, link: ServerLink, reason: str) -> None:
        self.links.pop(link.number, None)
        self.paused.discard(link)
        if self.stopping and not self.links:
            self.all_gone.set()
        if reason:
            log.log(
                logging.INFO if self.stopping else logging.WARNING,
                "connection ended",
                extra=logs.fields(peer=link.name, user=link.connection.user.name, reason=reason),
            )

    def bug(self, link: ServerLink) -> None:
        """Handling this connection's input raised something that is not its fault: it ends, the others go on."""
        log.exception("bug", extra=logs.fields(peer=link.name))
        link.connection.close_reason = "INTERNAL_ERROR"
        link.lost("INTERNAL_ERROR")

    # ---- time

    def tick(self) -> None:
        """Ten times a second: heartbeats, handshakes that take too long, lazy records, watermarks."""
        self.timer = self.loop.call_later(TICK_S, self.tick)
        now = time.monotonic_ns() // 1_000_000
        self.now_ms = now
        if self.journal is not None:
            self.journal.tick += 1
            if not self.journal.empty():
                self.journal.urgent = True
        self.core_turn.now_ms = self.clock.wall_ms()
        self.broker.tick(self.clock.monotonic_ms())
        if self.watermarks.due(now):
            self._watermarks(now)
            self._visit(now)
        pager = self.pager
        if pager is not None and pager.resident_bytes > 2 * pager.limit_bytes and not pager.full:
            self.broker.shed()
        self.turn()

    async def catch_up(self) -> None:
        """The clock was moved: do all that is due by it."""
        self.core_turn.now_ms = self.clock.wall_ms()
        self.broker.tick(self.clock.monotonic_ms())
        while self.broker.work():
            self.turn()
            await asyncio.sleep(0)
        self.turn()

    def _visit(self, now: int) -> None:
        handshake_ms = int(self.config.handshake_timeout_s * 1000)
        for link in list(self.links.values()):
            connection = link.connection
            if link.lingers_until_ms:
                if now >= link.lingers_until_ms:
                    link.lost(link.why())
            elif connection.is_opening():
                if now - link.since_ms > handshake_ms:
                    link.lost("handshake_timeout")
            else:
                connection.tick(now)
                if connection.is_closing() and link.since_ms >= 0:
                    link.since_ms = -now
                elif link.since_ms < 0 and now + link.since_ms > handshake_ms:
                    link.lost(connection.close_reason)

    def _watermarks(self, now: int) -> None:
        reason = self.watermarks.check(now, self._store_full(now))
        if reason and not self.broker.blocked:
            self.block(reason)
        elif not reason and self.broker.blocked:
            self.unblock()

    def _store_full(self, now: int) -> bool:
        """Whether the store found no room. Now and then it is tried again: what came of it is seen at the next check."""
        pager = self.pager
        files = self.storage.log
        journal = self.journal
        if pager is None or files is None or journal is None or not (pager.full or files.short_of_room()):
            return False
        if now >= self.next_try_ms:
            self.next_try_ms = now + RETRY_FULL_MS
            pager.full = False
            self.broker.shed()
            journal.leave(journal.segment)  # what leaves makes room at the next checkpoint
            pager.prepare()
        return True
