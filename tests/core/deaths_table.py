"""Dead letters as RabbitMQ 4.3.5 delivered them to basic.get: the properties, from the flags word on.

RabbitMQ sorts the headers of what it delivers by name; here they stand sorted as well.
"""

from __future__ import annotations

from leveret.core.death import DELIVERY_LIMIT, EXPIRED, MAXLEN, REJECTED
from leveret.wire.properties import Properties

FORGED: dict[str, object] = {
    "x-death": [
        {"count": 5, "reason": "rejected", "queue": "d.a", "time": 1, "exchange": "", "routing-keys": ["d.a"]}
    ],
    "x-first-death-queue": "forged",
    "x-first-death-reason": "forged",
    "x-last-death-queue": "f",
    "x-delivery-count": 9,
}

# queue, reason, dead letter exchange and routing key, second of its (first) death
Burial = tuple[str, int, str, str | None, int]

# what it shows; properties, exchange and key of the publish; burials; what came
DEATHS: list[tuple[str, Properties, str, str, list[Burial], bytes]] = [
    (
        "without headers",
        Properties(),
        "",
        "d.a",
        [("d.a", REJECTED, "", "d.end", 1795575785)],
        b" \x00\x00\x00\x01*"
        b"\x07x-deathA\x00\x00\x00l"
        b"F\x00\x00\x00g\x05countl\x00\x00\x00\x00\x00\x00\x00\x01\x06reasonS\x00\x00\x00\x08rejected\x05queueS\x00\x00\x00\x03d.a"
        b"\x04timeT\x00\x00\x00\x00k\x06O\xe9\x08exchangeS\x00\x00\x00\x00\x0crouting-keysA\x00\x00\x00\x08S\x00\x00\x00\x03d.a"
        b"\x16x-first-death-exchangeS\x00\x00\x00\x00"
        b"\x13x-first-death-queueS\x00\x00\x00\x03d.a"
        b"\x14x-first-death-reasonS\x00\x00\x00\x08rejected"
        b"\x15x-last-death-exchangeS\x00\x00\x00\x00"
        b"\x12x-last-death-queueS\x00\x00\x00\x03d.a"
        b"\x13x-last-death-reasonS\x00\x00\x00\x08rejected",
    ),
    (
        "with headers",
        Properties(content_type="t/x", headers={"zz": 1, "aa": "b"}, delivery_mode=2, message_id="m"),
        "",
        "d.a",
        [("d.a", REJECTED, "", "d.end", 1795575785)],
        b"\xb0\x80\x03t/x\x00\x00\x01;"
        b"\x02aaS\x00\x00\x00\x01b"
        b"\x07x-deathA\x00\x00\x00l"
        b"F\x00\x00\x00g\x05countl\x00\x00\x00\x00\x00\x00\x00\x01\x06reasonS\x00\x00\x00\x08rejected\x05queueS\x00\x00\x00\x03d.a"
        b"\x04timeT\x00\x00\x00\x00k\x06O\xe9\x08exchangeS\x00\x00\x00\x00\x0crouting-keysA\x00\x00\x00\x08S\x00\x00\x00\x03d.a"
        b"\x16x-first-death-exchangeS\x00\x00\x00\x00"
        b"\x13x-first-death-queueS\x00\x00\x00\x03d.a"
        b"\x14x-first-death-reasonS\x00\x00\x00\x08rejected"
        b"\x15x-last-death-exchangeS\x00\x00\x00\x00"
        b"\x12x-last-death-queueS\x00\x00\x00\x03d.a"
        b"\x13x-last-death-reasonS\x00\x00\x00\x08rejected"
        b"\x02zzI\x00\x00\x00\x01"
        b"\x02\x01m",
    ),
    (
        "rejected with an expiration and empty headers",
        Properties(headers={}, expiration="60000"),
        "",
        "d.a",
        [("d.a", REJECTED, "", "d.end", 1795575785)],
        b" \x00\x00\x00\x01H"
        b"\x07x-deathA\x00\x00\x00\x8a"
        b"F\x00\x00\x00\x85\x13original-expirationS\x00\x00\x00\x0560000\x05countl\x00\x00\x00\x00\x00\x00\x00\x01"
        b"\x06reasonS\x00\x00\x00\x08rejected\x05queueS\x00\x00\x00\x03d.a\x04timeT\x00\x00\x00\x00k\x06O\xe9"
        b"\x08exchangeS\x00\x00\x00\x00\x0crouting-keysA\x00\x00\x00\x08S\x00\x00\x00\x03d.a"
        b"\x16x-first-death-exchangeS\x00\x00\x00\x00"
        b"\x13x-first-death-queueS\x00\x00\x00\x03d.a"
        b"\x14x-first-death-reasonS\x00\x00\x00\x08rejected"
        b"\x15x-last-death-exchangeS\x00\x00\x00\x00"
        b"\x12x-last-death-queueS\x00\x00\x00\x03d.a"
        b"\x13x-last-death-reasonS\x00\x00\x00\x08rejected",
    ),
    (
        "expired at once",
        Properties(priority=3, expiration="0", app_id="x"),
        "",
        "d.a",
        [("d.a", EXPIRED, "", "d.end", 1795575785)],
        b"(\x08\x00\x00\x01A"
        b"\x07x-deathA\x00\x00\x00\x85"
        b"F\x00\x00\x00\x80\x13original-expirationS\x00\x00\x00\x010\x05countl\x00\x00\x00\x00\x00\x00\x00\x01"
        b"\x06reasonS\x00\x00\x00\x07expired\x05queueS\x00\x00\x00\x03d.a\x04timeT\x00\x00\x00\x00k\x06O\xe9"
        b"\x08exchangeS\x00\x00\x00\x00\x0crouting-keysA\x00\x00\x00\x08S\x00\x00\x00\x03d.a"
        b"\x16x-first-death-exchangeS\x00\x00\x00\x00"
        b"\x13x-first-death-queueS\x00\x00\x00\x03d.a"
        b"\x14x-first-death-reasonS\x00\x00\x00\x07expired"
        b"\x15x-last-death-exchangeS\x00\x00\x00\x00"
        b"\x12x-last-death-queueS\x00\x00\x00\x03d.a"
        b"\x13x-last-death-reasonS\x00\x00\x00\x07expired"
        b"\x03\x01x",
    ),
    (
        "an expiration is a number",
        Properties(expiration="+007", app_id="x"),
        "",
        "d.a",
        [("d.a", EXPIRED, "", "d.end", 1795575785)],
        b" \x08\x00\x00\x01A"
        b"\x07x-deathA\x00\x00\x00\x85"
        b"F\x00\x00\x00\x80\x13original-expirationS\x00\x00\x00\x017\x05countl\x00\x00\x00\x00\x00\x00\x00\x01"
        b"\x06reasonS\x00\x00\x00\x07expired\x05queueS\x00\x00\x00\x03d.a\x04timeT\x00\x00\x00\x00k\x06O\xe9"
        b"\x08exchangeS\x00\x00\x00\x00\x0crouting-keysA\x00\x00\x00\x08S\x00\x00\x00\x03d.a"
        b"\x16x-first-death-exchangeS\x00\x00\x00\x00"
        b"\x13x-first-death-queueS\x00\x00\x00\x03d.a"
        b"\x14x-first-death-reasonS\x00\x00\x00\x07expired"
        b"\x15x-last-death-exchangeS\x00\x00\x00\x00"
        b"\x12x-last-death-queueS\x00\x00\x00\x03d.a"
        b"\x13x-last-death-reasonS\x00\x00\x00\x07expired"
        b"\x01x",
    ),
    (
        "one too many",
        Properties(),
        "",
        "d.a",
        [("d.a", MAXLEN, "", "d.end", 1795575785)],
        b" \x00\x00\x00\x01$"
        b"\x07x-deathA\x00\x00\x00j"
        b"F\x00\x00\x00e\x05countl\x00\x00\x00\x00\x00\x00\x00\x01\x06reasonS\x00\x00\x00\x06maxlen\x05queueS\x00\x00\x00\x03d.a"
        b"\x04timeT\x00\x00\x00\x00k\x06O\xe9\x08exchangeS\x00\x00\x00\x00\x0crouting-keysA\x00\x00\x00\x08S\x00\x00\x00\x03d.a"
        b"\x16x-first-death-exchangeS\x00\x00\x00\x00"
        b"\x13x-first-death-queueS\x00\x00\x00\x03d.a"
        b"\x14x-first-death-reasonS\x00\x00\x00\x06maxlen"
        b"\x15x-last-death-exchangeS\x00\x00\x00\x00"
        b"\x12x-last-death-queueS\x00\x00\x00\x03d.a"
        b"\x13x-last-death-reasonS\x00\x00\x00\x06maxlen",
    ),
    (
        "expired by the queue",
        Properties(expiration="100000"),
        "",
        "d.a",
        [("d.a", EXPIRED, "", "d.end", 1795575785)],
        b" \x00\x00\x00\x01F"
        b"\x07x-deathA\x00\x00\x00\x8a"
        b"F\x00\x00\x00\x85\x13original-expirationS\x00\x00\x00\x06100000\x05countl\x00\x00\x00\x00\x00\x00\x00\x01"
        b"\x06reasonS\x00\x00\x00\x07expired\x05queueS\x00\x00\x00\x03d.a\x04timeT\x00\x00\x00\x00k\x06O\xe9"
        b"\x08exchangeS\x00\x00\x00\x00\x0crouting-keysA\x00\x00\x00\x08S\x00\x00\x00\x03d.a"
        b"\x16x-first-death-exchangeS\x00\x00\x00\x00"
        b"\x13x-first-death-queueS\x00\x00\x00\x03d.a"
        b"\x14x-first-death-reasonS\x00\x00\x00\x07expired"
        b"\x15x-last-death-exchangeS\x00\x00\x00\x00"
        b"\x12x-last-death-queueS\x00\x00\x00\x03d.a"
        b"\x13x-last-death-reasonS\x00\x00\x00\x07expired",
    ),
    (
        "delivery limit",
        Properties(expiration="77777"),
        "",
        "d.a",
        [("d.a", DELIVERY_LIMIT, "", "d.end", 1795576148)],
        b" \x00\x00\x00\x01Z"
        b"\x07x-deathA\x00\x00\x00\x90"
        b"F\x00\x00\x00\x8b\x13original-expirationS\x00\x00\x00\x0577777\x05countl\x00\x00\x00\x00\x00\x00\x00\x01"
        b"\x06reasonS\x00\x00\x00\x0edelivery_limit\x05queueS\x00\x00\x00\x03d.a\x04timeT\x00\x00\x00\x00k\x06QT"
        b"\x08exchangeS\x00\x00\x00\x00\x0crouting-keysA\x00\x00\x00\x08S\x00\x00\x00\x03d.a"
        b"\x16x-first-death-exchangeS\x00\x00\x00\x00"
        b"\x13x-first-death-queueS\x00\x00\x00\x03d.a"
        b"\x14x-first-death-reasonS\x00\x00\x00\x0edelivery_limit"
        b"\x15x-last-death-exchangeS\x00\x00\x00\x00"
        b"\x12x-last-death-queueS\x00\x00\x00\x03d.a"
        b"\x13x-last-death-reasonS\x00\x00\x00\x0edelivery_limit",
    ),
    (
        "a history of the publisher",
        Properties(headers=FORGED),
        "",
        "d.a",
        [("d.a", REJECTED, "", "d.end", 1795575785)],
        b" \x00\x00\x00\x01@"
        b"\x07x-deathA\x00\x00\x00l"
        b"F\x00\x00\x00g\x05countl\x00\x00\x00\x00\x00\x00\x00\x01\x06reasonS\x00\x00\x00\x08rejected\x05queueS\x00\x00\x00\x03d.a"
        b"\x04timeT\x00\x00\x00\x00k\x06O\xe9\x08exchangeS\x00\x00\x00\x00\x0crouting-keysA\x00\x00\x00\x08S\x00\x00\x00\x03d.a"
        b"\x10x-delivery-countI\x00\x00\x00\t"
        b"\x16x-first-death-exchangeS\x00\x00\x00\x00"
        b"\x13x-first-death-queueS\x00\x00\x00\x03d.a"
        b"\x14x-first-death-reasonS\x00\x00\x00\x08rejected"
        b"\x15x-last-death-exchangeS\x00\x00\x00\x00"
        b"\x12x-last-death-queueS\x00\x00\x00\x03d.a"
        b"\x13x-last-death-reasonS\x00\x00\x00\x08rejected",
    ),
    (
        "no history",
        Properties(headers={"x-death": "text"}),
        "",
        "d.a",
        [("d.a", REJECTED, "", "d.end", 1795575785)],
        b" \x00\x00\x00\x01*"
        b"\x07x-deathA\x00\x00\x00l"
        b"F\x00\x00\x00g\x05countl\x00\x00\x00\x00\x00\x00\x00\x01\x06reasonS\x00\x00\x00\x08rejected\x05queueS\x00\x00\x00\x03d.a"
        b"\x04timeT\x00\x00\x00\x00k\x06O\xe9\x08exchangeS\x00\x00\x00\x00\x0crouting-keysA\x00\x00\x00\x08S\x00\x00\x00\x03d.a"
        b"\x16x-first-death-exchangeS\x00\x00\x00\x00"
        b"\x13x-first-death-queueS\x00\x00\x00\x03d.a"
        b"\x14x-first-death-reasonS\x00\x00\x00\x08rejected"
        b"\x15x-last-death-exchangeS\x00\x00\x00\x00"
        b"\x12x-last-death-queueS\x00\x00\x00\x03d.a"
        b"\x13x-last-death-reasonS\x00\x00\x00\x08rejected",
    ),
    (
        "CC and a key",
        Properties(headers={"CC": ["d.x", "d.y"]}),
        "",
        "d.a",
        [("d.a", REJECTED, "", "d.end", 1795575785)],
        b" \x00\x00\x00\x01R"
        b"\x02CCA\x00\x00\x00\x10S\x00\x00\x00\x03d.xS\x00\x00\x00\x03d.y"
        b"\x07x-deathA\x00\x00\x00|"
        b"F\x00\x00\x00w\x05countl\x00\x00\x00\x00\x00\x00\x00\x01\x06reasonS\x00\x00\x00\x08rejected\x05queueS\x00\x00\x00\x03d.a"
        b"\x04timeT\x00\x00\x00\x00k\x06O\xe9\x08exchangeS\x00\x00\x00\x00\x0crouting-keysA\x00\x00\x00\x18S\x00\x00\x00\x03d.aS\x00\x00\x00\x03d.xS\x00\x00\x00\x03d.y"
        b"\x16x-first-death-exchangeS\x00\x00\x00\x00"
        b"\x13x-first-death-queueS\x00\x00\x00\x03d.a"
        b"\x14x-first-death-reasonS\x00\x00\x00\x08rejected"
        b"\x15x-last-death-exchangeS\x00\x00\x00\x00"
        b"\x12x-last-death-queueS\x00\x00\x00\x03d.a"
        b"\x13x-last-death-reasonS\x00\x00\x00\x08rejected",
    ),
    (
        "CC and no key",
        Properties(headers={"CC": ["k2", 7]}),
        "d.y",
        "k1",
        [("d.a", REJECTED, "d.x", None, 1795575789)],
        b" \x00\x00\x00\x01M"
        b"\x02CCA\x00\x00\x00\x0cS\x00\x00\x00\x02k2I\x00\x00\x00\x07"
        b"\x07x-deathA\x00\x00\x00u"
        b"F\x00\x00\x00p\x05countl\x00\x00\x00\x00\x00\x00\x00\x01\x06reasonS\x00\x00\x00\x08rejected\x05queueS\x00\x00\x00\x03d.a"
        b"\x04timeT\x00\x00\x00\x00k\x06O\xed\x08exchangeS\x00\x00\x00\x03d.y\x0crouting-keysA\x00\x00\x00\x0eS\x00\x00\x00\x02k1S\x00\x00\x00\x02k2"
        b"\x16x-first-death-exchangeS\x00\x00\x00\x03d.y"
        b"\x13x-first-death-queueS\x00\x00\x00\x03d.a"
        b"\x14x-first-death-reasonS\x00\x00\x00\x08rejected"
        b"\x15x-last-death-exchangeS\x00\x00\x00\x03d.y"
        b"\x12x-last-death-queueS\x00\x00\x00\x03d.a"
        b"\x13x-last-death-reasonS\x00\x00\x00\x08rejected",
    ),
    (
        "CC once a key was set",
        Properties(headers={"CC": ["k2"]}),
        "d.y",
        "k1",
        [("d.a", REJECTED, "d.x2", "k9", 1795575789), ("d.b", REJECTED, "d.x", None, 1795575789)],
        b" \x00\x00\x00\x01\xb8"
        b"\x02CCA\x00\x00\x00\x07S\x00\x00\x00\x02k2"
        b"\x07x-deathA\x00\x00\x00\xe4"
        b"F\x00\x00\x00j\x05countl\x00\x00\x00\x00\x00\x00\x00\x01\x06reasonS\x00\x00\x00\x08rejected\x05queueS\x00\x00\x00\x03d.b"
        b"\x04timeT\x00\x00\x00\x00k\x06O\xed\x08exchangeS\x00\x00\x00\x04d.x2\x0crouting-keysA\x00\x00\x00\x07S\x00\x00\x00\x02k9"
        b"F\x00\x00\x00p\x05countl\x00\x00\x00\x00\x00\x00\x00\x01\x06reasonS\x00\x00\x00\x08rejected\x05queueS\x00\x00\x00\x03d.a"
        b"\x04timeT\x00\x00\x00\x00k\x06O\xed\x08exchangeS\x00\x00\x00\x03d.y\x0crouting-keysA\x00\x00\x00\x0eS\x00\x00\x00\x02k1S\x00\x00\x00\x02k2"
        b"\x16x-first-death-exchangeS\x00\x00\x00\x03d.y"
        b"\x13x-first-death-queueS\x00\x00\x00\x03d.a"
        b"\x14x-first-death-reasonS\x00\x00\x00\x08rejected"
        b"\x15x-last-death-exchangeS\x00\x00\x00\x04d.x2"
        b"\x12x-last-death-queueS\x00\x00\x00\x03d.b"
        b"\x13x-last-death-reasonS\x00\x00\x00\x08rejected",
    ),
    (
        "CC twice",
        Properties(headers={"CC": ["k2"]}),
        "d.y",
        "k1",
        [("d.a", REJECTED, "d.x2", None, 1795575792), ("d.b", REJECTED, "d.x", None, 1795575792)],
        b" \x00\x00\x00\x01\xbf"
        b"\x02CCA\x00\x00\x00\x07S\x00\x00\x00\x02k2"
        b"\x07x-deathA\x00\x00\x00\xeb"
        b"F\x00\x00\x00q\x05countl\x00\x00\x00\x00\x00\x00\x00\x01\x06reasonS\x00\x00\x00\x08rejected\x05queueS\x00\x00\x00\x03d.b"
        b"\x04timeT\x00\x00\x00\x00k\x06O\xf0\x08exchangeS\x00\x00\x00\x04d.x2\x0crouting-keysA\x00\x00\x00\x0eS\x00\x00\x00\x02k1S\x00\x00\x00\x02k2"
        b"F\x00\x00\x00p\x05countl\x00\x00\x00\x00\x00\x00\x00\x01\x06reasonS\x00\x00\x00\x08rejected\x05queueS\x00\x00\x00\x03d.a"
        b"\x04timeT\x00\x00\x00\x00k\x06O\xf0\x08exchangeS\x00\x00\x00\x03d.y\x0crouting-keysA\x00\x00\x00\x0eS\x00\x00\x00\x02k1S\x00\x00\x00\x02k2"
        b"\x16x-first-death-exchangeS\x00\x00\x00\x03d.y"
        b"\x13x-first-death-queueS\x00\x00\x00\x03d.a"
        b"\x14x-first-death-reasonS\x00\x00\x00\x08rejected"
        b"\x15x-last-death-exchangeS\x00\x00\x00\x04d.x2"
        b"\x12x-last-death-queueS\x00\x00\x00\x03d.b"
        b"\x13x-last-death-reasonS\x00\x00\x00\x08rejected",
    ),
    (
        "three queues",
        Properties(headers={"CC": ["d.x"], "k": True}, expiration="99999"),
        "",
        "d.a",
        [
            ("d.a", REJECTED, "", "d.b", 1795575785),
            ("d.b", REJECTED, "", "d.c", 1795575785),
            ("d.c", EXPIRED, "", "d.end", 1795575786),
        ],
        b" \x00\x00\x00\x02:"
        b"\x02CCA\x00\x00\x00\x08S\x00\x00\x00\x03d.x"
        b"\x01kt\x01"
        b"\x07x-deathA\x00\x00\x01i"
        b"F\x00\x00\x00f\x05countl\x00\x00\x00\x00\x00\x00\x00\x01\x06reasonS\x00\x00\x00\x07expired\x05queueS\x00\x00\x00\x03d.c"
        b"\x04timeT\x00\x00\x00\x00k\x06O\xea\x08exchangeS\x00\x00\x00\x00\x0crouting-keysA\x00\x00\x00\x08S\x00\x00\x00\x03d.c"
        b"F\x00\x00\x00g\x05countl\x00\x00\x00\x00\x00\x00\x00\x01\x06reasonS\x00\x00\x00\x08rejected\x05queueS\x00\x00\x00\x03d.b"
        b"\x04timeT\x00\x00\x00\x00k\x06O\xe9\x08exchangeS\x00\x00\x00\x00\x0crouting-keysA\x00\x00\x00\x08S\x00\x00\x00\x03d.b"
        b"F\x00\x00\x00\x8d\x13original-expirationS\x00\x00\x00\x0599999\x05countl\x00\x00\x00\x00\x00\x00\x00\x01"
        b"\x06reasonS\x00\x00\x00\x08rejected\x05queueS\x00\x00\x00\x03d.a\x04timeT\x00\x00\x00\x00k\x06O\xe9"
        b"\x08exchangeS\x00\x00\x00\x00\x0crouting-keysA\x00\x00\x00\x10S\x00\x00\x00\x03d.aS\x00\x00\x00\x03d.x"
        b"\x16x-first-death-exchangeS\x00\x00\x00\x00"
        b"\x13x-first-death-queueS\x00\x00\x00\x03d.a"
        b"\x14x-first-death-reasonS\x00\x00\x00\x08rejected"
        b"\x15x-last-death-exchangeS\x00\x00\x00\x00"
        b"\x12x-last-death-queueS\x00\x00\x00\x03d.c"
        b"\x13x-last-death-reasonS\x00\x00\x00\x07expired",
    ),
    (
        "there and back",
        Properties(),
        "",
        "d.a",
        [("d.a", REJECTED, "", "d.b", 1795575787), ("d.b", EXPIRED, "", "d.a", 1795575788)],
        b" \x00\x00\x00\x01\x94"
        b"\x07x-deathA\x00\x00\x00\xd7"
        b"F\x00\x00\x00f\x05countl\x00\x00\x00\x00\x00\x00\x00\x01\x06reasonS\x00\x00\x00\x07expired\x05queueS\x00\x00\x00\x03d.b"
        b"\x04timeT\x00\x00\x00\x00k\x06O\xec\x08exchangeS\x00\x00\x00\x00\x0crouting-keysA\x00\x00\x00\x08S\x00\x00\x00\x03d.b"
        b"F\x00\x00\x00g\x05countl\x00\x00\x00\x00\x00\x00\x00\x01\x06reasonS\x00\x00\x00\x08rejected\x05queueS\x00\x00\x00\x03d.a"
        b"\x04timeT\x00\x00\x00\x00k\x06O\xeb\x08exchangeS\x00\x00\x00\x00\x0crouting-keysA\x00\x00\x00\x08S\x00\x00\x00\x03d.a"
        b"\x16x-first-death-exchangeS\x00\x00\x00\x00"
        b"\x13x-first-death-queueS\x00\x00\x00\x03d.a"
        b"\x14x-first-death-reasonS\x00\x00\x00\x08rejected"
        b"\x15x-last-death-exchangeS\x00\x00\x00\x00"
        b"\x12x-last-death-queueS\x00\x00\x00\x03d.b"
        b"\x13x-last-death-reasonS\x00\x00\x00\x07expired",
    ),
    (
        "there and back again",
        Properties(),
        "",
        "d.a",
        [
            ("d.a", REJECTED, "", "d.b", 1795575787),
            ("d.b", EXPIRED, "", "d.a", 1795575788),
            ("d.a", REJECTED, "", "d.b", 1795575789),
            ("d.b", EXPIRED, "", "d.a", 1795575790),
        ],
        b" \x00\x00\x00\x01\x94"
        b"\x07x-deathA\x00\x00\x00\xd7"
        b"F\x00\x00\x00f\x05countl\x00\x00\x00\x00\x00\x00\x00\x02\x06reasonS\x00\x00\x00\x07expired\x05queueS\x00\x00\x00\x03d.b"
        b"\x04timeT\x00\x00\x00\x00k\x06O\xec\x08exchangeS\x00\x00\x00\x00\x0crouting-keysA\x00\x00\x00\x08S\x00\x00\x00\x03d.b"
        b"F\x00\x00\x00g\x05countl\x00\x00\x00\x00\x00\x00\x00\x02\x06reasonS\x00\x00\x00\x08rejected\x05queueS\x00\x00\x00\x03d.a"
        b"\x04timeT\x00\x00\x00\x00k\x06O\xeb\x08exchangeS\x00\x00\x00\x00\x0crouting-keysA\x00\x00\x00\x08S\x00\x00\x00\x03d.a"
        b"\x16x-first-death-exchangeS\x00\x00\x00\x00"
        b"\x13x-first-death-queueS\x00\x00\x00\x03d.a"
        b"\x14x-first-death-reasonS\x00\x00\x00\x08rejected"
        b"\x15x-last-death-exchangeS\x00\x00\x00\x00"
        b"\x12x-last-death-queueS\x00\x00\x00\x03d.b"
        b"\x13x-last-death-reasonS\x00\x00\x00\x07expired",
    ),
]
