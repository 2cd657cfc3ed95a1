"""How a STOMP conversation is begun on a server: with the settings that the configuration has for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leveret import __version__
from leveret.protocol.peering import Conversation, Link
from leveret.protocol.stomp.connection import StompConversation, StompSettings
from leveret.protocol.stomp.destinations import STYLES
from leveret.server.link import Speak

if TYPE_CHECKING:
    from leveret.server.server import Server


def stomp(server: Server, style: str) -> Speak:
    """style: what destinations mean, of `destinations.STYLES`."""
    config = server.config
    settings = StompSettings("Leveret", __version__)
    settings.style = STYLES.index(style)
    settings.message_size_max_bytes = config.message_size_max_bytes
    settings.gather_max_bytes = max(4 * config.message_size_max_bytes, settings.gather_max_bytes)
    settings.heartbeat_min_ms = config.stomp_heartbeat_min_ms
    settings.overdue_closes = config.consumer_timeout_closes_channel

    def speak(link: Link, loopback: bool) -> Conversation:
        return StompConversation(server.broker, settings, link, loopback)

    return speak
