"""The faults of the matrix: what is done at the point, what is done afterwards, and what must be true then."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from ...compat.waiting import eventually_async
from . import faults
from .harness import Case
from .link import Heard, Link
from .proxy import Point, Proxy, Strike

Loses = Literal["connection", "channel", "nothing"]

# Frames on channel 0, or such that a channel's end there is no case: the channel is not open yet.
CHANNELLESS: Final = ("greeting", "connection.", "channel.open")
PUBLISHED: Final = ("basic.publish", "body")


@dataclass(frozen=True)
class Disaster:
    """`fault` makes what strikes; `after` is what the world does then. `fits` says at which points it makes sense."""

    name: str
    fault: Callable[[Case], faults.Fault]
    fits: Callable[[Point], bool]
    loses: Loses = "connection"
    after: Callable[[Case, Strike], Awaitable[None]] | None = None
    options: Callable[[Proxy], dict[str, Any]] = lambda _: {}  # of the client


def _anywhere(point: Point) -> bool:
    return True


def _between_frames(point: Point) -> bool:
    """What the broker says of itself is a frame: it does not come within another."""
    return not (point.side == "server" and point.when == "middle")


def _after(point: Point) -> bool:
    return point.when == "after"


def _before_the_client(point: Point) -> bool:
    return point.when == "before" and point.side == "client" and point.name != "greeting"


def _on_a_channel(point: Point) -> bool:
    content = point.name in ("body", "basic.deliver", "basic.get_ok")
    return point.when != "middle" and not content and not point.name.startswith(CHANNELLESS)


def _while_publishing(point: Point) -> bool:
    return point.side == "client" and point.name in PUBLISHED


def _at_confirms(point: Point) -> bool:
    return point.name == "basic.ack" and point.side == "server" and point.when == "before"


def _at_deliveries(point: Point) -> bool:
    return point.name in ("basic.deliver", "basic.consume_ok") and point.when == "after"


# refused for a while


def _cut_and_turn_away(case: Case) -> faults.Fault:
    def strike(link: Link, frame: Heard) -> None:
        case.proxy.turn_away = 3
        link.reset()

    return strike


# the token has expired


class Tokens:
    """What an application has that fetches a token at every connect; the new one is there at the third."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self) -> tuple[str, str]:
        self.asked += 1
        return "application", "first" if self.asked < 3 else "second"


def _with_tokens(proxy: Proxy) -> dict[str, Any]:
    proxy.passwords = {"first"}
    return {"credentials": Tokens()}


def _expire(case: Case) -> faults.Fault:
    """The broker closes the connection, and lets the client in only with the token that comes later."""

    def strike(link: Link, frame: Heard) -> None:
        case.proxy.passwords = {"second"}
        faults.connection_close(403, "ACCESS_REFUSED - the token has expired, by the proxy")(link, frame)

    return strike


# blocked


async def _unblock(case: Case, strike: Strike) -> None:
    link = await strike.happened()
    await eventually_async(lambda: case.client.stats.blocked, "the client knows that it is blocked")
    faults.unblock(link)


DISASTERS: Final = [
    Disaster("fin", lambda _: faults.fin, _anywhere),
    Disaster("reset", lambda _: faults.reset, _anywhere),
    Disaster("close-320", lambda _: faults.connection_close(320), _between_frames),
    Disaster(
        "turned-away",
        _cut_and_turn_away,
        _after,
    ),
    Disaster("expired", _expire, _before_the_client, options=_with_tokens),
    Disaster("channel-closed", lambda _: faults.channel_close(406), _on_a_channel, "channel"),
    Disaster("blocked", lambda _: faults.block, _while_publishing, "nothing", _unblock),
    Disaster("nack", lambda _: faults.nack, _at_confirms, "nothing"),
    Disaster("cancelled", lambda _: faults.cancel, _at_deliveries, "nothing"),
]


def _with_heartbeats(proxy: Proxy) -> dict[str, Any]:
    """Shorter than brokers have them: a healthy line gets them from the proxy, as late as the client's own clock is."""
    proxy.heartbeat_s = 0.1
    return {"heartbeat_s": 0.4, "connect_timeout_s": 2.0}


HALF_OPEN: Final = Disaster("half-open", lambda _: faults.silence, _anywhere, options=_with_heartbeats)
