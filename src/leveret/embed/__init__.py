"""The broker inside a program: on a running loop (`Broker`), or on a thread of its own (`run_in_thread`)."""

from leveret.embed.broker import Broker
from leveret.embed.clock import MovableClock
from leveret.embed.look import Waiting
from leveret.embed.thread import ThreadedBroker, run_in_thread

__all__ = ["Broker", "MovableClock", "ThreadedBroker", "Waiting", "run_in_thread"]
