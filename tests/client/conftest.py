"""A broker on a thread, a client of it for threads, and a queue, for the tests that ask for them."""

from tests.client.threaded import broker, queue, running

__all__ = ["broker", "queue", "running"]
