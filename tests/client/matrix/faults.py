"""What can go wrong at a point of a connection, as functions that act on a link.

A fault is a function `(link, frame) -> None`; those that need to be told something are made by a function. None of
them waits: what has to be done outside of the proxy (kill the broker, delete a queue) is done by the test while
`hold` keeps the line still.
"""

from __future__ import annotations

from collections.abc import Callable

from ..speech import Command
from .link import Heard, Link

Fault = Callable[[Link, Heard], None]


def fin(link: Link, frame: Heard) -> None:
    """The connection ends in order of TCP, and out of the blue for AMQP."""
    link.fin()


def reset(link: Link, frame: Heard) -> None:
    """The client's socket is reset."""
    link.reset()


def silence(link: Link, frame: Heard) -> None:
    """Half open: nothing comes through any more, and nobody is told."""
    link.go_silent()


def orphan(link: Link, frame: Heard) -> None:
    """Half open, and the broker never hears that the client has gone: it must find out by itself."""
    link.orphaned = True
    link.go_silent()


def hold(link: Link, frame: Heard) -> None:
    """Nothing comes through until `release`."""
    link.hold()


def connection_close(code: int = 320, text: str = "CONNECTION_FORCED - by the proxy") -> Fault:
    """The broker closes the connection in order of AMQP, and closes the socket when the client has agreed."""

    def strike(link: Link, frame: Heard) -> None:
        link.tell("client", Command("connection.close", 0, {"reply_code": code, "reply_text": text}))
        link.parted = True
        link.ends["server"].fin()

        def swallow(later: Heard) -> bool:
            if later.side == "client" and later.name == "connection.close_ok":
                link.fin()
            return True

        link.keep(swallow)

    return strike


def channel_close(code: int = 406, text: str = "PRECONDITION_FAILED - by the proxy") -> Fault:
    """The broker closes the channel of the frame, for the client and for itself. Not within a content."""

    def strike(link: Link, frame: Heard) -> None:
        channel = frame.channel
        closing = Command("channel.close", channel, {"reply_code": code, "reply_text": text})
        link.tell("client", closing)
        link.tell("server", closing)
        waiting = {"client", "server"}

        def swallow(later: Heard) -> bool:
            if later.channel != channel or later.side not in waiting:
                return False
            if later.name == "channel.close_ok":
                waiting.discard(later.side)
            if not waiting:
                link.unkeep(swallow)
            return True

        link.keep(swallow)

    return strike


def cancel(link: Link, frame: Heard) -> None:
    """The broker cancels the consumer that the frame names (basic.consume, its answer, or a delivery)."""
    tag = frame.fields["consumer_tag"]
    link.tell("server", Command("basic.cancel", frame.channel, {"consumer_tag": tag}))

    def turn(later: Heard) -> bool:
        if later.name != "basic.cancel_ok" or later.fields["consumer_tag"] != tag:
            return False
        link.unkeep(turn)
        link.tell("client", Command("basic.cancel", later.channel, {"consumer_tag": tag, "no_wait": True}))
        return True

    link.keep(turn)


def nack(link: Link, frame: Heard) -> None:
    """A confirm (basic.ack of the server's) becomes a refusal."""
    assert frame.name == "basic.ack", f"a confirm is made a refusal, not {frame}"

    def turn(later: Heard) -> bool:
        if later is not frame:
            return False
        link.unkeep(turn)
        link.tell("client", Command("basic.nack", frame.channel, {**frame.fields, "requeue": False}))
        return True

    link.keep(turn)


def block(link: Link, frame: Heard) -> None:
    """As a broker does that is short of memory: says so and reads nothing more. `unblock` ends it."""
    link.tell("client", Command("connection.blocked", 0, {"reason": "low on memory, by the proxy"}))
    link.hold("client")


def unblock(link: Link) -> None:
    link.tell("client", Command("connection.unblocked", 0))
    link.release()
