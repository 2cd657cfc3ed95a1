"""Leveret over STOMP, as others' clients see it, and beside AMQP 0-9-1 on the same queues."""
