"""Time limits, metrics and spans of jobs."""

from __future__ import annotations

import asyncio
import urllib.request
from typing import Any

import pytest

from leveret.errors import ConfigError, Reject
from leveret.worker.failures import HandlerTimeout
from leveret.worker.timelimits import TimeLimit
from tests.worker.jobs import Clock, info, job


async def handle() -> str:
    return "done"


async def forever() -> None:
    await asyncio.Event().wait()


# ---- time limits


def test_a_handler_over_the_limit_is_cancelled() -> None:
    limit = TimeLimit(0.01)
    limit.declared(info(), {})
    with pytest.raises(HandlerTimeout, match=r"no end within 0\.01 s"):
        asyncio.run(limit.around(job(), forever))


def test_a_handlers_own_timeout_error_is_its_own() -> None:
    async def own() -> None:
        raise TimeoutError("of the database")

    limit = TimeLimit(100.0)
    limit.declared(info(), {})
    with pytest.raises(TimeoutError, match="of the database"):
        asyncio.run(limit.around(job(), own))


def test_who_has_a_limit() -> None:
    limit = TimeLimit(0.01)
    limit.declared(info("longer"), {"time_limit_s": None})
    limit.declared(info("thread", pool="thread"), {})
    limit.declared(info("own", timeout_s=5.0), {})
    for name in ("longer", "thread", "own", "unknown"):
        assert asyncio.run(limit.around(job(info(name)), handle)) == "done"
    assert limit._limits == {}


def test_an_old_message_is_rejected() -> None:
    clock = Clock(10_000.0)
    limit = TimeLimit(clock=clock)
    limit.declared(info(), {"max_age_s": 60.0})

    async def test() -> None:
        assert await limit.around(job(timestamp=9_950), handle) == "done"
        assert await limit.around(job(), handle) == "done"
        with pytest.raises(Reject, match="the message is 100 s old; 60 s are allowed"):
            await limit.around(job(timestamp=9_900), handle)

    asyncio.run(test())


def test_limits_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match="more than 0"):
        TimeLimit(0)
    with pytest.raises(ConfigError, match="send: max_age_s=-1"):
        TimeLimit().declared(info(), {"max_age_s": -1.0})
    with pytest.raises(ConfigError, match=r"give it timeout_s=5\.0"):
        TimeLimit().declared(info(pool="process"), {"time_limit_s": 5.0})


# ---- metrics


def test_jobs_are_counted_and_served() -> None:
    prometheus = pytest.importorskip("prometheus_client")
    from leveret.worker.metrics import Metrics

    async def test() -> None:
        metrics = Metrics(port=0, registry=prometheus.CollectorRegistry(), clock=Clock(1_000.0))
        metrics.declared(info(), {})
        await metrics.started(None)
        for outcome in ("done", "done", "retried"):
            one = job(timestamp=993)
            metrics.received(one)
            metrics.finished(one, outcome, None, 0.02)
        metrics.received(job())
        url = f"http://127.0.0.1:{metrics.port}/metrics"

        def read() -> str:
            with urllib.request.urlopen(url) as answer:
                text: str = answer.read().decode()
                return text

        text = await asyncio.to_thread(read)
        await metrics.stopped()
        assert 'leveret_jobs_total{handler="send",outcome="done",queue="emails"} 2.0' in text
        assert 'leveret_jobs_total{handler="send",outcome="retried",queue="emails"} 1.0' in text
        assert 'leveret_jobs_total{handler="send",outcome="dead",queue="emails"} 0.0' in text
        assert 'leveret_jobs_in_progress{handler="send",queue="emails"} 1.0' in text
        assert 'leveret_job_seconds_bucket{handler="send",le="0.025",queue="emails"} 3.0' in text
        assert 'leveret_job_seconds_bucket{handler="send",le="0.01",queue="emails"} 0.0' in text
        assert 'leveret_job_age_seconds_bucket{handler="send",le="5.0",queue="emails"} 0.0' in text
        assert 'leveret_job_age_seconds_bucket{handler="send",le="10.0",queue="emails"} 3.0' in text

    asyncio.run(test())


def test_worker_processes_have_ports_side_by_side() -> None:
    prometheus = pytest.importorskip("prometheus_client")
    from leveret.worker.metrics import Metrics

    async def test() -> None:
        first = Metrics(port=0, registry=prometheus.CollectorRegistry())
        await first.started(None)
        assert first.port is not None
        second = Metrics(port=first.port, ports=50, registry=prometheus.CollectorRegistry())
        await second.started(None)
        assert second.port is not None and first.port < second.port < first.port + 50
        with pytest.raises(OSError):
            await Metrics(port=first.port, registry=prometheus.CollectorRegistry()).started(None)
        await first.stopped()
        await second.stopped()

    asyncio.run(test())


def test_without_a_port_nothing_is_served() -> None:
    prometheus = pytest.importorskip("prometheus_client")
    from leveret.worker.metrics import Metrics

    async def test() -> None:
        metrics = Metrics(registry=prometheus.CollectorRegistry())
        await metrics.started(None)
        assert metrics.port is None
        await metrics.stopped()

    asyncio.run(test())


# ---- spans


def test_a_job_has_a_span_as_a_child_of_its_messages() -> None:
    pytest.importorskip("opentelemetry.sdk")
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from leveret.worker.tracing import Tracing

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing = Tracing(wanted=True)
    assert tracing._spans is not None
    tracing._spans._tracer = provider.get_tracer("test")
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    seen: list[Any] = []

    async def handler() -> None:
        seen.append(trace.get_current_span())
        raise ValueError("failed")

    with pytest.raises(ValueError):
        asyncio.run(tracing.around(job(message_id="1", headers={"traceparent": parent}, attempts=2), handler))
    (span,) = exporter.get_finished_spans()
    assert span.get_span_context() == seen[0].get_span_context()
    assert f"{span.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    assert span.parent is not None and f"{span.parent.span_id:016x}" == "b7ad6b7169203331"
    assert span.attributes is not None
    assert span.attributes["leveret.handler"] == "send" and span.attributes["leveret.attempts"] == 2
    assert span.attributes["messaging.message.id"] == "1"
    assert not span.status.is_ok


def test_without_a_provider_there_are_no_spans() -> None:
    from leveret.worker.tracing import Tracing

    async def test() -> str:
        tracing = Tracing()
        await tracing.started(None)
        assert tracing._spans is None
        return str(await tracing.around(job(), handle))

    assert asyncio.run(test()) == "done"
