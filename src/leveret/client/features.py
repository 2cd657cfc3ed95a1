"""What the broker at the other end can do beyond AMQP 0-9-1, as far as its greeting tells."""

from __future__ import annotations

from dataclasses import dataclass, field

from leveret.errors import Unsupported


@dataclass(frozen=True)
class ServerInfo:
    """Who answered: `properties` is the greeting as it came."""

    product: str = ""
    version: str = ""
    properties: dict[str, object] = field(default_factory=dict)

    @property
    def is_leveret(self) -> bool:
        return self.product == "Leveret"


@dataclass(frozen=True)
class Features:
    """What is there without help of ours. Delays and retries are made of other means where they are not."""

    delays: bool = False
    retry: bool = False
    groups: bool = False
    deduplication: bool = False
    unique: bool = False
    selectors: bool = False

    def demand(self, name: str, what: str, server: ServerInfo) -> None:
        """Raises Unsupported, naming `what` was asked for, where the broker does not have it."""
        if not getattr(self, name):
            advice = "" if name == "selectors" else "; Leveret's own broker has it"
            raise Unsupported(
                f"{what}: {server.product or 'this broker'} {server.version} does not offer it{advice}"
            )


def read(properties: dict[str, object]) -> tuple[ServerInfo, Features]:
    """From the server properties of connection.start."""
    info = ServerInfo(text(properties.get("product")), text(properties.get("version")), properties)
    ours = info.is_leveret
    return info, Features(delays=ours, retry=ours, groups=ours, deduplication=ours, unique=ours)


def text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")
