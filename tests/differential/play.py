"""Plays a scenario against one broker and writes down everything that comes.

After each operation it waits until nothing happens any more: on every channel a round trip that changes nothing
(access.request), then on a connection of its own the counts of every queue (a passive declare, which also passes
through the queue), again and again until neither frames nor counts change. So each frame belongs to one operation.
"""

from __future__ import annotations

import itertools
import os
import time
from typing import Any

from pika import spec

from ..compat.broker import Address
from ..compat.raw import Closed
from .line import Line, Silent, encode
from .scenario import NAME, Op, Scenario
from .trace import Normaliser, Seen, Step, Trace, with_prefix

_SETTLES = ("basic.ack", "basic.nack", "basic.reject")
_SHADOW = 900  # the channel by which a connection looks at its exclusive queues
_MAX_ROUNDS = 150
_run_numbers = itertools.count()


class Unsettled:
    """What a channel was given and has not settled, and what it published and was not told of."""

    def __init__(self) -> None:
        self.tags: dict[int, str] = {}  # and who got it: a consumer, or "" for a get
        self.confirming = False
        self.published = 0
        self.unconfirmed: list[int] = []
        self.without_ack: set[str] = set()
        self.get_holds = True

    def confirm(self, tag: int, multiple: bool) -> list[int]:
        told = [each for each in self.unconfirmed if each == tag or (multiple and (each <= tag or tag == 0))]
        self.unconfirmed = [each for each in self.unconfirmed if each not in told]
        return told or [-tag]

    def settle(self, tag: int, multiple: bool) -> None:
        def settled(each: int) -> bool:
            return each == tag or (multiple and (each <= tag or tag == 0))

        self.tags = {each: whose for each, whose in self.tags.items() if not settled(each)}


