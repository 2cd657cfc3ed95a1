"""Bodies to bytes and back, for one client: its serializers and its compression together."""

from __future__ import annotations

from leveret.client.compress import Compression, compression, unpack
from leveret.client.engine.message import Message
from leveret.client.serialize import Serializers
from leveret.client.targets import Options


class Payloads:
    """`compress` is the content encoding of what is sent, unless a message says otherwise."""

    def __init__(self, serializers: Serializers, compress: str | Compression | None) -> None:
        self.serializers = serializers
        self._compression = compression(compress)
        self._types: dict[bytes, str] = {}

    def encode(self, body: object, options: Options) -> tuple[bytes, str, str | None]:
        """Bytes, content type and content encoding. Raises InvalidMessage."""
        data, kind = self.serializers.encode(body, options.get("serializer") if options else None)
        content_type = self._types.get(kind)
        if content_type is None:
            content_type = self._types[kind] = kind.decode()
        packing = self._compression
        if options and "compress" in options:
            packing = compression(options["compress"])
        if packing is None:
            return data, content_type, None
        data, encoding = packing.pack(data)
        return data, content_type, encoding or None

    def sends_as_is(self, options: Options) -> bool:
        """Whether bytes are left alone, however many they are."""
        return self._compression is None and "compress" not in options and "serializer" not in options

    def decode(self, message: Message, into: object) -> object:
        """The body as a value. Raises InvalidMessage."""
        return self.serializers.decode(message.body, message.content_type, into)

    def expand(self, message: Message) -> bytes:
        """The body before it was compressed. Raises InvalidMessage."""
        return unpack(message.raw, message.content_encoding)
