"""What can be fuzzed, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.fuzz import fuzz_amqp091, fuzz_stomp


@dataclass(frozen=True)
class Target:
    """one_input raises where something does not hold; seeds are inputs to begin with."""

    name: str
    one_input: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    largest_bytes: int


TARGETS = {
    each.name: each
    for each in (
        Target("amqp091", fuzz_amqp091.one_input, fuzz_amqp091.seeds, fuzz_amqp091.LARGEST_BYTES),
        Target("stomp", fuzz_stomp.one_input, fuzz_stomp.seeds, fuzz_stomp.LARGEST_BYTES),
    )
}
