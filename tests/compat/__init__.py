"""What clients of AMQP 0-9-1 rely on, checked through real clients against any broker (see conftest.py)."""
