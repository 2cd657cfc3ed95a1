"""A span for each job, as a child of the one in which its message was published. By OpenTelemetry (extra `tracing`).

Needs nothing where the application has not set OpenTelemetry up: then jobs have no spans and cost nothing for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from leveret.client.telemetry import Tracing as Spans
from leveret.client.telemetry import tracing
from leveret.errors import ConfigError, Unsupported
from leveret.worker.interfaces import Job
from leveret.worker.middleware import Middleware


class Tracing(Middleware):
    """Makes a span for each job.

    `wanted` None: if the application has set a tracer provider up by the time the worker starts. True: in any case;
    raises ConfigError where opentelemetry-api is not installed.
    """

    def __init__(self, wanted: bool | None = None) -> None:
        self._wanted = wanted
        self._spans: Spans | None = None
        if wanted:
            self._spans = self._made()

    def _made(self) -> Spans | None:
        try:
            return tracing(self._wanted)
        except Unsupported as error:
            raise ConfigError(f"{error.text}: pip install 'leveret[tracing]'") from None

    async def started(self, app: Any) -> None:
        if self._spans is None:
            self._spans = self._made()

    async def around(self, job: Job, handle: Callable[[], Awaitable[Any]]) -> Any:
        if self._spans is None:
            return await handle()
        message = job.message
        with self._spans.processing(
            message.exchange,
            message.key,
            job.consumer.queue,
            message.headers,
            message_id=message.message_id,
            correlation_id=message.correlation_id,
            size_bytes=message.size_bytes,
        ) as span:
            span.set_attribute("leveret.handler", job.consumer.name)
            span.set_attribute("leveret.attempts", message.attempts)
            return await handle()
