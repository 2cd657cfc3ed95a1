"""Routing through the graph of exchanges (rabbit_exchange:route): bindings to exchanges, cycles, alternate exchanges.

Each exchange is visited once. One whose own bindings take nothing hands the message to its alternate exchange, if
there is such an exchange; bindings that lead round in a circle count as having taken it.
"""

from __future__ import annotations

from leveret.core.destination import Destination, Matched, Routed
from leveret.core.exchange import Exchange


def route(exchanges: dict[str, Exchange], first: Exchange, routed: Routed) -> list[Destination]:
    """The queues that a message published to `first` goes to, each once."""
    matched: Matched = {}
    first.matcher.match(routed, matched)
    if first.to_exchanges == 0 and (matched or first.alternate is None):
        return list(matched)
    queues: Matched = {}
    seen: set[str] = {first.name}
    waiting: list[Exchange] = []
    _visit(exchanges, first, matched, queues, seen, waiting)
    while waiting:
        x = waiting.pop()
        found: Matched = {}
        x.matcher.match(routed, found)
        _visit(exchanges, x, found, queues, seen, waiting)
    return list(queues)


def _visit(
    exchanges: dict[str, Exchange],
    x: Exchange,
    matched: Matched,
    queues: Matched,
    seen: set[str],
    waiting: list[Exchange],
) -> None:
    """Sort what an exchange's bindings matched into queues and exchanges still to be visited."""
    for d in matched:
        if d.is_queue:
            queues[d] = 1
        elif d.name not in seen:
            seen.add(d.name)
            waiting.append(exchanges[d.name])
    alternate = x.alternate
    if not matched and alternate is not None and alternate not in seen:
        other = exchanges.get(alternate)
        if other is not None:
            seen.add(alternate)
            waiting.append(other)


def route_needs_message(exchanges: dict[str, Exchange], first: Exchange) -> bool:
    """Whether an exchange that can be reached goes by more than the key: then so do routes through `first`."""
    if first.to_exchanges == 0 and first.alternate is None:
        return first.needs_message()
    seen: set[str] = {first.name}
    waiting: list[Exchange] = [first]
    while waiting:
        x = waiting.pop()
        if x.needs_message():
            return True
        names: list[str] = []
        if x.to_exchanges > 0:
            names = [d.name for d in x.by_destination if not d.is_queue]
        if x.alternate is not None:
            names.append(x.alternate)
        for name in names:
            other = exchanges.get(name)
            if other is not None and name not in seen:
                seen.add(name)
                waiting.append(other)
    return False
