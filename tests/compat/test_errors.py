"""The table of errors, played through pika, through aio-pika's connection and through node's amqplib."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import aiormq
import aiormq.exceptions
import pamqp.commands
import pika
import pika.spec
import pytest

from .broker import Address
from .clients import connection, expect_channel_error, expect_connection_error
from .error_cases import CASES, REFUSED_BY_PYTHON_CLIENTS, Case, Step, any_integer_type, cut, fill

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
each_python_case = pytest.mark.parametrize(
    "case", [case for case in CASES if case.id not in REFUSED_BY_PYTHON_CLIENTS], ids=lambda case: case.id
)


@pytest.fixture
def names(fresh: Callable[..., str]) -> dict[str, str]:
    return {"q": fresh("q"), "x": fresh("x"), "x2": fresh("x")}


@each_python_case
def test_pika_blocking(address: Address, case: Case, names: dict[str, str]) -> None:
    steps = [Step(step.method, fill(step.args, names), step.on_other) for step in case.steps]
    expect = expect_channel_error if case.scope == "channel" else expect_connection_error
    with connection(address) as conn, connection(address) as other:
        channels = {False: conn.channel(), True: other.channel()}
        for step in steps[:-1]:
            play_with_pika(channels[step.on_other], step)
        text = cut(fill(case.text, names | {"int": "signedint"}))  # what pika sends an int as
        with expect(case.code, text):
            play_with_pika(channels[steps[-1].on_other], steps[-1])
            channels[False].basic_qos(prefetch_count=1)  # a round trip, in case the step waits for no answer
        if case.scope == "channel":
            conn.channel().close()  # the connection is as good as before


def play_with_pika(channel: Any, step: Step) -> None:
    args = dict(step.args)
    if step.method == "basic.publish":
        properties = pika.BasicProperties(**args.pop("properties", {}))
        if args.pop("immediate", False):  # pika's channel does not offer it any more
            publish = pika.spec.Basic.Publish(
                exchange=args["exchange"], routing_key=args["routing_key"], immediate=True
            )
            channel._impl._send_method(publish, (properties, args["body"].encode()))
        else:
            channel.basic_publish(properties=properties, **args)
    elif step.method == "basic.consume":
        channel.basic_consume(on_message_callback=lambda *_: None, **args)
    elif step.method == "confirm.select":
        channel.confirm_delivery()
    elif step.method == "channel.flow":
        channel.flow(**args)
    else:
        getattr(channel, step.method.replace(".", "_"))(**args)


@each_python_case
def test_aio_pika(address: Address, case: Case, names: dict[str, str]) -> None:
    asyncio.run(play_with_aiormq(address, case, names))


async def play_with_aiormq(address: Address, case: Case, names: dict[str, str]) -> None:
    """aio-pika's own connection and channel are aiormq's, which has every method."""
    steps = [Step(step.method, fill(step.args, names), step.on_other) for step in case.steps]
    conn, other = await aiormq.connect(address.url), await aiormq.connect(address.url)
    channels = {
        False: await conn.channel(publisher_confirms=False),
        True: await other.channel(publisher_confirms=False),
    }
    try:
        for step in steps[:-1]:
            await aiormq_call(channels[step.on_other], step)
        with pytest.raises(aiormq.exceptions.AMQPError) as caught:
            await aiormq_call(channels[steps[-1].on_other], steps[-1])
            await channels[False].basic_qos(prefetch_count=1)
            await channels[False].basic_qos(prefetch_count=2)
        assert cut(fill(case.text, names)) in any_integer_type(str(caught.value))
    finally:
        for each in (conn, other):
            await each.close()


async def aiormq_call(channel: Any, step: Step) -> None:
    args = dict(step.args)
    if step.method == "basic.publish":
        properties = pamqp.commands.Basic.Properties(**args.pop("properties", {}))
        await channel.basic_publish(args.pop("body").encode(), properties=properties, wait=False, **args)
        return
    if step.method == "basic.consume":
        args["consumer_callback"] = _ignore
    if "auto_ack" in args:
        args["no_ack"] = args.pop("auto_ack")
    name = {"confirm.select": "confirm_delivery", "channel.flow": "flow"}.get(
        step.method, step.method.replace(".", "_")
    )
    await getattr(channel, name)(**args)


async def _ignore(_message: Any) -> None:
    return None
