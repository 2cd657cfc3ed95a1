"""A connection as the admin socket tells of it, whatever protocol it speaks."""

from __future__ import annotations

from typing import Protocol

from leveret.protocol.peering import Conversation
from leveret.server.admin_message import client_name, plain


class Connected(Protocol):
    """A connection as the server keeps it. name: the client's address; transport_name: `tcp`, `tls`, `websocket`, ..."""

    @property
    def name(self) -> str: ...

    @property
    def transport_name(self) -> str: ...

    @property
    def connection(self) -> Conversation: ...


def connection_row(each: Connected) -> dict[str, object]:
    connection = each.connection
    peer = connection.the_peer()
    client = connection.client()
    return {
        "name": each.name,
        "protocol": connection.protocol_name(),
        "transport": each.transport_name,
        "user": connection.user.name,
        "vhost": connection.vhost_name,
        "state": connection.state_name(),
        "channels": len(peer.sessions()),
        "client": client_name(client),
        "blocked": bool(connection.blocked),
        "heartbeat_s": int(connection.heartbeat_s),
        **connection.bounds(),
        "received_bytes": int(peer.received_bytes),
        "sent_bytes": int(peer.sent_bytes),
        "client_properties": plain(client),
    }
