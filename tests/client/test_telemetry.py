"""Spans of messages: names, kinds and attributes as the conventions have them, and the context between both ends."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from leveret.client.telemetry import Tracing, tracing
from leveret.errors import NotConfirmed, Unsupported

trace: Any = pytest.importorskip("opentelemetry.trace")
sdk: Any = pytest.importorskip("opentelemetry.sdk.trace")
export: Any = pytest.importorskip("opentelemetry.sdk.trace.export")
memory: Any = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")


class Spans:
    def __init__(self) -> None:
        self.exporter = memory.InMemorySpanExporter()
        self.provider = sdk.TracerProvider()
        self.provider.add_span_processor(export.SimpleSpanProcessor(self.exporter))
        self.tracing = Tracing("rabbit.example", 5672)
        self.tracing._tracer = self.provider.get_tracer("leveret")

    @property
    def done(self) -> list[Any]:
        return list(self.exporter.get_finished_spans())


@pytest.fixture
def spans() -> Iterator[Spans]:
    made = Spans()
    yield made
    made.provider.shutdown()


def test_publishing(spans: Spans) -> None:
    published = spans.tracing.published(
        "shop", "orders.eu", {"a": 1}, message_id="m1", correlation_id="c", size_bytes=5
    )
    assert spans.done == []
    published.end()
    (span,) = spans.done
    assert span.name == "publish shop:orders.eu"
    assert span.kind == trace.SpanKind.PRODUCER
    assert dict(span.attributes) == {
        "messaging.system": "rabbitmq",
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.destination.name": "shop:orders.eu",
        "messaging.rabbitmq.destination.routing_key": "orders.eu",
        "messaging.message.id": "m1",
        "messaging.message.conversation_id": "c",
        "messaging.message.body.size": 5,
        "server.address": "rabbit.example",
        "server.port": 5672,
    }
    assert span.status.is_unset
    assert set(published.headers) == {"a", "traceparent"}
    assert f"{span.context.trace_id:032x}-{span.context.span_id:016x}" in str(
        published.headers["traceparent"]
    )


@pytest.mark.parametrize(
    "exchange, key, queue, name",
    [
        ("", "emails", "", "publish emails"),
        ("shop", "", "", "publish shop"),
        ("", "", "", "publish amq.default"),
        ("shop", "a", "q", "process shop:a:q"),
        ("", "q", "q", "process q"),
        ("shop", "", "q", "process shop:q"),
    ],
)
def test_names_of_destinations(spans: Spans, exchange: str, key: str, queue: str, name: str) -> None:
    if queue:
        with spans.tracing.processing(exchange, key, queue):
            pass
    else:
        spans.tracing.published(exchange, key).end()
    assert [span.name for span in spans.done] == [name]


def test_both_ends_are_one_trace(spans: Spans) -> None:
    tracer = spans.provider.get_tracer("app")
    with tracer.start_as_current_span("request") as request:
        published = spans.tracing.published("", "emails")
        published.end()
    with spans.tracing.processing("", "emails", "emails", published.headers, message_id="m") as processing:
        inner = spans.tracing.published("", "more")
        inner.end()
    sent, _, more, processed = spans.done
    assert processed.kind == trace.SpanKind.CONSUMER
    assert processed.attributes["messaging.operation.type"] == "process"
    assert sent.parent.span_id == request.get_span_context().span_id
    assert processed.parent.span_id == sent.context.span_id
    assert [link.context.span_id for link in processed.links] == [sent.context.span_id]
    assert more.parent.span_id == processing.get_span_context().span_id
    assert {span.context.trace_id for span in spans.done} == {request.get_span_context().trace_id}


def test_a_context_that_a_message_has_is_kept(spans: Spans) -> None:
    first = spans.tracing.published("", "a")
    first.end()
    again = spans.tracing.published("", "b", first.headers)
    again.end()
    assert again.headers == first.headers
    assert [link.context.span_id for link in spans.done[1].links] == [spans.done[0].context.span_id]


def test_a_batch_is_one_span(spans: Spans) -> None:
    spans.tracing.published("", "a", count=100).end()
    assert spans.done[0].attributes["messaging.batch.message_count"] == 100


def test_errors(spans: Spans) -> None:
    spans.tracing.published("", "a").end(NotConfirmed("the queue is full"))
    with pytest.raises(KeyError), spans.tracing.processing("", "a", "a"):
        raise KeyError("price")
    refused, processed = spans.done
    assert refused.attributes["error.type"] == "NotConfirmed"
    assert refused.status.description == "the queue is full"
    assert processed.attributes["error.type"] == "KeyError"
    assert not processed.status.is_ok and len(processed.events) == 1


def test_headers_that_are_no_texts_are_no_context(spans: Spans) -> None:
    with spans.tracing.processing("", "a", "a", {"traceparent": 5, "x-death": [{"count": 1}]}):
        pass
    assert spans.done[0].parent is None and not spans.done[0].links


RUN = """
import sys
from leveret.client.telemetry import tracing
{}
"""


@pytest.mark.parametrize(
    "code",
    [
        "assert tracing() is None; assert not [name for name in sys.modules if name.startswith('opentelemetry')]",
        "import opentelemetry.trace; assert tracing() is None",
        "from opentelemetry import trace; from opentelemetry.sdk.trace import TracerProvider\n"
        "trace.set_tracer_provider(TracerProvider()); assert tracing() is not None; assert tracing(False) is None",
        "assert tracing(True) is not None",
    ],
)
def test_it_is_on_where_the_application_has_set_it_up(code: str) -> None:
    subprocess.run([sys.executable, "-c", RUN.format(code)], check=True)


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(Unsupported, match="opentelemetry-api"):
        tracing(True)
