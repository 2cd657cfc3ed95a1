"""Tests of leveret.client: its parts without sockets, against a scripted server, and against whole brokers."""
