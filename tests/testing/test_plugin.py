"""The plugin in a project of its own: plain tests, pytest-asyncio, anyio, pytest-xdist, and clients of others.

Each project is run by a pytest in a process of its own that loads the plugins it names, and no others.
"""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

PLAIN = """
import leveret

def test_one(leveret_broker):
    import pika
    connection = pika.BlockingConnection(pika.URLParameters(leveret_broker.url))
    channel = connection.channel()
    channel.queue_declare("emails")
    channel.basic_publish("", "emails", b"hello")
    leveret_broker.assert_published("emails", b"hello")
    connection.close()

def test_two(leveret_broker, leveret_clock):
    assert leveret_broker.queues() == []
    leveret_clock.advance(60)
"""
ASYNC = """
import leveret
import pytest
from leveret.worker import App

{mark}
async def test_publish(leveret_broker):
    async with leveret.connect(leveret_broker) as client:
        await client.declare_queue(leveret.Queue("emails"))
        await client.publish("emails", {{"to": "x"}})
        leveret_broker.assert_published("emails", {{"to": "x"}})
        async for message in client.drain("emails"):
            message.ack()

app = App()

@app.task(queue="sums")
async def add(a: int, b: int) -> int:
    return a + b

{mark}
async def test_app(leveret_app):
    async with leveret_app(app) as worker:
        add.post(1, 2)
        await worker.join()
        assert await add.call(1, 2) == 3
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makeini(
        "[pytest]\nfilterwarnings = error\naddopts = -p leveret.testing.plugin -p no:cacheprovider\n"
    )
    return pytester


def test_plain_tests(project: pytest.Pytester) -> None:
    pytest.importorskip("pika")
    project.makepyfile(PLAIN)
    project.runpytest_subprocess().assert_outcomes(passed=2)


def test_pytest_asyncio(project: pytest.Pytester) -> None:
    pytest.importorskip("pytest_asyncio")
    project.makepyfile(ASYNC.format(mark="@pytest.mark.asyncio"))
    project.runpytest_subprocess(
        "-p", "asyncio", "-o", "asyncio_default_fixture_loop_scope=function"
    ).assert_outcomes(passed=2)


def test_anyio(project: pytest.Pytester) -> None:
    pytest.importorskip("anyio")
    backend = "\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n"
    project.makepyfile(ASYNC.format(mark="@pytest.mark.anyio") + backend)
    project.runpytest_subprocess("-p", "anyio").assert_outcomes(passed=2)


def test_processes_of_pytest_xdist(project: pytest.Pytester) -> None:
    pytest.importorskip("xdist")
    pytest.importorskip("pika")
    project.makepyfile(**{f"test_{n}": PLAIN for n in range(3)})
    project.runpytest_subprocess("-p", "xdist", "-n", "2").assert_outcomes(passed=6)


def test_a_failure_shows_the_messages_and_nothing_of_ours(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import leveret

        def test_it(leveret_broker):
            with leveret.run_in_thread():
                leveret_broker.assert_published("emails", timeout_s=0)
        """
    )
    result = project.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [">*leveret_broker.assert_published*", "E*AssertionError: no message to 'emails' was published"]
    )
    assert "expected = Expected(" not in result.stdout.str()


def test_what_a_handler_raised_fails_the_test_that_did_not_join(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import threading
        from leveret.worker import App

        app = App()
        called = threading.Event()

        @app.task(queue="faults")
        async def fail() -> None:
            called.set()
            raise OSError("no printer")

        def test_it(leveret_app):
            with leveret_app(app) as worker:
                worker.post(fail)
                called.wait(20)
        """
    )
    result = project.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E*OSError: no printer", "E*raised by the handler of queue 'faults'*"])


def test_settings_of_a_project(project: pytest.Pytester) -> None:
    project.makeconftest(
        """
        import pytest

        @pytest.fixture
        def leveret_settings():
            return {"vhosts": ["shop"]}
        """
    )
    project.makepyfile(
        """
        def test_it(leveret_broker):
            assert leveret_broker.url.endswith("/shop")
        """
    )
    project.runpytest_subprocess().assert_outcomes(passed=1)


def test_its_fixtures_are_listed_with_what_they_are_for(project: pytest.Pytester) -> None:
    result = project.runpytest_subprocess("--fixtures", "-p", "leveret.testing.plugin")
    result.stdout.fnmatch_lines_random(
        ["leveret_broker *", "leveret_clock *", "leveret_app *", "*A fresh broker in memory.*"]
    )


def test_a_run_that_needs_no_broker_loads_none(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import sys

        def test_it():
            loaded = [name for name in sys.modules if name.startswith("leveret")]
            assert sorted(loaded) == [
                "leveret", "leveret._version", "leveret.testing", "leveret.testing.plugin",
            ]
        """
    )
    project.runpytest_subprocess().assert_outcomes(passed=1)


def test_no_sockets_are_needed_on_the_loop_of_a_broker(project: pytest.Pytester) -> None:
    """A broker on the test's own loop works where sockets are forbidden."""
    pytest.importorskip("pytest_socket")
    project.makepyfile(
        """
        import asyncio
        import leveret

        async def main():
            async with leveret.Broker() as broker, broker.connect() as client:
                await client.declare_queue(leveret.Queue("q"))
                await client.publish("q", b"hello")
                assert [each.body for each in broker.messages("q")] == [b"hello"]

        def test_it(socket_enabled):
            with asyncio.Runner() as runner:
                runner.get_loop()
                import pytest_socket
                pytest_socket.disable_socket()
                runner.run(main())
        """
    )
    project.runpytest_subprocess("-p", "pytest_socket").assert_outcomes(passed=1)
