"""What came back, step by step, and how it is put so that two runs can be compared.

`Seen` is one method the broker sent, with its content. `settled` makes of what one channel got in one step the streams
whose order means something: replies among themselves, the deliveries to one consumer among themselves, what the
publisher is told. The order between streams is not promised by anybody.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from .scenario import NAME, Op, replace

_REPLY_TO = re.compile(r"amq\.rabbitmq\.reply-to\.[^ '\"]+")
_CONSUMER = re.compile(r"amq\.ctag-[A-Za-z0-9_-]+")
_QUEUE = re.compile(r"amq\.gen-[A-Za-z0-9_-]+")


@dataclass
class Seen:
    """A method from the broker. `fields` are its arguments and, with content, properties and body."""

    name: str
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass
class Step:
    """An operation and what it brought: on each channel, and how many messages and consumers each queue has."""

    op: Op
    seen: dict[str, list[Seen]] = field(default_factory=dict)
    queues: dict[str, Any] = field(default_factory=dict)
    streams: dict[str, list[Any]] = field(default_factory=dict)

    def note(self, channel: str, seen: Seen) -> None:
        self.seen.setdefault(channel, []).append(seen)


@dataclass
class Trace:
    steps: list[Step] = field(default_factory=list)


class Normaliser:
    """Takes out of a trace what must differ between two runs: prefixes, made-up names, times."""

    def __init__(self, prefix: str, known_as: dict[str, str]) -> None:
        self._prefix = prefix
        self._names = {actual: name for name, actual in known_as.items()}
        self._made: dict[str, str] = {}

    def normalise(self, trace: Trace) -> Trace:
        for step in trace.steps:
            for channel in sorted(step.seen):
                for stream, events in streams(step.seen[channel]).items():
                    step.streams[f"{channel} {self._plain(stream)}"] = [self._value(each) for each in events]
            if step.queues:
                step.streams["queues"] = [{self._plain(key): step.queues[key] for key in sorted(step.queues)}]
        return trace

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._plain(value)
        if isinstance(value, dict):
            found = {self._plain(key): self._value(each) for key, each in value.items()}
            if "x-death" in found:
                found["x-death"] = _without_times(found["x-death"])
            return found
        if isinstance(value, list):
            return [self._value(each) for each in value]
        return value

    def _plain(self, text: str) -> str:
        text = text.replace(self._prefix, NAME)
        for actual, name in self._names.items():
            text = text.replace(actual, name)
        text = _REPLY_TO.sub("amq.rabbitmq.reply-to.(some)", text)
        text = _CONSUMER.sub(lambda found: self._made_name("amq.ctag", found[0]), text)
        return _QUEUE.sub(lambda found: self._made_name("amq.gen", found[0]), text)

    def _made_name(self, kind: str, actual: str) -> str:
        """The n-th name of its kind that was met, by its number."""
        if actual not in self._made:
            count = sum(1 for name in self._made.values() if name.startswith(kind))
            self._made[actual] = f"{kind}-({count + 1})"
        return self._made[actual]


def _without_times(value: Any) -> Any:
    """The deaths of an x-death header, with the type of their time but not the time."""
    if not (isinstance(value, list) and len(value) == 2 and value[0] == "A"):
        return value
    deaths = []
    for each in value[1]:
        if each[0] == "F" and "time" in each[1]:
            each = ["F", each[1] | {"time": [each[1]["time"][0], "(some time)"]}]
        deaths.append(each)
    return ["A", deaths]


def streams(seen: list[Seen]) -> dict[str, list[Any]]:
    """The events of a channel in one step by stream, each as a dict."""
    found: dict[str, list[Any]] = {}
    for each in seen:
        event = {"method": each.name} | each.fields
        if each.name == "basic.deliver":
            found.setdefault(f"deliveries to {each.fields['consumer_tag']}", []).append(event)
        elif each.name in ("confirmed", "refused", "basic.return"):
            _publisher(found.setdefault("publisher", []), event)
        elif each.name == "basic.cancel":
            found.setdefault("cancelled consumers", []).append(event)
        else:
            found.setdefault("replies", []).append(event)
    consumers = [key for key in found if key.startswith("deliveries to ")]
    if len(consumers) > 1:  # they share the channel's delivery tags, and nobody says which is first
        for key in consumers:
            for event in found[key]:
                event["delivery_tag"] = "(shared)"
    for event in found.get("cancelled consumers", []):
        event.pop("nowait", None)
    found.get("cancelled consumers", []).sort(key=str)
    return found


def _publisher(events: list[Any], event: dict[str, Any]) -> None:
    """Returns in their order, and what became of each publish: in which order and frames it is told is no promise."""
    if event["method"] == "basic.return":
        events.insert(len(events) - (events[-1:] != [] and events[-1]["method"] == "outcomes"), event)
        return
    if not events or events[-1]["method"] != "outcomes":
        events.append({"method": "outcomes", "confirmed": [], "refused": []})
    outcome = events[-1][event["method"]]
    outcome.extend(event["tags"])
    outcome.sort()


def with_prefix(op: Op, prefix: str, known_as: dict[str, str], reply_to: str) -> dict[str, Any]:
    """The arguments of `op` with real names."""
    args: dict[str, Any] = op.args
    for name, actual in known_as.items():
        args = replace(args, name, actual)
    args = replace(args, "$reply-to", reply_to)
    return replace(args, NAME, prefix)  # type: ignore[no-any-return]
