"""Queues, exchanges and bindings: as values, as the broker has them, and declared again on another connection."""

from __future__ import annotations

import pytest

from leveret.client import Binding, Client, Exchange, Queue, Retry, exchange
from leveret.client.control import coarse
from leveret.client.features import read
from leveret.errors import InvalidMessage, Refused, Unroutable, Unsupported
from tests.client.inside import cut, run, until


@pytest.mark.parametrize(
    "queue, table",
    [
        (Queue("q"), {}),
        (Queue("q", type="quorum"), {"x-queue-type": "quorum"}),
        (Queue("q", dead_letter="d"), {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "d"}),
        (Queue("q", groups=True), {"x-group-header": True}),
        (Queue("q", groups="customer"), {"x-group-header": "customer"}),
        (Queue("q", unique="refuse"), {"x-unique": "refuse", "x-unique-header": "x-unique-key"}),
        (Queue("q", deduplicate_s=1.5), {"x-message-deduplication": 1500}),
        (Queue("q", max_priority=9, max_length=3), {"x-max-priority": 9, "x-max-length": 3}),
        (Queue("q", message_ttl_s=2, expires_s=3), {"x-message-ttl": 2000, "x-expires": 3000}),
        (Queue("q", single_active=True), {"x-single-active-consumer": True}),
        (Queue("q", max_length=3, arguments={"x-max-length": 4}), {"x-max-length": 4}),
    ],
)
def test_fields_become_arguments(queue: Queue, table: dict[str, object]) -> None:
    assert queue.table(with_retry=True) == table


def test_a_retry_policy_becomes_an_argument_where_the_broker_has_them() -> None:
    queue = Queue("q", retry=Retry(max=3, backoff="linear", delay_s=0.5, max_delay_s=9, jitter=True))
    assert queue.table(with_retry=False) == {}
    assert queue.table(with_retry=True) == {
        "x-retry": {
            "type": "linear",
            "delay": 500,
            "max-delay": 9000,
            "multiplier": "2",
            "jitter": "0.2",
            "max": 3,
        }
    }


@pytest.mark.parametrize(
    "retry, delays",
    [
        (Retry(backoff="fixed", delay_s=2), [2, 2, 2]),
        (Retry(backoff="linear", delay_s=2, max_delay_s=5), [2, 4, 5]),
        (Retry(delay_s=1, multiplier=3, max_delay_s=8), [1, 3, 8]),
        (Retry(delay_s=1), [1, 2, 4]),
    ],
)
def test_delays_before_retries(retry: Retry, delays: list[float]) -> None:
    assert [retry.delay_before(attempt) for attempt in (1, 2, 3)] == delays


