"""What is to be measured: the options of `leveret bench` with their defaults, as one value that goes to every process."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Final

from leveret.errors import ClientError

THROUGHPUT: Final = "throughput"
LATENCY: Final = "latency"
FANOUT: Final = "fanout"
BACKLOG: Final = "backlog"
RPC: Final = "rpc"

CONNECTIONS_MAX: Final = 10_000
SIZE_MAX_BYTES: Final = 128 << 20


class Senseless(ClientError):
    """Options that do not fit together; the text says which, and what would."""


@dataclasses.dataclass
class Plan:
    """Times in seconds, sizes in bytes, rates in messages a second for all connections together.

    `connections` publish, `consumers` consume; both are spread over `queues` and over `processes`. `window` is how many
    messages of a connection may be without a confirm, 0: none is asked for. `prefetch` 0: no limit. `ack_every` 0: the
    broker need not be told. `messages` 0: as many as the time allows.
    """

    scenario: str = THROUGHPUT
    url: str = ""
    connections: int = 1
    consumers: int = 1
    queues: int = 1
    processes: int = 1
    size_bytes: int = 100
    persistent: bool = True
    window: int = 1000
    prefetch: int = 1000
    ack_every: int = 50
    rate: float = 0.0
    messages: int = 0
    duration_s: float = 10.0
    warmup_s: float = 1.0
    prefix: str = "leveret-bench"

    def as_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @property
    def exchange(self) -> str:
        return f"{self.prefix}-exchange" if self.scenario == FANOUT else ""

    def queue(self, index: int) -> str:
        return f"{self.prefix}-{index % self.queues}"

    def check(self) -> None:
        """Raises Senseless."""
        if not 0 <= self.size_bytes <= SIZE_MAX_BYTES:
            raise Senseless(f"--size {self.size_bytes}: it is 0 to {SIZE_MAX_BYTES} bytes")
        if max(self.connections, self.consumers, self.queues, self.processes) > CONNECTIONS_MAX:
            raise Senseless(f"at most {CONNECTIONS_MAX} connections, queues and processes")
        if self.processes > max(self.connections, self.consumers):
            raise Senseless(
                f"--processes {self.processes}: there are only {self.connections} connections that publish and"
                f" {self.consumers} that consume"
            )
        if self.scenario != FANOUT and self.queues > self.connections:
            raise Senseless(
                f"--queues {self.queues}: each needs one of the {self.connections} --connections that publish"
            )
        if 0 < self.messages < self.connections:
            raise Senseless(
                f"--messages {self.messages}: each of the {self.connections} connections needs one"
            )
        if self.scenario == BACKLOG and self.messages == 0:
            raise Senseless("--messages: a backlog has to have some")
        if (self.scenario != THROUGHPUT or self.consumers) and self.consumers < self.queues:
            raise Senseless(f"--consumers {self.consumers}: each of the {self.queues} queues needs one")
        if self.prefetch and self.ack_every > self.prefetch:
            raise Senseless(
                f"--ack-every {self.ack_every}: more than --prefetch {self.prefetch} never come without an ack"
            )
        if self.scenario == LATENCY and self.rate <= 0:
            raise Senseless("--rate: latency is measured at a rate, which has to be more than 0")


def from_json(text: str) -> Plan:
    values: dict[str, Any] = json.loads(text)
    return Plan(**values)


@dataclasses.dataclass
class Share:
    """What one process does of a plan: the numbers of its publishing and consuming connections."""

    plan: Plan
    publishers: list[int]
    takers: list[int]

    def as_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    def messages_each(self) -> list[int]:
        """How many each publisher of this process sends, where a plan says how many in all; 0: without end."""
        total, count = self.plan.messages, self.plan.connections
        return [total // count + (number < total % count) for number in self.publishers]


def share_from_json(text: str) -> Share:
    values: dict[str, Any] = json.loads(text)
    return Share(Plan(**values["plan"]), values["publishers"], values["takers"])


def shares(plan: Plan, publish: bool = True, consume: bool = True) -> list[Share]:
    """Connections dealt out to the processes in turn."""
    publishers = range(plan.connections) if publish else range(0)
    takers = range(plan.consumers) if consume else range(0)
    step = plan.processes
    found = [Share(plan, list(publishers[n::step]), list(takers[n::step])) for n in range(step)]
    return [share for share in found if share.publishers or share.takers]
