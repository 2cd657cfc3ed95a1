"""OpenTelemetry: a span for what is published and for what is processed, and the trace context in the headers.

`tracing()` gives None where nobody has set OpenTelemetry up, so that the client compares with None and does no more.
This file imports OpenTelemetry only if the application has. Names are those of the semantic conventions for messaging
(1.30), with RabbitMQ's, whose attributes fit every AMQP 0-9-1 broker.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from leveret._version import VERSION
from leveret.errors import Unsupported

SYSTEM: Final = "rabbitmq"
DEFAULT_EXCHANGE: Final = "amq.default"


def tracing(wanted: bool | None = None, host: str = "", port: int = 0) -> Tracing | None:
    """What makes the spans of one client, or None.

    `wanted` None: if the application has set a tracer provider up, which it does before its clients connect. True:
    in any case; raises Unsupported where opentelemetry-api is not installed. False: never.
    """
    if wanted is False:
        return None
    if wanted is None:
        trace = sys.modules.get("opentelemetry.trace")
        if trace is None or isinstance(
            trace.get_tracer_provider(), (trace.ProxyTracerProvider, trace.NoOpTracerProvider)
        ):
            return None
    return Tracing(host, port)


class Published:
    """A message on its way. `headers` are its headers with the trace context; `end` closes its span, once."""

    __slots__ = ("_span", "_tracing", "headers")

    def __init__(self, tracing: Tracing, span: Any, headers: dict[str, object]) -> None:
        self._tracing = tracing
        self._span = span
        self.headers = headers

    def end(self, error: BaseException | None = None) -> None:
        """It was confirmed, or `error` is why not."""
        if error is not None:
            self._tracing.failed(self._span, error)
        self._span.end()


class Tracing:
    """Makes the spans of one client. Raises Unsupported where opentelemetry-api is not installed."""

    def __init__(self, host: str = "", port: int = 0) -> None:
        try:
            self._trace: Any = importlib.import_module("opentelemetry.trace")
            self._propagate: Any = importlib.import_module("opentelemetry.propagate")
        except ImportError:
            raise Unsupported("tracing needs the package opentelemetry-api") from None
        self._tracer: Any = self._trace.get_tracer("leveret", VERSION)
        self._common: dict[str, Any] = {"messaging.system": SYSTEM}
        if host:
            self._common |= {"server.address": host, "server.port": port}

    def published(
        self,
        exchange: str,
        key: str,
        headers: Mapping[str, object] | None = None,
        *,
        message_id: str | None = None,
        correlation_id: str | None = None,
        size_bytes: int = 0,
        count: int = 1,
    ) -> Published:
        """Begin the span of a message, or of a batch of `count`; end it when the broker has confirmed.

        Headers that carry a trace context already keep it, and the span links to it.
        """
        destination = _destination(exchange, key)
        attributes = self._attributes(
            "publish", "send", destination, key, message_id, correlation_id, size_bytes
        )
        if count > 1:
            attributes["messaging.batch.message_count"] = count
        carrier = dict(headers or {})
        links = self._links(carrier)
        kind = self._trace.SpanKind.PRODUCER
        span = self._tracer.start_span(
            f"publish {destination}", kind=kind, attributes=attributes, links=links
        )
        if not links:
            self._propagate.inject(carrier, context=self._trace.set_span_in_context(span))
        return Published(self, span, carrier)

    @contextmanager
    def processing(
        self,
        exchange: str,
        key: str,
        queue: str,
        headers: Mapping[str, object] | None = None,
        *,
        message_id: str | None = None,
        correlation_id: str | None = None,
        size_bytes: int = 0,
    ) -> Iterator[Any]:
        """The span of handling a message, current within the `with` and a child of its producer's, linked to it."""
        destination = _destination(exchange, key, queue)
        attributes = self._attributes(
            "process", "process", destination, key, message_id, correlation_id, size_bytes
        )
        carrier = _texts(headers)
        with self._tracer.start_as_current_span(
            f"process {destination}",
            context=self._propagate.extract(carrier),
            kind=self._trace.SpanKind.CONSUMER,
            attributes=attributes,
            links=self._links(carrier),
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield span
            except BaseException as error:
                self.failed(span, error)
                raise

    def failed(self, span: Any, error: BaseException) -> None:
        """Note an error in a span."""
        span.record_exception(error)
        span.set_attribute("error.type", type(error).__qualname__)
        span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, str(error)))

    def _attributes(
        self,
        name: str,
        kind: str,
        destination: str,
        key: str,
        message_id: str | None,
        correlation_id: str | None,
        size_bytes: int,
    ) -> dict[str, Any]:
        found = self._common | {
            "messaging.operation.name": name,
            "messaging.operation.type": kind,
            "messaging.destination.name": destination,
            "messaging.message.body.size": size_bytes,
        }
        if key:
            found["messaging.rabbitmq.destination.routing_key"] = key
        if message_id:
            found["messaging.message.id"] = message_id
        if correlation_id:
            found["messaging.message.conversation_id"] = correlation_id
        return found

    def _links(self, headers: Mapping[str, object]) -> list[Any]:
        """A link to the span whose context the headers carry."""
        context = self._propagate.extract(_texts(headers))
        found = self._trace.get_current_span(context).get_span_context()
        own = self._trace.get_current_span().get_span_context()
        return [self._trace.Link(found)] if found.is_valid and found != own else []


def _texts(headers: Mapping[str, object] | None) -> dict[str, str]:
    """The headers that propagators may read."""
    return {name: value for name, value in (headers or {}).items() if isinstance(value, str)}


def _destination(exchange: str, key: str, queue: str = "") -> str:
    """What the conventions have as the destination's name: exchange, key and queue, as far as they are there."""
    parts = [exchange, key, "" if queue == key else queue]
    return ":".join(part for part in parts if part) or DEFAULT_EXCHANGE
