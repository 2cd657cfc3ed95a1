"""What a scenario is: operations in order, each on a channel. Values only; knows nothing of sockets.

Names of queues and exchanges start with "~" wherever they stand (also within tables), and the player puts a prefix
of its run in its place, so that scenarios do not meet. A channel is named by its connection's letter and its
number: "a1". A scenario is text and back, so that one that was found can be kept.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

NAME = "~"


@dataclass(frozen=True)
class Typed:
    """A value of a field table with the letter of its type, where Python's own type would not tell it."""

    letter: str
    value: Any


@dataclass(frozen=True)
class Op:
    """`kind` is a method of AMQP 0-9-1 with `args` under pika's names, or one of the player's own kinds:

    wait (ms)              let time pass
    connection.drop        close the socket without a word
    settle methods         `of` says which of the channel's unsettled deliveries, counted from the oldest;
                           `delivery_tag` says a number
    basic.publish          `body`, `properties`; `times` to publish it so often with numbered bodies
    queue.declare          `known_as`: the name that later operations use for a name the server made
    """

    kind: str
    args: dict[str, Any] = field(default_factory=dict)
    on: str = "a1"

    @property
    def connection(self) -> str:
        return self.on[0]

    @property
    def number(self) -> int:
        return int(self.on[1:])

    def __str__(self) -> str:
        args = ", ".join(f"{key}={_show(value)}" for key, value in self.args.items())
        return f"{self.on} {self.kind}({args})"


@dataclass(frozen=True)
class Scenario:
    name: str
    ops: tuple[Op, ...]

    def with_ops(self, ops: tuple[Op, ...]) -> Scenario:
        return Scenario(self.name, ops)

    def to_text(self) -> str:
        """One operation a line, as JSON."""
        lines = [json.dumps([op.on, op.kind, op.args], default=_plain) for op in self.ops]
        return "\n".join([f"# {self.name}", *lines]) + "\n"

    @staticmethod
    def from_text(text: str) -> Scenario:
        lines = [line for line in text.splitlines() if line.strip()]
        name = lines[0].lstrip("# ") if lines and lines[0].startswith("#") else "scenario"
        ops = [json.loads(line, object_hook=_typed) for line in lines if not line.startswith("#")]
        return Scenario(name, tuple(Op(kind, args, on) for on, kind, args in ops))


def _plain(value: object) -> object:
    if isinstance(value, Typed):
        return {"type": value.letter, "value": value.value, "typed": True}
    raise TypeError(type(value))


def _typed(found: dict[str, Any]) -> object:
    return Typed(found["type"], found["value"]) if found.get("typed") is True else found


def _show(value: object) -> str:
    if isinstance(value, Typed):
        return f"{value.letter}:{value.value!r}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_show(each)}" for key, each in value.items()) + "}"
    return repr(value)


def replace(value: Any, old: str, new: str) -> Any:
    """`value` with `old` replaced in every string within it, keys too."""
    if isinstance(value, str):
        return value.replace(old, new)
    if isinstance(value, Typed):
        return Typed(value.letter, replace(value.value, old, new))
    if isinstance(value, dict):
        return {replace(key, old, new): replace(each, old, new) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(replace(each, old, new) for each in value)
    return value
