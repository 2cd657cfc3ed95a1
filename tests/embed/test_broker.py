"""A broker on a loop: in memory and on a directory, its life, its addresses, and what it leaves alone."""

from __future__ import annotations

import asyncio
import gc
import resource
import socket
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import leveret
from leveret.embed import Broker
from leveret.errors import ClientError, ConfigError, DirectoryLocked, StoreError
from leveret.wire import methods, requests

from ..protocol.talker import request
from .dialled import dial, opened, run


def test_messages_go_through_in_memory() -> None:
    async def main() -> None:
        async with Broker() as broker:
            client = await opened(broker)
            await client.declares("q", durable=True)
            await client.publishes("q", b"one", b"two")
            assert [each.body for each in broker.messages("q")] == [b"one", b"two"]
            assert await client.bodies("q") == [b"one", b"two"]
            assert broker.messages("q") == []

    run(main())


def test_in_memory_there_is_no_thread_and_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    async def main() -> None:
        async with Broker() as broker:
            client = await opened(broker)
            await client.declares("q", durable=True)
            await client.publishes("q", b"one")
            assert threading.enumerate() == before
        assert threading.enumerate() == before

    before = threading.enumerate()
    run(main())
    assert list(tmp_path.iterdir()) == []


def settings_of_the_process() -> tuple[object, ...]:
    return (
        gc.isenabled(), gc.get_freeze_count(), gc.get_threshold(), sys.getswitchinterval(),
        resource.getrlimit(resource.RLIMIT_NOFILE),
    )  # fmt: skip


def test_what_belongs_to_the_process_stays_as_it_is(tmp_path: Path) -> None:
    async def main() -> None:
        async with Broker(tmp_path, listen="127.0.0.1:0"):
            assert settings_of_the_process() == before

    before = settings_of_the_process()
    run(main())
    assert settings_of_the_process() == before


def test_two_on_one_loop_know_nothing_of_each_other() -> None:
    async def main() -> None:
        async with Broker() as one, Broker(listen="127.0.0.1:0") as other:
            first, second = await opened(one), await opened(other)
            await first.declares("q")
            await first.publishes("q", b"here")
            await second.declares("q")
            assert await second.bodies("q") == []
            assert await first.bodies("q") == [b"here"]

    run(main())


def test_what_is_durable_comes_back(tmp_path: Path) -> None:
    async def main() -> None:
        async with Broker(tmp_path) as broker:
            client = await opened(broker)
            await client.declares("kept", durable=True)
            await client.declares("gone")
            await client.publishes("kept", b"one", b"two")
        async with Broker(tmp_path) as broker:
            assert broker.queues() == ["kept"]
            assert await (await opened(broker)).bodies("kept") == [b"one", b"two"]

    run(main())


def test_the_same_broker_may_be_started_again(tmp_path: Path) -> None:
    async def main() -> None:
        broker = Broker(tmp_path)
        for _ in range(2):
            async with broker:
                await (await opened(broker)).declares("kept", durable=True)
        assert not broker.running

    run(main())


def test_a_directory_in_use(tmp_path: Path) -> None:
    async def main() -> None:
        async with Broker(tmp_path):
            with pytest.raises(DirectoryLocked, match=f"{tmp_path} is in use"):
                await Broker(tmp_path).start()

    run(main())


def test_a_port_that_is_taken_leaves_nothing_behind(tmp_path: Path) -> None:
    async def main() -> None:
        threads = threading.active_count()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            broker = Broker(tmp_path, listen=f"127.0.0.1:{taken.getsockname()[1]}")
            with pytest.raises(OSError, match="in use"):
                await broker.start()
        assert not broker.running
        async with Broker(tmp_path):  # the directory is free
            pass
        await asyncio.get_running_loop().shutdown_default_executor()
        assert threading.active_count() == threads

    run(main())


def test_closing_says_goodbye_to_those_who_are_connected() -> None:
    async def main() -> None:
        async with Broker() as broker:
            client = await opened(broker)
            client.polite = False
            other = dial(broker)  # which has said nothing yet
            stopping = asyncio.create_task(broker.stop())
            heard = await client.hears("connection.close")
            assert (heard["reply_code"], client.lost.done()) == (320, False)
            client.transport.write(request(methods.connection_close_ok))
            await stopping
            assert await client.lost is None
            assert await other.lost is None
            assert not broker.running
            with pytest.raises(ClientError, match="not running"):
                dial(broker)

    run(main())


def test_closing_does_not_wait_for_who_does_not_answer() -> None:
    async def main() -> None:
        async with Broker() as broker:
            client = await opened(broker)
            client.polite = False
            await broker.stop(0)
            assert await client.lost is None

    run(main())


def test_while_it_closes_nobody_is_let_in() -> None:
    async def main() -> None:
        async with Broker() as broker:
            await opened(broker)
            server = broker.server
            stopping = asyncio.create_task(broker.stop(0))
            server.stopping = True
            with pytest.raises(ConnectionRefusedError):
                server.dial(asyncio.Protocol())
            await stopping

    run(main())


