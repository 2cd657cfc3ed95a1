"""The defaults of requests.py; that every frame is right is checked together with methods.py in test_methods.py."""

from __future__ import annotations

import pytest

from leveret.wire import requests
from leveret.wire.signatures import decode_method

from .frames_table import Write, frame_of


@pytest.mark.parametrize(
    ("write", "set_bits"),
    [
        (lambda o: requests.exchange_declare(o, 1, "x", "direct"), set()),
        (lambda o: requests.exchange_delete(o, 1, "x"), set()),
        (lambda o: requests.queue_declare(o, 1, "q"), set()),
        (lambda o: requests.queue_bind(o, 1, "q", "x", ""), set()),
        (lambda o: requests.queue_unbind(o, 1, "q", "x", ""), set()),
        (lambda o: requests.queue_purge(o, 1, "q"), set()),
        (lambda o: requests.queue_delete(o, 1, "q"), set()),
        (lambda o: requests.basic_consume(o, 1, "q", ""), set()),
        (lambda o: requests.basic_publish_raw(o, 1, b"\0\0"), set()),
        (lambda o: requests.basic_get(o, 1, "q"), set()),
        (lambda o: requests.basic_qos(o, 1, 10), set()),
        (lambda o: requests.confirm_select(o, 1), set()),
        (lambda o: requests.access_request(o, 1, "/"), {"passive", "active", "write", "read"}),
    ],
)
def test_bits_are_off_and_arguments_empty_unless_asked_for(write: Write, set_bits: set[str]) -> None:
    fields = decode_method(frame_of(write)[7:-1]).fields
    assert {name for name, value in fields.items() if value is True} == set_bits
    assert fields.get("arguments", {}) == {}
    assert fields.get("ticket", 0) == 0
