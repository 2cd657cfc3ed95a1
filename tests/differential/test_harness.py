"""The harness itself, without a broker: scenarios are what their seeds say, and no change of a trace goes unseen."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pika", reason="pika is not installed")

from . import known
from .compare import Difference, compare, report
from .fields import PROPERTIES, decode_properties, encode_properties
from .generate import scenario_of, templates
from .line import encode
from .scenario import Op, Scenario, Typed
from .shrink import shrink
from .trace import Normaliser, Seen, Step, Trace, with_prefix

PREFIX = "dt00000001."
OWN_KINDS = ("wait", "connection.drop", "connection.close", "channel.close")


@pytest.mark.parametrize("version", ["3.10.8", "4.3.6"])
@pytest.mark.parametrize("only", sorted(templates()))
def test_a_seed_makes_one_scenario_that_can_be_kept_and_sent(only: str, version: str) -> None:
    for seed in range(20):
        scenario = scenario_of(seed, 20, version, only)
        assert scenario == scenario_of(seed, 20, version, only)
        assert Scenario.from_text(scenario.to_text()) == scenario
        for op in scenario.ops:
            args = with_prefix(op, PREFIX, {}, "r")
            if op.kind in OWN_KINDS:
                continue
            if "of" in args:
                args["delivery_tag"] = args.pop("of") % 7
            args.pop("times", None)
            assert "~" not in str(args)
            assert encode(1, op.kind, args)[0] == 1


def test_every_kind_comes_up() -> None:
    names = {scenario_of(seed, 10, "4.3.6").name.split()[0] for seed in range(300)}
    assert names == set(templates())


def test_properties_come_back_with_their_types() -> None:
    table: dict[str, Any] = {
        "b": Typed("b", -1), "s": Typed("s", 2), "i": 3, "l": 1 << 40, "t": True, "d": 1.5, "v": None,
        "x": Typed("x", b"\x00"), "a": ["z", {"deep": 1}], "D": Typed("D", [2, 314]), "T": Typed("T", 9),
    }  # fmt: skip
    values: dict[str, Any] = {"s": "text", "F": table, "B": 2, "T": 12}
    properties = {name: values[kind] for name, kind in PROPERTIES}
    found = decode_properties(encode_properties(properties))
    headers = found.pop("headers")
    del properties["headers"]
    assert found == properties
    letters = {key: value[0] for key, value in headers.items()}
    assert letters == {key: {"i": "I", "v": "V", "a": "A"}.get(key, key) for key in table}
    assert headers["a"] == ["A", [["S", "z"], ["F", {"deep": ["I", 1]}]]]


def delivery(body: str, tag: int, consumer: str = "c", **properties: Any) -> Seen:
    fields = {
        "consumer_tag": consumer,
        "delivery_tag": tag,
        "redelivered": False,
        "routing_key": f"{PREFIX}q",
    }
    return Seen("basic.deliver", fields | {"exchange": "", "properties": properties, "body": body})


def a_trace() -> Trace:
    """A bit of everything that a trace can hold."""
    death = [
        "A",
        [
            [
                "F",
                {
                    "count": ["l", 1],
                    "time": ["T", 5],
                    "queue": ["S", f"{PREFIX}q"],
                    "reason": ["S", "expired"],
                },
            ]
        ],
    ]
    first, second = Step(Op("basic.publish", {"routing_key": "~q"})), Step(Op("basic.get", {"queue": "~q"}))
    first.note("a1", Seen("confirmed", {"tags": [2, 1]}))
    first.note("a1", Seen("confirmed", {"tags": [3]}))
    first.note("b1", delivery("m1", 1, priority=3, headers={"x-death": death, "k": ["I", 1]}))
    first.note("b1", delivery("m2", 2))
    first.queues = {f"{PREFIX}q": [1, 1]}
    text = f"NOT_FOUND - no queue '{PREFIX}other' in vhost '/'"
    second.note(
        "a1", Seen("channel.close", {"reply_code": 404, "reply_text": text, "class_id": 60, "method_id": 70})
    )
    second.queues = {f"{PREFIX}q": [1, 1]}
    return Normaliser(PREFIX, {}).normalise(Trace([first, second]))


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where in a value the leaves are."""
    if isinstance(value, dict):
        return [each for key in value for each in paths(value[key], (*path, key))]
    if isinstance(value, list):
        return [each for index in range(len(value)) for each in paths(value[index], (*path, index))]
    return [path]


def test_equal_traces_have_no_difference() -> None:
    verdict = compare(a_trace(), a_trace())
    assert (verdict.difference, verdict.known, verdict.steps_compared) == (None, [], 2)


def test_every_change_of_a_leaf_is_found_and_told() -> None:
    changed = 0
    for number, step in enumerate(a_trace().steps):
        for path in paths(step.streams):
            other = a_trace()
            place: Any = other.steps[number].streams
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = "changed"
            difference = compare(a_trace(), other, known.KNOWN).difference
            assert difference is not None and difference.step == number, path
            told = report(Scenario("s", (step.op, step.op)), difference, "left", "right")
            assert "changed" in told
            changed += 1
    assert changed > 30


