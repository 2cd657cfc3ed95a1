"""Every method: the call that writes its frame, and the fields that must then be in it, in the order of the wire."""

from __future__ import annotations

from collections.abc import Callable

from librt.strings import BytesWriter

from leveret.wire import methods as m
from leveret.wire import requests as r
from leveret.wire.table import encode_table

Write = Callable[[BytesWriter], None]

CHANNEL = 0x8001  # above what a signed field holds
TAG = (1 << 63) - 2
ROUTE = m.route_bytes("x", "k.é")
TABLE: dict[str, object] = {"k": "v"}
T = encode_table(TABLE)
C = CHANNEL

CASES: list[tuple[int, int, dict[str, object], Write]] = [
    (
        m.CONNECTION_START,
        0,
        {"major": 0, "minor": 9, "properties": TABLE, "mechanisms": b"PLAIN AMQPLAIN", "locales": b"en_US"},
        lambda o: m.connection_start(o, 0, 9, T, b"PLAIN AMQPLAIN", b"en_US"),
    ),
    (
        m.CONNECTION_START_OK,
        0,
        {"properties": TABLE, "mechanism": "PLAIN", "response": b"\0a\0b", "locale": "en_US"},
        lambda o: r.connection_start_ok(o, T, "PLAIN", b"\0a\0b", "en_US"),
    ),
    (m.CONNECTION_SECURE, 0, {"challenge": b"c"}, lambda o: m.connection_secure(o, b"c")),
    (m.CONNECTION_SECURE_OK, 0, {"response": b"r"}, lambda o: r.connection_secure_ok(o, b"r")),
    (
        m.CONNECTION_TUNE,
        0,
        {"channel_max": 65535, "frame_max": 0xFFFFFFFF, "heartbeat": 60},
        lambda o: m.connection_tune(o, 65535, 0xFFFFFFFF, 60),
    ),
    (
        m.CONNECTION_TUNE_OK,
        0,
        {"channel_max": 2047, "frame_max": 131072, "heartbeat": 0},
        lambda o: r.connection_tune_ok(o, 2047, 131072, 0),
    ),
    (
        m.CONNECTION_OPEN,
        0,
        {"virtual_host": "/é", "capabilities": "", "insist": False},
        lambda o: r.connection_open(o, "/é"),
    ),
    (m.CONNECTION_OPEN_OK, 0, {"known_hosts": ""}, lambda o: m.connection_open_ok(o)),
    (
        m.CONNECTION_CLOSE,
        0,
        {"code": 320, "text": "bye", "class": 60, "method": 40},
        lambda o: m.connection_close(o, 320, "bye", 60, 40),
    ),
    (m.CONNECTION_CLOSE_OK, 0, {}, lambda o: m.connection_close_ok(o)),
    (m.CONNECTION_BLOCKED, 0, {"reason": "low on disk"}, lambda o: m.connection_blocked(o, "low on disk")),
    (m.CONNECTION_UNBLOCKED, 0, {}, lambda o: m.connection_unblocked(o)),
    (
        m.CONNECTION_UPDATE_SECRET,
        0,
        {"secret": b"s", "reason": "why"},
        lambda o: r.connection_update_secret(o, b"s", "why"),
    ),
    (m.CONNECTION_UPDATE_SECRET_OK, 0, {}, lambda o: m.connection_update_secret_ok(o)),
    (m.CHANNEL_OPEN, C, {"out_of_band": ""}, lambda o: r.channel_open(o, C)),
    (m.CHANNEL_OPEN_OK, C, {"channel_id": b""}, lambda o: m.channel_open_ok(o, C)),
    (m.CHANNEL_FLOW, C, {"active": True}, lambda o: m.channel_flow(o, C, True)),
    (m.CHANNEL_FLOW_OK, C, {"active": False}, lambda o: m.channel_flow_ok(o, C, False)),
    (
        m.CHANNEL_CLOSE,
        C,
        {"code": 404, "text": "NOT_FOUND - no queue 'x' in vhost '/'", "class": 50, "method": 10},
        lambda o: m.channel_close(o, C, 404, "NOT_FOUND - no queue 'x' in vhost '/'", 50, 10),
    ),
    (m.CHANNEL_CLOSE_OK, C, {}, lambda o: m.channel_close_ok(o, C)),
    (
        m.ACCESS_REQUEST,
        C,
        {"realm": "/data", "exclusive": True, "passive": False, "active": True, "write": False, "read": True},
        lambda o: r.access_request(o, C, "/data", True, False, True, False, True),
    ),
    (m.ACCESS_REQUEST_OK, C, {"ticket": 1}, lambda o: m.access_request_ok(o, C, 1)),
    (
        m.EXCHANGE_DECLARE,
        C,
        {
            "ticket": 0,
            "exchange": "x",
            "type": "topic",
            "passive": False,
            "durable": True,
            "auto_delete": False,
            "internal": True,
            "no_wait": True,
            "arguments": TABLE,
        },
        lambda o: r.exchange_declare(o, C, "x", "topic", False, True, False, True, True, T),
    ),
    (m.EXCHANGE_DECLARE_OK, C, {}, lambda o: m.exchange_declare_ok(o, C)),
    (
        m.EXCHANGE_DELETE,
        C,
        {"ticket": 0, "exchange": "x", "if_unused": False, "no_wait": True},
        lambda o: r.exchange_delete(o, C, "x", False, True),
    ),
    (m.EXCHANGE_DELETE_OK, C, {}, lambda o: m.exchange_delete_ok(o, C)),
    (
        m.EXCHANGE_BIND,
        C,
        {"ticket": 0, "to": "d", "from": "s", "key": "k.#", "no_wait": True, "arguments": TABLE},
        lambda o: r.exchange_bind(o, C, "d", "s", "k.#", True, T),
    ),
    (m.EXCHANGE_BIND_OK, C, {}, lambda o: m.exchange_bind_ok(o, C)),
    (
        m.EXCHANGE_UNBIND,
        C,
        {"ticket": 0, "to": "d", "from": "s", "key": "k.#", "no_wait": False, "arguments": {}},
        lambda o: r.exchange_unbind(o, C, "d", "s", "k.#"),
    ),
    (m.EXCHANGE_UNBIND_OK, C, {}, lambda o: m.exchange_unbind_ok(o, C)),
    (
        m.QUEUE_DECLARE,
        C,
        {
            "ticket": 0,
            "queue": "q",
            "passive": False,
            "durable": True,
            "exclusive": False,
            "auto_delete": True,
            "no_wait": False,
            "arguments": TABLE,
        },
        lambda o: r.queue_declare(o, C, "q", durable=True, auto_delete=True, arguments=T),
    ),
    (
        m.QUEUE_DECLARE_OK,
        C,
        {"queue": "q", "messages": 0x80000000, "consumers": 2},
        lambda o: m.queue_declare_ok(o, C, "q", 0x80000000, 2),
    ),
    (
        m.QUEUE_BIND,
        C,
        {"ticket": 0, "queue": "q", "exchange": "x", "key": "k", "no_wait": True, "arguments": TABLE},
        lambda o: r.queue_bind(o, C, "q", "x", "k", True, T),
    ),
    (m.QUEUE_BIND_OK, C, {}, lambda o: m.queue_bind_ok(o, C)),
    (
        m.QUEUE_PURGE,
        C,
        {"ticket": 0, "queue": "q", "no_wait": True},
        lambda o: r.queue_purge(o, C, "q", True),
    ),
    (m.QUEUE_PURGE_OK, C, {"messages": 0xFFFFFFFF}, lambda o: m.queue_purge_ok(o, C, 0xFFFFFFFF)),
    (
        m.QUEUE_DELETE,
        C,
        {"ticket": 0, "queue": "q", "if_unused": True, "if_empty": False, "no_wait": True},
        lambda o: r.queue_delete(o, C, "q", True, False, True),
    ),
    (m.QUEUE_DELETE_OK, C, {"messages": 7}, lambda o: m.queue_delete_ok(o, C, 7)),
    (
        m.QUEUE_UNBIND,
        C,
        {"ticket": 0, "queue": "q", "exchange": "x", "key": "k", "arguments": TABLE},
        lambda o: r.queue_unbind(o, C, "q", "x", "k", T),
    ),
    (m.QUEUE_UNBIND_OK, C, {}, lambda o: m.queue_unbind_ok(o, C)),
    (
        m.BASIC_QOS,
        C,
        {"size": 5, "count": 65535, "global": True},
        lambda o: r.basic_qos(o, C, 65535, True, 5),
    ),
    (m.BASIC_QOS_OK, C, {}, lambda o: m.basic_qos_ok(o, C)),
    (
        m.BASIC_CONSUME,
        C,
        {
            "ticket": 0,
            "queue": "q",
            "tag": "t",
            "no_local": True,
            "no_ack": False,
            "exclusive": False,
            "no_wait": True,
            "arguments": TABLE,
        },
        lambda o: r.basic_consume(o, C, "q", "t", True, False, False, True, T),
    ),
    (m.BASIC_CONSUME_OK, C, {"tag": "t"}, lambda o: m.basic_consume_ok(o, C, "t")),
    (m.BASIC_CANCEL, C, {"tag": "t", "no_wait": True}, lambda o: m.basic_cancel(o, C, "t", True)),
    (m.BASIC_CANCEL_OK, C, {"tag": "t"}, lambda o: m.basic_cancel_ok(o, C, "t")),
    (
        m.BASIC_PUBLISH,
        C,
        {"ticket": 0, "exchange": "x", "key": "k.é", "mandatory": True, "immediate": False},
        lambda o: r.basic_publish_raw(o, C, ROUTE, True),
    ),
    (
        m.BASIC_RETURN,
        C,
        {"code": 312, "text": "NO_ROUTE", "exchange": "x", "key": "k.é"},
        lambda o: m.basic_return_raw(o, C, 312, "NO_ROUTE", ROUTE),
    ),
    (
        m.BASIC_DELIVER,
        C,
        {"tag": "t", "delivery_tag": TAG, "redelivered": True, "exchange": "x", "key": "k.é"},
        lambda o: m.basic_deliver_raw(o, C, "t", TAG, True, ROUTE),
    ),
    (
        m.BASIC_GET,
        C,
        {"ticket": 0, "queue": "q", "no_ack": True},
        lambda o: r.basic_get(o, C, "q", True),
    ),
    (
        m.BASIC_GET_OK,
        C,
        {"delivery_tag": TAG, "redelivered": False, "exchange": "x", "key": "k.é", "messages": 5},
        lambda o: m.basic_get_ok_raw(o, C, TAG, False, ROUTE, 5),
    ),
    (m.BASIC_GET_EMPTY, C, {"cluster_id": ""}, lambda o: m.basic_get_empty(o, C)),
    (m.BASIC_ACK, C, {"delivery_tag": TAG, "multiple": True}, lambda o: m.basic_ack(o, C, TAG, True)),
    (m.BASIC_REJECT, C, {"delivery_tag": 1, "requeue": False}, lambda o: r.basic_reject(o, C, 1, False)),
    (m.BASIC_RECOVER_ASYNC, C, {"requeue": True}, lambda o: r.basic_recover_async(o, C, True)),
    (m.BASIC_RECOVER, C, {"requeue": False}, lambda o: r.basic_recover(o, C, False)),
    (m.BASIC_RECOVER_OK, C, {}, lambda o: m.basic_recover_ok(o, C)),
    (
        m.BASIC_NACK,
        C,
        {"delivery_tag": 9, "multiple": False, "requeue": True},
        lambda o: m.basic_nack(o, C, 9, False, True),
    ),
    (m.CONFIRM_SELECT, C, {"no_wait": True}, lambda o: r.confirm_select(o, C, True)),
    (m.CONFIRM_SELECT_OK, C, {}, lambda o: m.confirm_select_ok(o, C)),
    (m.TX_SELECT, C, {}, lambda o: r.tx_select(o, C)),
    (m.TX_SELECT_OK, C, {}, lambda o: m.tx_select_ok(o, C)),
    (m.TX_COMMIT, C, {}, lambda o: r.tx_commit(o, C)),
    (m.TX_COMMIT_OK, C, {}, lambda o: m.tx_commit_ok(o, C)),
    (m.TX_ROLLBACK, C, {}, lambda o: r.tx_rollback(o, C)),
    (m.TX_ROLLBACK_OK, C, {}, lambda o: m.tx_rollback_ok(o, C)),
]


def frame_of(write: Write) -> bytes:
    out = BytesWriter()
    write(out)
    return out.getvalue()
