"""What is left out when the suite runs against Leveret, each with its reason. Against RabbitMQ everything runs.

A parameter of a table test is named by its id, since marks on table rows would hide the rows.
"""

from __future__ import annotations

import pytest

_TTL = "message TTL and queue expiry are not built yet"
_DLX = "dead-lettering is not built yet"
_LIMIT = "length limits are not built yet"
_PRIORITY = "priorities are not built yet"

# the words that stand in brackets in a test's name, and why
_REASONS = {
    "x-message-ttl": _TTL,
    "x-expires": _TTL,
    "expiration": _TTL,
    "x-dead-letter": _DLX,
    "x-max-length": _LIMIT,
    "x-max-priority": _PRIORITY,
}


def reason(item: pytest.Item) -> str | None:
    """Why `item` cannot pass on Leveret yet, or None."""
    mark = item.get_closest_marker("later")
    if mark is not None:
        return str(mark.args[0])
    _, _, parameters = item.name.partition("[")
    return reason_for(parameters)


def reason_for(case_id: str) -> str | None:
    return next((why for word, why in _REASONS.items() if word in case_id), None)
