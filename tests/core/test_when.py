"""When messages want to be delivered, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from leveret.core.when import FARTHEST_MS, due_ms
from leveret.errors import PreconditionFailed
from leveret.wire.field import Timestamp

NOW = 1_790_000_000_000
SOON = NOW + 90_000
SOON_TEXT = datetime.fromtimestamp(SOON / 1000, UTC)


@pytest.mark.parametrize(
    ("headers", "due"),
    [
        ({}, 0),
        ({"x-deliver-at": SOON}, SOON),
        ({"x-deliver-at": SOON // 1000}, SOON),
        ({"x-deliver-at": Timestamp(SOON // 1000)}, SOON),
        ({"x-deliver-at": Timestamp(SOON)}, SOON),
        ({"x-deliver-at": SOON_TEXT}, SOON),
        ({"x-deliver-at": SOON_TEXT.isoformat()}, SOON),
        ({"x-deliver-at": SOON_TEXT.strftime("%Y-%m-%dT%H:%M:%SZ")}, SOON),
        ({"x-deliver-at": SOON_TEXT.strftime("%Y-%m-%d %H:%M:%S")}, SOON),
        ({"x-deliver-at": SOON_TEXT.astimezone(timezone(timedelta(hours=5))).isoformat()}, SOON),
        ({"x-deliver-at": str(SOON)}, SOON),  # all that a command line can send
        ({"x-deliver-at": str(SOON // 1000)}, SOON),
        ({"x-deliver-at": "20260921T141330Z"}, NOW + 10_000),
        ({"x-deliver-at": "20200101"}, 0),
        ({"x-deliver-at": 0}, 0),
        ({"x-deliver-at": "1969-07-20T20:17:40Z"}, 0),
        ({"x-deliver-at": NOW}, 0),
        ({"x-deliver-after": 0}, 0),
        ({"x-deliver-after": 1}, NOW + 1),
        ({"x-deliver-after": "1500"}, NOW + 1_500),
        ({"x-deliver-after": "250ms"}, NOW + 250),
        ({"x-deliver-after": "10s"}, NOW + 10_000),
        ({"x-deliver-after": "5m"}, NOW + 300_000),
        ({"x-deliver-after": "1h30m"}, NOW + 5_400_000),
        ({"x-deliver-after": "1.5h"}, NOW + 5_400_000),
        ({"x-deliver-after": "2d1s"}, NOW + 172_801_000),
        ({"x-deliver-after": FARTHEST_MS}, NOW + FARTHEST_MS),
        ({"x-delay": 500}, 0),  # of another exchange
    ],
)
def test_when_it_is_due(headers: dict[str, object], due: int) -> None:
    assert due_ms(headers, False, NOW) == due


@pytest.mark.parametrize(
    ("value", "delay"),
    [
        (500, 500),
        (-500, 0),
        (0, 0),
        ("700", 700),
        ("-700", 0),
        (1.9, 1),
        (Decimal("2.9"), 2),
        (True, 0),
        ([], 0),
    ],
)
def test_delaying_exchanges_take_what_the_plugin_takes(value: object, delay: int) -> None:
    assert due_ms({"x-delay": value}, True, NOW) == (NOW + delay if delay else 0)


def test_the_later_of_an_exchange_s_delay_and_a_message_s_own_counts() -> None:
    assert due_ms({"x-delay": 500, "x-deliver-after": 600}, True, NOW) == NOW + 600
    assert due_ms({"x-delay": 700, "x-deliver-after": 600}, True, NOW) == NOW + 700


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"x-deliver-at": True}, "timestamp"),
        ({"x-deliver-at": -1}, "timestamp"),
        ({"x-deliver-at": 1.5}, "timestamp"),
        ({"x-deliver-at": "tomorrow"}, "ISO 8601"),
        ({"x-deliver-at": "9999-12-31T23:59:59-23:59"}, "10 years"),
        ({"x-deliver-at": []}, "timestamp"),
        ({"x-deliver-at": "2030"}, "timestamp"),
        ({"x-deliver-at": "9" * 18}, "10 years"),
        ({"x-deliver-at": NOW + FARTHEST_MS + 1}, "10 years"),
        ({"x-deliver-at": Timestamp((1 << 64) - 1)}, "10 years"),
        ({"x-deliver-after": -1}, "milliseconds"),
        ({"x-deliver-after": False}, "milliseconds"),
        ({"x-deliver-after": 1.0}, "milliseconds"),
        ({"x-deliver-after": ""}, "milliseconds"),
        ({"x-deliver-after": "10 s"}, "milliseconds"),
        ({"x-deliver-after": "s"}, "milliseconds"),
        ({"x-deliver-after": "1w"}, "units"),
        ({"x-deliver-after": "-5"}, "milliseconds"),
        ({"x-deliver-after": "\u0661s"}, "milliseconds"),
        ({"x-deliver-after": "3654d"}, "10 years"),
        ({"x-deliver-after": 1, "x-deliver-at": SOON}, "not both"),
        ({"x-delay": "soon"}, "milliseconds"),
        ({"x-delay": FARTHEST_MS + 1}, "10 years"),
        ({"x-delay": 1e300}, "10 years"),
    ],
)
def test_what_means_nothing_is_refused(headers: dict[str, object], said: str) -> None:
    with pytest.raises(PreconditionFailed, match=said) as error:
        due_ms(headers, True, NOW)
    assert len(error.value.reply_text) <= 255


def test_long_values_are_cut_in_errors() -> None:
    with pytest.raises(PreconditionFailed) as error:
        due_ms({"x-deliver-after": "x" * 1_000}, False, NOW)
    assert len(error.value.reply_text) <= 255
