"""Which published messages a test means, and what to say when there is none like that.

It knows messages as `Published` has them; it knows no broker and waits for nothing.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from leveret.embed.look import Waiting
from leveret.testing.tap import Published

SHOWN: Final = 10  # messages in a failure's text
SHOWN_BYTES: Final = 200  # of a body
PROPERTIES: Final = (
    "content_type", "content_encoding", "delivery_mode", "priority", "correlation_id", "reply_to", "expiration",
    "message_id", "timestamp", "type", "user_id", "app_id",
)  # fmt: skip


class Anything:
    """Stands for a body that does not matter."""

    def __repr__(self) -> str:
        return "ANY"


ANY: Final = Anything()


def place(to: Any) -> tuple[str | None, str]:
    """Exchange (None: any) and queue or key of what a test names: a text, or what leveret.topic and exchange make."""
    if isinstance(to, str):
        return None, to
    exchange, key = getattr(to, "exchange", None), getattr(to, "key", None)
    if isinstance(exchange, str) and isinstance(key, str):
        return exchange, key
    name = getattr(to, "name", None)
    if isinstance(name, str):  # a Queue
        return None, name
    raise TypeError(f"{to!r} is no place: give the name of a queue, a topic, or leveret.exchange(name, key)")


def went_to(message: Published, to: Any) -> bool:
    exchange, name = place(to)
    if exchange is not None:
        return message.exchange == exchange and (not name or matches_topic(name, message.key))
    if name in message.queues or name == message.exchange != "":
        return True
    return message.exchange != "" and matches_topic(name, message.key)


def matches_topic(pattern: str, key: str) -> bool:
    """`*` is one word, `#` any number of them."""
    words = key.split(".") if key else []
    ends = {0}  # how many words the pattern's parts so far may have taken
    for part in pattern.split(".") if pattern else []:
        if part == "#":
            ends = set(range(min(ends, default=len(words) + 1), len(words) + 1))
        else:
            ends = {end + 1 for end in ends if end < len(words) and part in ("*", words[end])}
    return len(words) in ends


class Expected:
    """What a message has to be like. Raises TypeError for a property that there is not."""

    def __init__(self, body: Any, headers: Mapping[str, Any] | None, properties: Mapping[str, Any]) -> None:
        for name in properties:
            if name not in PROPERTIES:
                close = difflib.get_close_matches(name, PROPERTIES, n=1)
                hint = f"; did you mean '{close[0]}'?" if close else f"; there are {', '.join(PROPERTIES)}"
                raise TypeError(f"'{name}' is no property of a message{hint}")
        self.body = body
        self.headers = headers or {}
        self.properties = properties

    def differs(self, message: Waiting) -> str:
        """How a message is not as it should be; empty if it is."""
        found = self._body_differs(message)
        for name, value in self.headers.items():
            if name not in message.headers:
                found.append(f"it has no header '{name}'")
            elif message.headers[name] != value:
                found.append(f"header '{name}' is {message.headers[name]!r}, not {value!r}")
        for name, value in self.properties.items():
            got = getattr(message.properties, name)
            if got != value:
                found.append(f"{name} is {got!r}, not {value!r}")
        return "; ".join(found)

    def _body_differs(self, message: Waiting) -> list[str]:
        wanted = self.body
        if wanted is ANY:
            return []
        if isinstance(wanted, (bytes, bytearray, memoryview, str)):
            raw = wanted.encode() if isinstance(wanted, str) else bytes(wanted)
            return [] if message.body == raw else [f"the body is {shown(message.body)}, not {shown(raw)}"]
        if callable(wanted):
            test: Callable[[Any], object] = wanted
            return [] if test(message) else [f"the body {shown(message.body)} does not pass the test given"]
        try:
            value = json.loads(message.body)
        except ValueError:
            return [f"the body {shown(message.body)} is not JSON"]
        return [] if value == wanted else [f"the body is {value!r}, not {wanted!r}"]

    def __str__(self) -> str:
        said = [] if self.body is ANY else [f"body {shown(self.body)}"]
        said += [f"header {name}={value!r}" for name, value in self.headers.items()]
        said += [f"{name}={value!r}" for name, value in self.properties.items()]
        return f" with {', '.join(said)}" if said else ""


def shown(body: Any) -> str:
    text = repr(body)
    return text if len(text) <= SHOWN_BYTES else f"{text[:SHOWN_BYTES]}... ({len(body)} bytes)"


def told(message: Published) -> str:
    """A message in one line."""
    where = (
        f"exchange '{message.exchange}', key '{message.key}'"
        if message.exchange
        else f"queue '{message.key}'"
    )
    into = ", ".join(message.queues) or "no queue: it went nowhere"
    headers = f", headers {message.headers!r}" if message.headers else ""
    return f"to {where} (routed to {into}){headers}: {shown(message.body)}"


def missing(
    to: Any,
    expected: Expected,
    found: int,
    wanted: int | None,
    all_: Sequence[Published],
    queues: Iterable[str],
) -> str:
    """The text of a failed `assert_published`."""
    named = f"'{place(to)[1]}'" if isinstance(to, str) else str(to)
    many = f"{found} messages, not {wanted}," if wanted is not None else "no message"
    lines = [f"{many} to {named}{expected} {'was' if wanted is None else 'were'} published"]
    there = [message for message in all_ if went_to(message, to)]
    if there:
        lines.append(f"published to {named} ({len(there)}):")
        for number, message in enumerate(there[:SHOWN], 1):
            differs = expected.differs(message)
            lines.append(f"  {number}. {differs or 'this one matches'}: {told(message)}")
    else:
        known = {key for message in all_ for key in (message.key, message.exchange, *message.queues)} | set(
            queues
        )
        close = difflib.get_close_matches(place(to)[1], sorted(known), n=1)
        if close:
            lines.append(f"did you mean '{close[0]}'?")
        lines.append(f"published elsewhere ({len(all_)}):" if all_ else "nothing at all was published")
        lines += [f"  {number}. {told(message)}" for number, message in enumerate(all_[:SHOWN], 1)]
    rest = len(there or all_) - SHOWN
    if rest > 0:
        lines.append(f"  and {rest} more")
    return "\n".join(lines)
