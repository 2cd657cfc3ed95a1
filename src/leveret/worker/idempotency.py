"""Each message once, as far as that can be had: a table of the ids of messages that were done, and who is at which.

A store is told `claim` before the handler runs, then `complete`, or `forget` if it failed. What a crash between these does:

    before claim        nothing was done, the message comes again and is done
    claim .. complete   the handler may have done some of it; the message comes again, is held back until the claim's
                        time is over (or its process is known to be dead), and is done again
    complete .. ack     the message comes again and is skipped, with the first one's answer

So a handler runs twice only if the first run did not end. To have not even that, write the id to the database that the
handler writes to, in the same transaction: see `docs/how-to/make-handlers-idempotent.md`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sqlite3
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, TypeVar

from leveret.errors import ConfigError, RetryLater
from leveret.worker.interfaces import ConsumerInfo, Job
from leveret.worker.middleware import Middleware
from leveret.worker.pools import ThreadPool

logger = logging.getLogger("leveret.worker")

T = TypeVar("T")

TTL_S: Final = 24 * 3600.0
LEASE_S: Final = 900.0
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS leveret_messages (
    id TEXT PRIMARY KEY, until REAL NOT NULL, owner TEXT, content_type TEXT, body BLOB
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS leveret_messages_until ON leveret_messages (until);
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the handler returned, encoded; for whoever asks a second time."""

    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """What a store says of a message: `mine` to do; or done before, with its `answer`; or another's for `wait_s` more.

    `repeated`: a claim was there whose owner never ended it, so some of the work may be done.
    """

    mine: bool
    wait_s: float | None = None
    answer: Answer | None = None
    repeated: bool = False


class Store(ABC):
    """A table of message ids, shared by all workers that are to know of one another. Methods raise what the store raises.

    To be atomic: of two claims at the same time one is `mine`.
    """

    async def open(self) -> None:  # noqa: B027  not every store has something to open
        """Before anything else, in each worker process."""

    async def close(self) -> None:  # noqa: B027
        """At the end."""

    @abstractmethod
    async def claim(self, key: str, lease_s: float) -> Claim:
        """Say that we are at it, for at most `lease_s`."""

    @abstractmethod
    async def complete(self, key: str, ttl_s: float, answer: Answer | None) -> None:
        """It is done; remember that for `ttl_s`."""

    @abstractmethod
    async def forget(self, key: str) -> None:
        """We gave up what we claimed: the next claim is free. What is done, or another's by now, stays."""


@dataclass(slots=True)
class _Entry:
    until: float
    owner: object  # None: done
    answer: Answer | None = None


class MemoryStore(Store):
    """Of one process, lost with it: for tests, and against what is delivered twice while a worker runs.

    Keeps the newest `most` ids.
    """

    def __init__(self, most: int = 100_000, clock: Callable[[], float] = time.time) -> None:
        if most < 1:
            raise ConfigError(f"a store of {most} message ids; it needs room for one at least")
        self._most = most
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    async def claim(self, key: str, lease_s: float) -> Claim:
        now = self._clock()
        entry = self._entries.get(key)
        if entry is not None and entry.until > now:
            if entry.owner is None:
                return Claim(False, answer=entry.answer)
            return Claim(False, wait_s=entry.until - now)
        self._put(key, _Entry(now + lease_s, self))
        return Claim(True, repeated=entry is not None and entry.owner is not None)

    async def complete(self, key: str, ttl_s: float, answer: Answer | None) -> None:
        self._put(key, _Entry(self._clock() + ttl_s, None, answer))

    async def forget(self, key: str) -> None:
        entry = self._entries.get(key)
        if entry is not None and entry.owner is not None:
            del self._entries[key]

    def _put(self, key: str, entry: _Entry) -> None:
        entries = self._entries
        entries[key] = entry
        entries.move_to_end(key)
        if len(entries) > self._most:
            # The oldest that is done; what is being worked on now stays, unless all is.
            oldest = next((one for one in entries if entries[one].owner is None), next(iter(entries)))
            del entries[oldest]


