"""Leveret's client: producers and consumers of AMQP 0-9-1, for asyncio and for synchronous code."""
