"""Lines of STOMP, each beside RabbitMQ's STOMP plugin and beside the same work over AMQP 0-9-1 on the same Leveret."""

from __future__ import annotations

from collections.abc import Callable

from bench.bench import DURABLE, Bench, Line, medians
from bench.brokers import Broker, StartFailed
from bench.client import Client
from bench.figures import Figure, ratio
from bench.generators import Figures
from bench.rates import rate_of, words_of

MUST_AMQP = 0.5
RECEIPTS = ["--persistent", "--receipts", "100", "--confirm", "1000"]
AUTO = ["--ackevery", "0", "--prefetch", "0"]


def beside_both(bench: Bench, work: str, must: float, options: list[str], amqp: list[str]) -> list[Figure]:
    """options: of stompload; amqp: those of amqpload for the same."""
    queue = bench.queue()
    with bench.leveret(stomp=True) as broker, bench.stomp_rival() as rival:
        if not broker.stomp_port:
            raise StartFailed("this Leveret has no listener for STOMP")
        works: dict[str, Callable[[], Figures]] = {
            "stomp": lambda: over_stomp(bench, broker, queue, options),
            "amqp": lambda: bench.load(broker, *amqp),
        }
        if rival is not None:
            works["rival"] = lambda: over_stomp(bench, rival, queue, options)
        seen = bench.in_turns(works)
    ours, amqp_s, theirs = medians(seen["stomp"]), medians(seen["amqp"]), medians(seen.get("rival", {}))
    by_rival = ratio(rate_of(ours), rate_of(theirs)) if theirs else None
    by_amqp = ratio(rate_of(ours), rate_of(amqp_s))
    return [
        Figure(work, words_of(ours), words_of(theirs), "x RabbitMQ's STOMP plugin", by_rival, must),
        Figure(work, words_of(ours), words_of(amqp_s), "x AMQP 0-9-1", by_amqp, MUST_AMQP),
    ]


def over_stomp(bench: Bench, broker: Broker, queue: str, options: list[str]) -> Figures:
    """To a durable queue, which is empty at the beginning and gone at the end."""
    try:
        return bench.stomp_load(broker, queue, *options)
    finally:
        client = Client(broker.port)
        client.delete_queue(queue)
        client.close()


def receipts(bench: Bench) -> list[Figure]:
    work = "STOMP: SEND persistent 100 B, a receipt every 100, ack:client, ACK every 50"
    return beside_both(bench, work, 10, RECEIPTS, DURABLE)


def transient(bench: Bench) -> list[Figure]:
    work = "STOMP: SEND transient 100 B, no receipts, ack:auto"
    return beside_both(bench, work, 15, AUTO, ["--durable", "--ackevery", "0"])


LINES = [
    Line("stomp-receipts", "STOMP, persistent with receipts: beside RabbitMQ's plugin and AMQP", receipts),
    Line("stomp-transient", "STOMP, transient: beside RabbitMQ's plugin and AMQP", transient),
]
