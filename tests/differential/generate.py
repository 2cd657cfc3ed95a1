"""From a seed to a scenario: which kind, and then that kind's own lots. The same seed makes the same scenario."""

from __future__ import annotations

import random
from collections.abc import Callable

from . import dying, serving, wandering
from .scenario import Scenario
from .script import Script

_WEIGHTS: dict[Callable[[Script], None], int] = {
    dying.deaths: 5,
    dying.chain: 3,
    dying.overflow: 4,
    dying.delivery_limit: 3,
    dying.expiry: 2,
    serving.priorities: 3,
    serving.single_active: 3,
    serving.ranked_consumers: 3,
    serving.windows: 3,
    serving.direct_replies: 2,
    serving.transactions: 2,
    wandering.arguments: 4,
    wandering.exchanges: 3,
    wandering.walk: 8,
}

# Quorum queues and direct replies of RabbitMQ 3 are another thing in much that can be seen: only 4's are compared.
_NEW = {dying.delivery_limit, serving.direct_replies}


def templates() -> dict[str, Callable[[Script], None]]:
    return {each.__name__: each for each in _WEIGHTS}


def scenario_of(seed: int, length: int, version: str, only: str | None = None) -> Scenario:
    """The scenario of `seed`, for a RabbitMQ of `version`; `only` names its kind."""
    rng = random.Random(f"{seed} {length} {only}")
    script = Script(rng, version, length)
    weights = {kind: weight for kind, weight in _WEIGHTS.items() if script.new or kind not in _NEW}
    kind = templates()[only] if only else rng.choices(list(weights), list(weights.values()))[0]
    kind(script)
    return Scenario(f"{kind.__name__} {seed}", tuple(script.ops))
