"""What a process of a pool does with a job: finds the handler again by its name, decodes, calls, encodes.

Knows nothing of connections: a job is `[body, content type, whether a reply is wanted]`, and what comes of it is None
(done), or a list that begins with one of the words below.
"""

from __future__ import annotations

import asyncio
import importlib
from typing import Any, Final

from leveret.errors import ConfigError, InvalidMessage, Reject, RetryLater
from leveret.worker.arguments import BadArguments
from leveret.worker.declared import Declared
from leveret.worker.failures import RemoteFailure, kind_of, text_of, traceback_of
from leveret.worker.interfaces import ChildRunner, ResourcesLike

REPLY: Final = "reply"  # body, content type
FAILED: Final = "failed"  # type, text, traceback
BAD: Final = "bad"  # text: arguments that cannot be decoded
REJECTED: Final = "rejected"  # text
LATER: Final = "later"  # text, delay_s or None


def load(module: str, qualname: str) -> ChildRunner:
    """The runner of a declared handler, such as `load("shop.images", "resize")`. Raises ConfigError."""
    found: object = importlib.import_module(module)
    for name in qualname.split("."):
        found = getattr(found, name, None)
    runner = getattr(found, "child_runner", None)
    if runner is None:
        raise ConfigError(
            f"{module}.{qualname} is not a declared handler: a process pool finds its handler again by importing"
            " its module, so the name there has to be what the decorator returned"
        )
    made: ChildRunner = runner()
    return made


class InsideRunner:
    """Runs one handler, with resources of this process."""

    def __init__(self, declared: Declared, resources: ResourcesLike) -> None:
        self._declared = declared
        self._arguments = declared.arguments
        self._resources = resources
        self._loop: asyncio.AbstractEventLoop | None = None
        self._fixed: dict[str, Any] = {}
        names = declared.arguments.resources
        self._by_job = any(resources.scope_of(name) == "job" for name in names)

    def open(self) -> None:
        names = self._arguments.resources
        if not names:
            return
        self._loop = asyncio.new_event_loop()
        self._loop.run_until_complete(self._resources.open(names))
        if not self._by_job:
            self._fixed = {name: self._resources.get(name) for name in names}

    def close(self) -> None:
        if self._loop is not None:
            self._loop.run_until_complete(self._resources.close())
            self._loop.close()

    def __call__(self, job: Any) -> Any:
        body, content_type, reply = job
        try:
            values = self._arguments.values(body, content_type)
            result = self._call(values)
            if not reply:
                return None
            return [REPLY, *_encoded(self._arguments.serializers.encode(result))]
        except BadArguments as error:
            return [BAD, error.text]
        except RetryLater as error:
            return [LATER, error.text, error.delay_s]
        except Reject as error:
            return [REJECTED, error.text]
        except (Exception, SystemExit) as error:
            return [FAILED, kind_of(error), text_of(error), traceback_of(error)]

    def _call(self, values: tuple[Any, ...]) -> Any:
        arguments = self._arguments
        if self._by_job:
            assert self._loop is not None
            return self._loop.run_until_complete(self._with_job_resources(values))
        if self._fixed or arguments.keyword_only:
            return self._declared.function(**dict(zip(arguments.names, values, strict=True)), **self._fixed)
        return self._declared.function(*values)

    async def _with_job_resources(self, values: tuple[Any, ...]) -> Any:
        arguments = self._arguments
        async with self._resources.for_job(arguments.resources) as found:
            return self._declared.function(**dict(zip(arguments.names, values, strict=True)), **found)


def _encoded(found: tuple[bytes, bytes]) -> tuple[bytes, str]:
    return found[0], found[1].decode()


def error_of(answer: list[Any]) -> BaseException:
    """The exception that an answer stands for, in the parent."""
    kind = answer[0]
    if kind == BAD:
        return BadArguments(answer[1])
    if kind == REJECTED:
        return Reject(answer[1])
    if kind == LATER:
        return RetryLater(answer[1], answer[2])
    if kind == FAILED:
        return RemoteFailure(answer[1], answer[2], answer[3])
    return InvalidMessage(f"a process of the pool answered {kind!r}")