class SQLiteStore(Store):
    """A file, shared by the workers of one machine; it outlives them.

    A claim whose process is dead is free at once. `durable` False: after a power cut (not: a crash) the last ids may be
    missing. The table is `leveret_messages`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durable: bool = False,
        busy_s: float = 10.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = os.fspath(path)
        self._durable = durable
        self._busy_s = busy_s
        self._clock = clock
        self._database: sqlite3.Connection | None = None
        self._thread: ThreadPool | None = None
        self._claims = 0
        self._owner = own_name()

    async def open(self) -> None:
        """Raises sqlite3.Error, also for a file that is no database."""
        self._thread = ThreadPool(lambda call: call(), 1, name="leveret-idempotency")
        await self._thread.open()
        await self._call(self._connect)

    async def close(self) -> None:
        if self._thread is not None and self._database is not None:
            await self._call(self._database.close)
            await self._thread.close(self._busy_s)
        self._thread = self._database = None

    async def claim(self, key: str, lease_s: float) -> Claim:
        return await self._call(lambda: self._claim(key, lease_s))

    async def complete(self, key: str, ttl_s: float, answer: Answer | None) -> None:
        row = (self._clock() + ttl_s, answer and answer.content_type, answer and answer.body, key)
        await self._call(
            lambda: self._execute(
                "INSERT INTO leveret_messages (until, owner, content_type, body, id) VALUES (?, NULL, ?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET until = excluded.until, owner = NULL,"
                " content_type = excluded.content_type, body = excluded.body",
                row,
            )
        )

    async def forget(self, key: str) -> None:
        await self._call(
            lambda: self._execute(
                "DELETE FROM leveret_messages WHERE id = ? AND owner = ?", (key, self._owner)
            )
        )

    # ---- in the store's own thread

    def _connect(self) -> None:
        database = sqlite3.connect(
            self.path, timeout=self._busy_s, isolation_level=None, check_same_thread=False
        )
        self._database = database
        database.execute("PRAGMA journal_mode = WAL")
        database.execute(f"PRAGMA synchronous = {'FULL' if self._durable else 'NORMAL'}")
        database.executescript(SCHEMA)

    def _execute(self, statement: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        assert self._database is not None
        return self._database.execute(statement, values).fetchall()

    def _claim(self, key: str, lease_s: float) -> Claim:
        self._execute("BEGIN IMMEDIATE", ())
        try:
            claim = self._claim_locked(key, lease_s)
        except BaseException:
            self._execute("ROLLBACK", ())
            raise
        self._execute("COMMIT", ())
        return claim

    def _claim_locked(self, key: str, lease_s: float) -> Claim:
        now = self._clock()
        self._claims += 1
        if self._claims % 1000 == 0:
            self._execute("DELETE FROM leveret_messages WHERE until < ?", (now,))
        repeated = False
        found = self._execute(
            "SELECT until, owner, content_type, body FROM leveret_messages WHERE id = ?", (key,)
        )
        if found and found[0][0] > now:
            until, owner, content_type, body = found[0]
            if owner is None:
                return Claim(False, answer=None if body is None else Answer(content_type, body))
            if not is_dead(owner):
                return Claim(False, wait_s=until - now)
        if found:
            repeated = found[0][1] is not None
        self._execute(
            "INSERT OR REPLACE INTO leveret_messages (id, until, owner) VALUES (?, ?, ?)",
            (key, now + lease_s, self._owner),
        )
        return Claim(True, repeated=repeated)

    async def _call(self, call: Callable[[], T]) -> T:
        if self._thread is None:
            raise ConfigError(f"the store {self.path} is not open")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def done(result: T, error: BaseException | None) -> None:
            if future.done():
                return  # who waited for it was cancelled
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        self._thread.submit(call, done)
        return await future


def own_name() -> str:
    """This process, for others on this machine to see whether it lives: host, number, and when it began."""
    return f"{socket.gethostname()} {os.getpid()} {_began(os.getpid())}"


def is_dead(owner: str) -> bool:
    """Whether that process is known to have ended; of other machines nothing is known."""
    host, pid, began = owner.rsplit(" ", 2)
    if host != socket.gethostname():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return _began(int(pid)) != began


def _began(pid: int) -> str:
    """When a process began, in the kernel's count; empty where that is not to be had."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


