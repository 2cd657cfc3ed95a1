"""Bodies to bytes and back, for one client: its serializers and its compression together."""

from __future__ import annotations

from leveret.client.engine.message import Message
from leveret.client.serialize import Serializers
from leveret.client.targets import Options


class Payloads:
    """`compress` is the content encoding of what is sent, unless a message says otherwise."""

    def __init__(self, serializers: Serializers, compress: str | None) -> None:
        self.serializers = serializers
        self.compress = compress
        self._types: dict[bytes, str] = {}

    def encode(self, body: object, options: Options) -> tuple[bytes, str, str | None]:
        """Bytes, content type and content encoding. Raises InvalidMessage."""
        data, kind = self.serializers.encode(body, options.get("serializer") if options else None)
        content_type = self._types.get(kind)
        if content_type is None:
            content_type = self._types[kind] = kind.decode()
        return data, content_type, None

    def decode(self, message: Message, into: object) -> object:
        """The body as a value. Raises InvalidMessage."""
        return self.serializers.decode(message.body, message.content_type, into)

    def expand(self, message: Message) -> bytes:
        """The body before it was compressed. Raises InvalidMessage."""
        return message.raw
