"""The one error tree.

Three kinds of fault are three branches: what a *peer* did wrong (`PeerError`), what *we* or the
machine under us could not do (`BrokerError`), and a *bug* (`Bug`). The first two carry a reply code:
AMQP 0-9-1's codes (specification, section 1.2) serve every protocol, which maps them if it has its own.
A peer's error ends the channel or the connection, never the broker; a `Bug` is always logged with a traceback.
"""

from __future__ import annotations


class LeveretError(Exception):
    """Base of all errors raised by Leveret. `text` is fit for the other side to read."""

    code = 541
    name = "INTERNAL_ERROR"
    method = 0  # the method that failed, in protocols that name it: class << 16 | method

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    @property
    def reply_text(self) -> str:
        """What goes over the wire: the code's name, a dash, the text, as RabbitMQ words it."""
        return f"{self.name} - {self.text}"


class PeerError(LeveretError):
    """The peer asked for something wrong or refused. `hard` ends the connection, otherwise the channel."""

    hard = False


class ContentTooLarge(PeerError):
    code, name = 311, "CONTENT_TOO_LARGE"


class NoConsumers(PeerError):
    code, name = 313, "NO_CONSUMERS"


class AccessRefused(PeerError):
    code, name = 403, "ACCESS_REFUSED"


class NotFound(PeerError):
    code, name = 404, "NOT_FOUND"


class ResourceLocked(PeerError):
    code, name = 405, "RESOURCE_LOCKED"


class PreconditionFailed(PeerError):
    code, name = 406, "PRECONDITION_FAILED"


class HardPeerError(PeerError):
    hard = True


class ConnectionForced(HardPeerError):
    code, name = 320, "CONNECTION_FORCED"


class InvalidPath(HardPeerError):
    code, name = 402, "INVALID_PATH"


class InvalidDestination(HardPeerError):
    """A destination in words that mean nothing, or nothing that can be done. `summary`: a title for it."""

    code, name = 402, "INVALID_PATH"

    def __init__(self, summary: str, text: str) -> None:
        super().__init__(text)
        self.summary = summary


class FrameRefused(HardPeerError):
    """A command that is not known, not allowed here, or says not all that it has to. `summary`: a title for it."""

    code, name = 503, "COMMAND_INVALID"

    def __init__(self, summary: str, text: str) -> None:
        super().__init__(text)
        self.summary = summary


class LoginRefused(HardPeerError):
    code, name = 403, "ACCESS_REFUSED"


class FrameError(HardPeerError):
    code, name = 501, "FRAME_ERROR"


class LostSync(FrameError):
    """Where the next frame begins cannot be known: nothing more can be read."""


class MalformedFrame(HardPeerError):
    """A field or table that cannot be read (AMQP calls it a syntax error)."""

    code, name = 502, "SYNTAX_ERROR"


class CommandInvalid(HardPeerError):
    code, name = 503, "COMMAND_INVALID"


class ChannelError(HardPeerError):
    code, name = 504, "CHANNEL_ERROR"


class UnexpectedFrame(HardPeerError):
    code, name = 505, "UNEXPECTED_FRAME"


class ResourceError(HardPeerError):
    code, name = 506, "RESOURCE_ERROR"


class NotAllowed(HardPeerError):
    code, name = 530, "NOT_ALLOWED"


class NotSupported(HardPeerError):
    code, name = 540, "NOT_IMPLEMENTED"


class BrokerError(LeveretError):
    """We, or the machine under us, could not do it."""


class ConfigError(BrokerError):
    """A configuration that cannot be used; the text names the key, the value and what is allowed."""


class DirectoryLocked(BrokerError):
    """The data directory is in use by another process, which the text names."""


class StoreError(BrokerError):
    """A file operation of the store failed. Carries where. `full`: for lack of space."""

    full = False

    def __init__(self, text: str, path: str = "", offset_bytes: int = -1) -> None:
        where = f" ({path}" + (f" at byte {offset_bytes}" if offset_bytes >= 0 else "") + ")" if path else ""
        super().__init__(text + where)
        self.path = path
        self.offset_bytes = offset_bytes


class Damaged(StoreError):
    """Bytes on disk are not what was written there. Never repaired in silence."""


class Bug(LeveretError):
    """A state that the code says cannot be."""


class ClientError(LeveretError):
    """What an application meets that uses leveret.client or leveret.worker. `code` is the broker's, where it gave one."""


class InvalidAddress(ClientError, ValueError):
    """An address (URL) or its credentials cannot be used. The text never shows a password."""


class ConnectFailed(ClientError):
    """No address could be reached, or none let us in; the text says why for each."""


class Disconnected(ClientError):
    """The connection ended while something waited for it. Whether the broker did it is not known."""


class Closed(ClientError):
    """The client was closed by its own application, and is asked for something."""


class Refused(ClientError):
    """The broker refused: it closed the channel or the connection. `code` and `text` are what it said."""

    def __init__(self, code: int, text: str, method: int = 0) -> None:
        super().__init__(text)
        self.code = code
        self.method = method


class Unroutable(ClientError):
    """A message came back: no queue would have got it (AMQP's basic.return)."""


class NotConfirmed(ClientError):
    """The broker did not take a message (basic.nack): a full queue that rejects, a duplicate, or a fault of its own."""


class BufferFull(ClientError):
    """More was posted than may wait, and the buffer was told not to wait."""


class SpoolError(ClientError):
    """The spool's file cannot be used: another process has it, it is damaged, or the disk is full. It is left as it is."""


class InvalidMessage(ClientError):
    """What was to be sent, or came, does not fit its type or cannot be encoded. The text names the field."""


class Unsupported(ClientError):
    """The broker that we are connected to does not offer this."""


class AlreadySettled(ClientError):
    """A message was acked, released, retried or rejected before."""


class Stale(ClientError):
    """The connection that a message came by is gone; the broker has requeued it, and it cannot be settled any more."""


class CallTimeout(ClientError, TimeoutError):
    """No answer came in time. The work may be done nevertheless."""


class CallFailed(ClientError):
    """The other side did the work and failed; the text is its error."""

    def __init__(self, text: str, kind: str = "") -> None:
        super().__init__(text)
        self.kind = kind


class RetryLater(ClientError):
    """Raised by a handler: try this message again after `delay_s` (None: as the retry policy has it)."""

    def __init__(self, text: str = "", delay_s: float | None = None) -> None:
        super().__init__(text)
        self.delay_s = delay_s


class Reject(ClientError):
    """Raised by a handler: this message will never do; to the dead letters with it, without further tries."""