class Player:
    def __init__(self, address: Address, scenario: Scenario) -> None:
        self.address = address
        self.scenario = scenario
        self.prefix = f"dt{os.getpid() % 0xFFFF:04x}{next(_run_numbers) % 0xFFFF:04x}."
        self.lines: dict[str, Line] = {}
        self.channels: dict[str, Unsettled] = {}
        self.known_as: dict[str, str] = {}
        self.reply_to = "amq.rabbitmq.reply-to.nobody"
        self.queues: dict[str, str] = {}  # name -> the connection that may look at it ("" is anybody)
        self.ever: set[str] = set()
        self.exchanges: set[str] = set()
        self.slow = "quorum" in scenario.to_text()
        self.watch = Line(address)

    def play(self) -> Trace:
        trace = Trace()
        try:
            ops = self.scenario.ops
            for index, op in enumerate(ops):
                step = Step(op)
                trace.steps.append(step)
                try:
                    self._do(op, step)
                    # what is to expire during a wait must not begin to while the counts are asked for
                    if index + 1 == len(ops) or ops[index + 1].kind != "wait":
                        self._settle_down(step)
                except (Silent, TimeoutError) as error:
                    step.note("-", Seen("nothing comes any more", {"what": repr(error)}))
                    break
        finally:
            self._clean_up()
        return Normaliser(self.prefix, self.known_as).normalise(trace)

    # doing

    def _do(self, op: Op, step: Step) -> None:
        if op.kind == "wait":
            time.sleep(op.args["ms"] / 1000)
            return
        line = self._line(op)
        if op.kind == "connection.drop":
            line.drop()
            self._forget(op.connection)
            return
        if op.kind == "connection.close":
            line.leave()
            self._forget(op.connection)
            return
        if line.ensure(op.number):
            self.channels[op.on] = Unsettled()
        args = with_prefix(op, self.prefix, self.known_as, self.reply_to)
        known_as = args.pop("known_as", None)
        channel = self.channels[op.on]
        if op.kind in _SETTLES and "of" in args:
            args = self._chosen(args, channel)
        if op.kind == "channel.close":
            args = {"reply_code": 200, "reply_text": "bye", "class_id": 0, "method_id": 0}
        if op.kind == "confirm.select":
            channel.confirming = True
        if op.kind == "basic.publish":
            self._publish(line, op, args, channel)
            return
        if op.kind in _SETTLES:
            channel.settle(args["delivery_tag"], args.get("multiple", False))
        if op.kind in ("basic.recover", "basic.recover-async"):
            channel.tags = {}
        if op.kind == "basic.consume" and args.get("no_ack"):
            channel.without_ack.add(args.get("consumer_tag", ""))
        if op.kind == "basic.get":
            channel.get_holds = not args.get("no_ack", False)
        if op.kind == "exchange.declare":
            self.exchanges.add(args["exchange"])
        self._send(line, op.number, op.kind, args)
        if op.kind == "tx.commit":  # no command is allowed while it is under way
            self._read_until_round_trip(op.connection, {op.number}, step, "tx.commit-ok")
        if op.kind == "channel.close":
            self._read_until_round_trip(op.connection, {op.number}, step)
        if op.kind == "queue.declare" and not args.get("passive"):
            self._await_declared(line, op, args, known_as, step)

    def _publish(self, line: Line, op: Op, args: dict[str, Any], channel: Unsettled) -> None:
        times = args.pop("times", 0)
        body = args.get("body", "")
        data = b""
        for number in range(max(times, 1)):
            data += encode(op.number, op.kind, args | {"body": f"{body}{number + 1}" if times else body})
            if channel.confirming:
                channel.published += 1
                channel.unconfirmed.append(channel.published)
        self._send_data(line, data)

    def _send(self, line: Line, number: int, kind: str, args: dict[str, Any]) -> None:
        self._send_data(line, encode(number, kind, args))

    def _send_data(self, line: Line, data: bytes) -> None:
        try:
            line.send(data)
        except OSError:
            line.alive = False

    def _chosen(self, args: dict[str, Any], channel: Unsettled) -> dict[str, Any]:
        """The delivery tag that `of` counts, or one that nobody has. Counted consumer by consumer, since nobody says
        in which order the messages of two queues come to one channel; and for the same reason all or none of them
        when there are several consumers.
        """
        of = args.pop("of")
        tags = sorted(channel.tags, key=lambda tag: (channel.tags[tag], tag))
        if args.get("multiple") and len(set(channel.tags.values())) > 1:
            return args | {"delivery_tag": max(tags)}
        return args | {"delivery_tag": tags[of] if -len(tags) <= of < len(tags) else 9999}

    def _await_declared(
        self, line: Line, op: Op, args: dict[str, Any], known_as: str | None, step: Step
    ) -> None:
        """The queue's name is needed at once: to look at it, and for the operations to come."""
        line.send(encode(op.number, "access.request", {}))
        declared = [
            each
            for each in self._read_until_round_trip(op.connection, {op.number}, step)
            if each.name == "queue.declare-ok"
        ]
        if declared:
            actual = str(declared[0].fields["queue"])
            self.queues[actual] = op.connection if args.get("exclusive") else ""
            self.ever.add(actual)
            if known_as:
                self.known_as[known_as.replace(self.prefix, NAME)] = actual

    def _line(self, op: Op) -> Line:
        if op.connection not in self.lines:
            self.lines[op.connection] = Line(self.address)
        return self.lines[op.connection]

    def _forget(self, connection: str) -> None:
        self.lines.pop(connection, None)
        self.channels = {on: each for on, each in self.channels.items() if on[0] != connection}
        self.queues = {name: owner for name, owner in self.queues.items() if owner != connection}

    # waiting until nothing happens any more

    def _settle_down(self, step: Step) -> None:
        quiet, needed = 0, 3
        pause_s = 0.012 if self.slow else 0.004
        last: Any = None
        for _ in range(_MAX_ROUNDS):
            found = self._round_trips(step)
            counts = self._counts(step)
            if found == 0 and counts == last:
                quiet += 1
                # a delivery may have to wait for the disk; where prefetch is full this only costs time
                waiting = any(ready and consumers for ready, consumers in counts.values())
                if quiet >= (2 * needed if waiting else needed):
                    break
            else:
                quiet = 0
            last = counts
            time.sleep(pause_s)
        else:
            step.note("-", Seen("it never is quiet"))
        step.queues = last

    def _round_trips(self, step: Step) -> int:
        asked: dict[str, set[int]] = {}
        for letter, line in list(self.lines.items()):
            asked[letter] = set(line.open) - {_SHADOW}
            self._send_data(
                line, b"".join(encode(number, "access.request", {}) for number in sorted(asked[letter]))
            )
        return sum(
            len(self._read_until_round_trip(letter, numbers, step)) for letter, numbers in asked.items()
        )

    def _read_until_round_trip(
        self, letter: str, numbers: set[int], step: Step, last: str = "access.request-ok"
    ) -> list[Seen]:
        """What comes on a connection until each of `numbers` has answered with `last` or is closed."""
        line = self.lines[letter]
        waiting = set(numbers)
        found: list[Seen] = []
        try:
            while waiting and line.alive:
                number, seen = line.read_seen()
                if seen.name == last:
                    waiting.discard(number)
                if seen.name == "access.request-ok":
                    continue
                self._account(f"{letter}{number}", seen)
                step.note(f"{letter}{number}", seen)
                found.append(seen)
                if seen.name in ("channel.close", "channel.close-ok"):
                    line.open.discard(number)
                    waiting.discard(number)
        except (Closed, OSError):
            step.note(letter, Seen("the stream ended"))
            line.alive = False
        if not line.alive:
            line.socket.close()
            self._forget(letter)
        return found

    def _account(self, on: str, seen: Seen) -> None:
        channel = self.channels.setdefault(on, Unsettled())
        if (seen.name == "basic.deliver" and seen.fields["consumer_tag"] not in channel.without_ack) or (
            seen.name == "basic.get-ok" and channel.get_holds
        ):
            channel.tags[seen.fields["delivery_tag"]] = seen.fields.get("consumer_tag", "")
        elif seen.name in ("basic.ack", "basic.nack"):
            tags = channel.confirm(seen.fields["delivery_tag"], seen.fields["multiple"])
            seen.name = "confirmed" if seen.name == "basic.ack" else "refused"
            seen.fields = {"tags": tags}
        reply_to = seen.fields.get("properties", {}).get("reply_to", "")
        if reply_to.startswith("amq.rabbitmq.reply-to."):
            self.reply_to = reply_to

    def _counts(self, step: Step) -> dict[str, list[int]]:
        counts: dict[str, list[int]] = {}
        for owner in sorted({"", *self.queues.values()}):
            names = sorted(name for name, its in self.queues.items() if its == owner)
            if not names:
                continue
            line = self.watch if owner == "" else self.lines[owner]
            while names:
                names = self._ask_counts(line, names, counts, step, owner)
        return counts

    def _ask_counts(
        self, line: Line, names: list[str], counts: dict[str, list[int]], step: Step, owner: str
    ) -> list[str]:
        """Ask for the counts of `names`; what is left to ask after one of them was not there."""
        line.ensure(_SHADOW)
        line.send(
            b"".join(encode(_SHADOW, "queue.declare", {"queue": name, "passive": True}) for name in names)
        )
        for index, name in enumerate(names):
            number, seen = line.read_seen()
            while number != _SHADOW:
                self._account(f"{owner}{number}", seen)
                step.note(f"{owner}{number}", seen)
                number, seen = line.read_seen()
            if seen.name == "queue.declare-ok":
                counts[name] = [seen.fields["message_count"], seen.fields["consumer_count"]]
                continue
            self.queues.pop(name)
            return names[index + 1 :]
        return []

    def _clean_up(self) -> None:
        for line in self.lines.values():
            line.leave()
        try:
            for method, names in (("queue.delete", self.ever), ("exchange.delete", self.exchanges)):
                argument = method.split(".")[0]
                for name in sorted(names):
                    if name.startswith("amq.") and argument == "exchange":
                        continue
                    self.watch.ensure(1)
                    self.watch.send(encode(1, method, {argument: name}))
                    self.watch.read_seen()
        except (Closed, OSError, Silent):
            pass
        self.watch.leave()


def play(address: Address, scenario: Scenario) -> Trace:
    return Player(address, scenario).play()


__all__ = ["Player", "play", "spec"]
