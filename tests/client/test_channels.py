"""Channels that end while somebody uses them, step by step against the scripted server: nobody waits for ever."""

from __future__ import annotations

import asyncio

import pytest

from leveret.errors import Refused
from leveret.wire.properties import Properties

from .fake_server import Peer, fake_server
from .matrix.harness import make_client, nothing_left, run


def test_a_channel_that_ends_right_after_its_consumer_grew_begins_again() -> None:
    """The answer to the second basic.consume and the end of the channel come in one packet."""

    async def script(peer: Peer) -> None:
        await peer.handshake()
        consume = await peer.skip_to("basic.consume")
        channel = consume.channel
        for number in range(16):
            peer.send(
                "basic.deliver",
                channel,
                properties=Properties(),
                body=b"%d" % number,
                consumer_tag=consume["consumer_tag"],
                delivery_tag=number + 1,
            )
        peer.server.answers.pop("basic.consume")
        again = await peer.skip_to("basic.consume")
        peer.server.send("basic.consume_ok", channel, consumer_tag=again["consumer_tag"])
        peer.send("channel.close", channel, reply_code=406, reply_text="PRECONDITION_FAILED - no more")
        peer.server.answers["channel.close_ok"] = lambda command: peer.server.answers.update(
            {"basic.consume": peer.server.consuming}
        )
        await peer.skip_to("channel.close_ok")
        third = await peer.skip_to("basic.consume")
        peer.send(
            "basic.deliver",
            third.channel,
            properties=Properties(),
            body=b"after",
            consumer_tag=third["consumer_tag"],
            delivery_tag=1,
        )
        await peer.skip_to("basic.ack")

    async def main() -> None:
        async with nothing_left(), fake_server(script) as listener:
            client = make_client(listener.url)
            async with client, asyncio.timeout(10), client.consume("queue") as messages:
                async for message in messages:
                    if message.body == b"after":
                        message.ack()
                        break

    run(main())


def test_who_drains_is_told_when_the_channel_ends() -> None:
    async def script(peer: Peer) -> None:
        peer.server.answers.pop("basic.get")
        await peer.handshake()
        get = await peer.skip_to("basic.get")
        peer.server.send("basic.get_ok", get.channel, properties=Properties(), body=b"1", delivery_tag=1)
        peer.send(
            "channel.close", get.channel, reply_code=404, reply_text="NOT_FOUND - no queue", class_id=60
        )

    async def main() -> None:
        async with nothing_left(), fake_server(script) as listener:
            client = make_client(listener.url)
            async with client, asyncio.timeout(10):
                with pytest.raises(Refused, match="NOT_FOUND"):
                    async for message in client.drain("queue"):
                        assert message.body == b"1"

    run(main())
