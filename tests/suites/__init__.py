"""Functional suites that others wrote for their clients, run against Leveret (see run.py)."""