@pytest.mark.parametrize(
    "fields, text",
    [
        ({"backoff": "slow"}, "backoff"),
        ({"max": -1}, "max"),
        ({"max": 1001}, "max"),
        ({"delay_s": -1}, "delays"),
        ({"delay_s": 5, "max_delay_s": 1}, "delays"),
        ({"jitter": 2}, "jitter"),
    ],
)
def test_policies_that_make_no_sense(fields: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Retry(**fields)  # type: ignore[arg-type]


def test_the_broker_takes_every_field() -> None:
    async def work(client: Client) -> None:
        queue = Queue(
            "all",
            retry=Retry(jitter=0.5),
            unique="replace",
            deduplicate_s=60,
            max_length=10,
            message_ttl_s=60,
            expires_s=600,
            max_priority=5,
        )
        info = await client.declare_queue(queue)
        assert (info.name, info.messages, info.consumers) == ("all", 0, 0)
        assert (await client.look_at_queue("all.dead")).messages == 0
        await client.declare_queue(
            Queue("groups", groups="k", single_active=True, type="quorum", dead_letter="all.dead")
        )
        named = await client.declare_queue(Queue(exclusive=True))
        assert named.name.startswith("amq.gen")

    run(work)


def test_exchanges_and_bindings() -> None:
    async def work(client: Client) -> None:
        await client.declare_exchange("orders", "direct", durable=False)
        await client.declare_exchange(Exchange("other", "fanout", arguments={"alternate-exchange": "orders"}))
        await client.declare_queue("q")
        await client.bind("q", "orders", "eu")
        await client.bind("q", "orders", "eu")
        await client.publish(exchange("orders", "eu"), 1, mandatory=True)
        assert (await client.look_at_queue("q")).messages == 1
        assert await client.purge("q") == 1
        await client.unbind("q", "orders", "eu")
        await client.publish(exchange("orders", "eu"), 1)
        assert (await client.look_at_queue("q")).messages == 0
        await client.publish("q", 1)
        with pytest.raises(Refused):
            await client.delete_queue("q", if_empty=True)
        assert await client.delete_queue("q") == 1
        await client.delete_exchange("other")
        with pytest.raises(Refused) as caught:
            await client.bind("q", "other", "x")
        assert caught.value.code == 404
        with pytest.raises(Refused):
            await client.declare_exchange("orders", "topic")
        with pytest.raises(InvalidMessage, match="255"):
            await client.declare_queue("q" * 256)

    run(work)


def test_exchanges_are_bound_to_exchanges_on_every_connection() -> None:
    async def work(client: Client) -> None:
        await client.declare_exchange("all", "topic", durable=False)
        await client.declare_exchange("some", "fanout", durable=False)
        await client.bind_exchange("some", "all", "a.#")
        await client.declare_queue(Queue("q", durable=False, exclusive=True))
        await client.bind("q", "some")
        for _ in range(2):
            await client.publish(exchange("all", "a.b"), 1, mandatory=True)
            await cut(client)
            await until(lambda: client.connected)
        await client.unbind_exchange("some", "all", "a.#")
        with pytest.raises(Unroutable):
            await client.publish(exchange("all", "a.b"), 1, mandatory=True)
        await client.bind_exchange("some", "all", "#")
        await client.delete_exchange("some")
        assert client.control.record.between_exchanges() == []

    run(work)


def test_a_refusal_leaves_the_next_request_alone() -> None:
    async def work(client: Client) -> None:
        for _ in range(3):
            with pytest.raises(Refused):
                await client.look_at_queue("missing")
        await client.declare_queue("q")

    run(work)


def test_all_is_declared_again_but_what_was_deleted() -> None:
    async def work(client: Client) -> None:
        await client.declare_exchange("e", "direct", durable=False)
        for name in ("kept", "gone"):
            await client.declare_queue(Queue(name, durable=False, exclusive=True))
            await client.bind(name, "e", name)
        await client.delete_queue("gone")
        await cut(client)
        await until(lambda: client.connected)
        await client.publish(exchange("e", "kept"), 1, mandatory=True)
        with pytest.raises(Refused):
            await client.look_at_queue("gone")
        assert client.control.record.bindings == [Binding("kept", "e", "kept")]

    run(work)


def test_what_cannot_be_declared_again_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def work(client: Client) -> None:
        await client.declare_queue("q")
        client.control.record.queues["q"] = Queue("q", max_length=5)
        await cut(client)
        await until(lambda: client.connected)
        assert (await client.look_at_queue("q")).messages == 0

    run(work)
    assert "cannot be declared again" in caplog.text


@pytest.mark.parametrize(
    "delay_ms, queue_ms",
    [(1, 1), (99, 99), (100, 100), (101, 110), (1234, 1300), (60_000, 60_000), (99_999, 100_000)],
)
def test_delays_of_queues_are_coarse(delay_ms: int, queue_ms: int) -> None:
    assert coarse(delay_ms) == queue_ms


def test_a_delay_that_no_queue_holds_is_refused() -> None:
    async def work(client: Client) -> None:
        target = exchange("", "q")
        name = client.control.delayed(
            target, 40 * 86_400_000, 1
        ).key  # within what x-expires takes, though not twice
        assert (await client.look_at_queue(name)).messages == 0
        with pytest.raises(Unsupported, match=r"a delay of 50\.9 days for queue 'q': .* at most 49 days"):
            client.control.delayed(target, 50 * 86_400_000, 1)

    run(work)


def test_a_greeting_tells_what_is_there() -> None:
    info, features = read({"product": b"RabbitMQ", "version": "3.10.8"})
    assert (info.product, info.version, info.is_leveret) == ("RabbitMQ", "3.10.8", False)
    assert not features.groups and not features.delays
    with pytest.raises(
        Unsupported, match=r"a group: RabbitMQ 3\.10\.8 does not offer it; Leveret's own broker has it"
    ):
        features.demand("groups", "a group", info)
    with pytest.raises(Unsupported, match=r"does not offer it$"):
        features.demand("selectors", "a selector", info)
    info, features = read({"product": "Leveret", "version": "1"})
    assert features.groups and features.retry and not features.selectors
    assert read({})[0].product == ""
