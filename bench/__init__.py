"""Measuring: one line of the performance table a function, each beside RabbitMQ in the same run. See README.md.

Nothing here is imported by the broker. Standard library only, so that any interpreter can run it.
"""
