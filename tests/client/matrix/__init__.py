"""The proof that the client reconnects: operations x faults x points, through a proxy that understands AMQP.

Run by `pytest tests/client/matrix`; which brokers it is run against says brokers.py.
"""
