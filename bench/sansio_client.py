"""The hot half of the client in memory: messages encoded and confirmed, deliveries split and settled.

`python -m bench.sansio_client SCENARIO MESSAGES` takes that many messages through, as sansio.py does for the broker.
The other side is bytes made beforehand. instructions.py counts what this costs.
"""

from __future__ import annotations

import gc
import sys

from librt.strings import BytesWriter

from leveret.build import COMPILED
from leveret.client.engine.inbox import Channel, Inbox
from leveret.client.engine.message import Handling
from leveret.client.engine.outbox import STEM_BYTES, Outbox, Template
from leveret.client.engine.output import Output
from leveret.client.publisher import around_id
from leveret.wire import methods
from leveret.wire.frames import body_frames, content_header
from leveret.wire.properties import Properties, encode_properties

BATCH = 200
PUBLISHES, CONSUMES = 1, 2  # channels
BODY = b"x" * 100
SCENARIOS = ("client-post", "client-publish", "client-consume")


def post(batches: int, owned: bool) -> None:
    """With a message id of the client's own. `owned`: somebody waits for each confirm."""
    outbox = Outbox(PUBLISHES, bytes(STEM_BYTES))
    inbox = Inbox()
    inbox.channels[PUBLISHES] = Channel(PUBLISHES, Output(lambda: None), Handling(), outbox, False)
    before, after = around_id(Properties(delivery_mode=2))
    template = Template(PUBLISHES, methods.route_bytes("", "q"), True, before, after, True)
    owner = object() if owned else None
    tag = written = 0
    for _ in range(batches):
        for _ in range(BATCH):
            outbox.add(template, BODY, owner)
        written += sum([len(part) for part in outbox.take(1 << 20)])
        tag += BATCH
        out = BytesWriter()
        methods.basic_ack(out, PUBLISHES, tag, True)
        inbox.receive(out.getvalue())
        outbox.done = []
    if outbox.confirmed != tag or outbox.waiting() or written < tag * len(BODY):
        raise SystemExit(f"bench.sansio_client: {outbox.confirmed} of {tag} messages were confirmed")


def consume(batches: int) -> None:
    """Each acked in its turn, the acks told once a batch. A channel for each, whose tags begin at 1."""
    properties = encode_properties(Properties(delivery_mode=2))
    route = methods.route_bytes("", "q")
    out = BytesWriter()
    for tag in range(1, BATCH + 1):
        methods.basic_deliver_raw(out, CONSUMES, "c", tag, False, route)
        content_header(out, CONSUMES, len(BODY), properties)
        body_frames(out, CONSUMES, BODY, 0)
    data = out.getvalue()
    acked = size = 0
    for _ in range(batches):
        output, inbox = Output(lambda: None), Inbox()
        channel = Channel(CONSUMES, output, Handling(), None, False)
        inbox.channels[CONSUMES] = channel
        inbox.receive(data)
        for message in channel.take():
            size += len(message.body)
            message.ack()
            acked += 1
        output.take()
    due = batches * BATCH
    if acked != due or size != due * len(BODY):
        raise SystemExit(f"bench.sansio_client: {acked} of {due} messages were delivered")


def run(name: str, messages: int) -> None:
    """Take so many messages through, a whole number of batches. Ends the process when one did not arrive."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)
    if name == "client-consume":
        consume(messages // BATCH)
    else:
        post(messages // BATCH, name == "client-publish")


if __name__ == "__main__":
    if sys.argv[1] == "compiled":
        print("compiled" if COMPILED else "pure")
    else:
        run(sys.argv[1], int(sys.argv[2]))