@pytest.mark.parametrize("which", ["frame", "stream", "step", "order"])
def test_what_is_missing_or_moved_is_found(which: str) -> None:
    other = a_trace()
    streams = other.steps[0].streams
    if which == "frame":
        streams["b1 deliveries to c"].pop()
    elif which == "stream":
        del streams["a1 publisher"]
    elif which == "step":
        other.steps.pop()
    else:
        streams["b1 deliveries to c"].reverse()
    assert compare(a_trace(), other, known.KNOWN).difference is not None
    assert compare(other, a_trace(), known.KNOWN).difference is not None


def test_what_has_to_differ_is_taken_out() -> None:
    def trace(prefix: str, consumer: str, time: int, reply: str) -> Trace:
        step = Step(Op("basic.consume"))
        death = ["A", [["F", {"time": ["T", time], "queue": ["S", f"{prefix}q"]}]]]
        step.note("a1", Seen("basic.consume-ok", {"consumer_tag": consumer}))
        step.note("a1", delivery("m", 1, consumer, reply_to=reply, headers={"x-death": death}))
        step.seen["a1"][1].fields["routing_key"] = f"{prefix}q"
        return Normaliser(prefix, {}).normalise(Trace([step]))

    one = trace("dt1.", "amq.ctag-abc", 1, "amq.rabbitmq.reply-to.abc.def==")
    other = trace("dt2.", "amq.ctag-XYZ_1", 2, "amq.rabbitmq.reply-to.g2dkAB")
    assert compare(one, other).difference is None
    assert "some time" in str(one.steps[0].streams)


def test_confirms_are_one_whatever_their_frames_and_refusals_are_others() -> None:
    def trace(*events: tuple[str, list[int]]) -> Trace:
        step = Step(Op("basic.publish"))
        for name, tags in events:
            step.note("a1", Seen(name, {"tags": list(tags)}))
        return Normaliser(PREFIX, {}).normalise(Trace([step]))

    together = trace(("confirmed", [1, 2]), ("refused", [3]))
    assert (
        compare(together, trace(("confirmed", [2]), ("confirmed", [1]), ("refused", [3]))).difference is None
    )
    assert compare(together, trace(("confirmed", [1, 2, 3]))).difference is not None
    assert compare(together, trace(("confirmed", [1]), ("refused", [2, 3]))).difference is not None


def test_shrinking_keeps_what_is_needed() -> None:
    rng = random.Random(5)
    ops = tuple(Op("wait", {"ms": number}) for number in range(40))
    needed = set(rng.sample(range(40), 3))
    shorter = shrink(Scenario("s", ops), lambda s: needed <= {op.args["ms"] for op in s.ops})
    assert {op.args["ms"] for op in shorter.ops} == needed


def test_known_differences_have_rows_in_the_table_and_say_why() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "compatibility.md").read_text()
    for entry in known.KNOWN:
        assert len(entry.reason) > 20
        assert f"| {entry.id} |" in page, entry.id
    assert len({entry.id for entry in known.KNOWN}) == len(known.KNOWN)


def test_known_differences_are_narrow() -> None:
    """None of them matches a difference of a plain delivery, reply or count, whatever the operations were."""
    ops = tuple(scenario_of(3, 20, "4.3.6", "deaths").ops[:3])
    close = {
        "method": "channel.close",
        "reply_code": 404,
        "reply_text": "NOT_FOUND - no queue",
        "class_id": 1,
    }
    event = {
        "method": "basic.deliver",
        "consumer_tag": "c",
        "redelivered": False,
        "body": "m",
        "properties": {},
    }
    pairs: list[tuple[str, list[Any] | None, list[Any] | None]] = [
        ("a1 deliveries to c", [event], [event | {"body": "n"}]),
        ("a1 deliveries to c", [event], None),
        ("a1 deliveries to c", [event], [event | {"redelivered": True}]),
        ("a1 replies", [close], [close | {"reply_text": "NOT_FOUND - no exchange"}]),
        ("a1 replies", [close], None),
        ("a1 publisher", [{"method": "confirmed", "tags": [1]}], [{"method": "refused", "tags": [1]}]),
        ("queues", [{"~q": [1, 1]}], [{"~q": [0, 1]}]),
        ("queues", [{"~q": [1, 1]}], [{"~q": [1, 0]}]),
        ("queues", [{"~q": [1, 1]}], [{}]),
    ]
    plain = tuple(op for op in ops if op.args.get("arguments", {}).get("x-queue-type") != "quorum")
    for stream, left, right in pairs:
        difference = Difference(0, plain[-1], stream, copy.deepcopy(left), copy.deepcopy(right), plain)
        assert [entry.id for entry in known.KNOWN if entry.matches(difference)] == []
