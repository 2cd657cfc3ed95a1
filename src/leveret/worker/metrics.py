"""Counts and times of jobs for Prometheus, by prometheus-client (extra `metrics`).

| name | kind | labels |
| --- | --- | --- |
| leveret_jobs_total | counter | queue, handler, outcome |
| leveret_jobs_in_progress | gauge | queue, handler |
| leveret_job_seconds | histogram | queue, handler |
| leveret_job_age_seconds | histogram: from the message's timestamp to its end | queue, handler |
"""

from __future__ import annotations

import asyncio
import errno
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from leveret.errors import ConfigError
from leveret.worker.interfaces import OUTCOMES, ConsumerInfo, Job
from leveret.worker.middleware import Middleware

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

logger = logging.getLogger("leveret.worker")

SECONDS: Final = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
)
AGE_SECONDS: Final = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 300.0, 1800.0, 3600.0, 21600.0, 86400.0)


class _Handler:
    """The metrics of one handler, looked up once."""

    __slots__ = ("age", "in_progress", "outcomes", "seconds")

    def __init__(self, in_progress: Any, seconds: Any, age: Any, outcomes: dict[str, Any]) -> None:
        self.in_progress = in_progress
        self.seconds = seconds
        self.age = age
        self.outcomes = outcomes


class Metrics(Middleware):
    """Counts jobs into `registry` (prometheus-client's own if None), and serves them at `port` if one is given.

    Each worker process has metrics, and a port, of its own: with `ports` it takes the first free one of so many, from
    `port` on. Raises ConfigError where prometheus-client is not installed.
    """

    options: ClassVar[Mapping[str, Any]] = {}

    def __init__(
        self,
        port: int | None = None,
        *,
        ports: int = 1,
        address: str = "127.0.0.1",
        registry: CollectorRegistry | None = None,
        buckets: Sequence[float] = SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        try:
            import prometheus_client
        except ImportError:
            raise ConfigError(
                "metrics need the package prometheus-client: pip install 'leveret[metrics]'"
            ) from None
        self.port = port
        self.ports = ports
        self.address = address
        self.registry = prometheus_client.REGISTRY if registry is None else registry
        self._clock = clock
        self._server: Any = None
        self._thread: Any = None
        self._handlers: dict[tuple[str, str], _Handler] = {}
        labels = ("queue", "handler")
        self._jobs = prometheus_client.Counter(
            "leveret_jobs", "Jobs by what became of them", (*labels, "outcome"), registry=self.registry
        )
        self._in_progress = prometheus_client.Gauge(
            "leveret_jobs_in_progress", "Jobs taken and not yet ended", labels, registry=self.registry
        )
        self._seconds = prometheus_client.Histogram(
            "leveret_job_seconds", "How long jobs took", labels, registry=self.registry, buckets=buckets
        )
        self._age = prometheus_client.Histogram(
            "leveret_job_age_seconds",
            "From a message's timestamp to the end of its job",
            labels,
            registry=self.registry,
            buckets=AGE_SECONDS,
        )

    def declared(self, consumer: ConsumerInfo, options: Mapping[str, Any]) -> None:
        labels = (consumer.queue, consumer.name)
        outcomes = {outcome: self._jobs.labels(*labels, outcome) for outcome in OUTCOMES}
        self._handlers[labels] = _Handler(
            self._in_progress.labels(*labels),
            self._seconds.labels(*labels),
            self._age.labels(*labels),
            outcomes,
        )

    def received(self, job: Job) -> None:
        self._handlers[job.consumer.queue, job.consumer.name].in_progress.inc()

    def finished(self, job: Job, outcome: str, error: BaseException | None, seconds_s: float) -> None:
        handler = self._handlers[job.consumer.queue, job.consumer.name]
        handler.in_progress.dec()
        handler.outcomes[outcome].inc()
        handler.seconds.observe(seconds_s)
        timestamp = job.message.timestamp
        if timestamp is not None:
            handler.age.observe(max(0.0, self._clock() - timestamp))

    async def started(self, app: Any) -> None:
        """Serve `/metrics`, if there is a port. Raises OSError if all are taken."""
        if self.port is None or self._server is not None:
            return
        from prometheus_client import start_http_server

        last = min(self.port + self.ports - 1, 65535)
        for port in range(self.port, last + 1):
            try:
                self._server, self._thread = start_http_server(port, self.address, registry=self.registry)
                break
            except OSError as error:
                if error.errno != errno.EADDRINUSE or port == last:
                    where = f"{self.address}:{self.port}" + (f" to {last}" if last > self.port else "")
                    raise OSError(
                        error.errno, f"metrics cannot be served at {where}: {error.strerror or error}"
                    ) from None
        assert self._server is not None
        self.port = self._server.server_port
        logger.info("metrics are at http://%s:%d/metrics", self.address, self.port)

    async def stopped(self) -> None:
        """Serve no more."""
        if self._server is not None:
            server, thread, self._server, self._thread = self._server, self._thread, None, None
            await asyncio.to_thread(server.shutdown)
            server.server_close()
            await asyncio.to_thread(thread.join)