class Idempotency(Middleware):
    """Skips a message that a handler has done before. Options of handlers:

    `idempotent` (True or False, without it `always`); `idempotency_key`: the header that holds the key, by default it is
    the message's id. Each handler has keys of its own. A message without a key is done every time.
    """

    options: ClassVar[Mapping[str, Any]] = {"idempotent": bool, "idempotency_key": str | None}

    def __init__(
        self,
        store: Store,
        *,
        always: bool = False,
        ttl_s: float = TTL_S,
        lease_s: float | None = None,
    ) -> None:
        """`ttl_s`: how long what was done is remembered. `lease_s`: how long a claim holds others off whose process may be
        alive; by default twice the handler's `timeout_s`, or 15 minutes if it has none."""
        self.store = store
        self._always = always
        self._ttl_s = ttl_s
        self._lease_s = lease_s
        self._headers: dict[str, str | None] = {}  # by the handlers that are idempotent
        self._warned: set[str] = set()
        self._encode: Callable[[Any], tuple[bytes, bytes]] | None = None

    def declared(self, consumer: ConsumerInfo, options: Mapping[str, Any]) -> None:
        if options.get("idempotent", self._always or "idempotency_key" in options):
            self._headers[consumer.name] = options.get("idempotency_key")

    async def started(self, app: Any) -> None:
        self._encode = app.serializers.encode
        await self.store.open()

    async def stopped(self) -> None:
        await self.store.close()

    async def around(self, job: Job, handle: Callable[[], Awaitable[Any]]) -> Any:
        consumer = job.consumer
        if consumer.name not in self._headers:
            return await handle()
        found = self._key_of(job, self._headers[consumer.name])
        if found is None:
            return await handle()
        key = f"{consumer.name}:{found}"
        claim = await self.store.claim(key, self._lease_of(consumer))
        if claim.mine:
            if claim.repeated:
                logger.warning(
                    "%s: message %s was begun before and never ended; it is done again", consumer.name, found
                )
            return await self._do(job, key, handle)
        if claim.wait_s is not None:
            raise RetryLater(f"another worker is at message {found}", claim.wait_s + 1.0)
        job.state["skipped"] = True
        return None if claim.answer is None else _encoded(claim.answer)

    async def _do(self, job: Job, key: str, handle: Callable[[], Awaitable[Any]]) -> Any:
        try:
            result = await handle()
            answer = None if job.message.reply_to is None else self._answer(result)
        except BaseException:
            await self.store.forget(key)
            raise
        await self.store.complete(key, self._ttl_s, answer)
        return result

    def _answer(self, result: Any) -> Answer:
        """A result as it is sent. Raises InvalidMessage for what cannot be."""
        from leveret.worker.work import Encoded

        if isinstance(result, Encoded):
            return Answer(result.content_type, result.body)
        assert self._encode is not None
        body, content_type = self._encode(result)
        return Answer(content_type.decode(), body)

    def _key_of(self, job: Job, header: str | None) -> str | None:
        found = job.message.message_id if header is None else job.message.headers.get(header)
        if found is None and job.consumer.name not in self._warned:
            self._warned.add(job.consumer.name)
            what = "message_id" if header is None else f"header {header!r}"
            logger.warning("%s: a message has no %s: it cannot be told apart", job.consumer.name, what)
        return None if found is None else str(found)

    def _lease_of(self, consumer: ConsumerInfo) -> float:
        if self._lease_s is not None:
            return self._lease_s
        return LEASE_S if consumer.timeout_s is None else 2 * consumer.timeout_s


def _encoded(answer: Answer) -> Any:
    from leveret.worker.work import Encoded

    return Encoded(answer.body, answer.content_type)