def test_no_more_connections_than_are_allowed() -> None:
    async def main() -> None:
        async with Broker(connections_max=1) as broker:
            await opened(broker)
            with pytest.raises(ConnectionRefusedError, match="all its connections"):
                dial(broker)

    run(main())


def test_a_failing_disk_ends_it(tmp_path: Path) -> None:
    async def main() -> None:
        broker = Broker(tmp_path)
        with pytest.raises(StoreError, match="it broke"):
            async with broker:
                client = await opened(broker)
                broker.server.fail("it broke")
                assert await client.lost is None
                with pytest.raises(ClientError, match="it broke"):
                    dial(broker)

    run(main())


def test_it_listens_when_it_is_asked_to() -> None:
    pika = pytest.importorskip("pika")

    def talk(url: str) -> bytes:
        connection = pika.BlockingConnection(pika.URLParameters(url))
        channel = connection.channel()
        channel.queue_declare("q")
        channel.basic_publish("", "q", b"hello")
        found: bytes = channel.basic_get("q", auto_ack=True)[2]
        connection.close()
        return found

    async def main() -> None:
        async with Broker() as broker:
            with pytest.raises(ClientError, match="does not listen"):
                _ = broker.url
            url = broker.listen()
            assert url == broker.url == f"amqp://guest:guest@127.0.0.1:{broker.address[1]}/%2F"
            assert await asyncio.to_thread(talk, url) == b"hello"
            with pytest.raises(ClientError, match="listens already"):
                broker.listen()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", urlsplit(url).port or 0)).close()

    run(main())


def test_the_url_says_who_may_come_in_and_where() -> None:
    users = {"me@here": {"password": "a/b"}}

    async def main() -> None:
        async with Broker(listen="127.0.0.1:0", users=users, vhosts=["a/b"]) as broker:
            assert broker.url == f"amqp://me%40here:a%2Fb@127.0.0.1:{broker.address[1]}/a%2Fb"
            assert broker.credentials == ("me@here", "a/b")

    run(main())


@pytest.mark.parametrize(
    "settings, says",
    [
        ({"message_size_max": 1}, "did you mean 'message_size_max_bytes'"),
        ({"message_size_max_bytes": 0}, "message_size_max_bytes: 0 is not allowed"),
        ({"memory": True}, "use data=None"),
        ({"amqp_port": 1}, "use listen="),
        ({"listen": "5672"}, "allowed: 'host:port'"),
        ({"listen": "127.0.0.1:70000"}, "allowed: 'host:port'"),
        ({"listen": "0.0.0.0:0"}, "guest/guest is the only way in"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Broker(**settings)  # type: ignore[arg-type]
    assert says in caught.value.text


def test_listening_to_others_takes_more_than_guest() -> None:
    async def main() -> None:
        async with Broker() as broker:
            with pytest.raises(ConfigError, match="guest/guest is the only way in"):
                broker.listen("0.0.0.0:0")
            assert not broker.listening

    run(main())


def test_the_environment_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEVERET_MESSAGE_SIZE_MAX_BYTES", "1")
    assert Broker().config.message_size_max_bytes > 1


def test_another_loop_is_told_so() -> None:
    async def main() -> None:
        async with Broker() as broker:

            async def elsewhere() -> None:
                with pytest.raises(ClientError, match="another event loop"):
                    dial(broker)

            await asyncio.to_thread(asyncio.run, elsewhere())

    run(main())


def test_looking_for_a_queue_that_is_not_there() -> None:
    async def main() -> None:
        async with Broker() as broker:
            await (await opened(broker)).declares("emails")
            with pytest.raises(ClientError, match=r"no queue 'email'; there are: 'emails'"):
                broker.messages("email")

    run(main())


def test_looking_shows_what_is_ready_and_how_it_came() -> None:
    async def main() -> None:
        async with Broker() as broker:
            client = await opened(broker)
            await client.declares("q")
            await client.publishes("q", b"one", b"two", b"three")
            got = await client.asks(requests.basic_get, 1, "q")
            assert [each.body for each in broker.messages("q")] == [b"two", b"three"]
            client.transport.write(request(requests.basic_reject, 1, got["delivery_tag"], True))
            await client.declares("q")
            seen = broker.messages("q")
            assert [(each.body, each.redelivered) for each in seen] == [
                (b"one", True), (b"two", False), (b"three", False),
            ]  # fmt: skip
            assert (seen[0].exchange, seen[0].key, seen[0].queue) == ("", "q", "q")
            assert seen[0].properties.delivery_mode == 2

    run(main())


def test_our_client_connects_without_a_socket() -> None:
    async def main() -> None:
        async with Broker(users={"me": {"password": "secret"}}) as broker, broker.connect() as client:
            await client.declare_queue(leveret.Queue("q"))
            await client.publish_many("q", [b"%d" % n for n in range(1_000)])
            found = [message.body async for message in client.drain("q")]
            assert found == [b"%d" % n for n in range(1_000)]
            assert client.server.product == "Leveret"
        async with Broker(vhosts=["shop"]) as broker:
            with pytest.raises(ClientError, match="no virtual host '/'"):
                broker.connect()

    run(main())
