"""A STOMP client without a socket: bytes into a peer on a broker in memory, and the frames that it writes.

`Talker.says` feeds the peer, `heard` takes what it wrote since the last time. Nothing is on disk before `sync`. The
frames are read by code of its own, not by Leveret's.
"""

from __future__ import annotations

from leveret.core.access import User
from leveret.protocol.stomp.connection import StompConversation, StompSettings
from leveret.protocol.stomp.peer import StompPeer

from ...rig import Rig
from ..talker import MemoryLink

ESCAPES = ((b"\\\\", b"\\"), (b"\\n", b"\n"), (b"\\c", b":"), (b"\\r", b"\r"))


class Frame:
    def __init__(self, command: str, headers: dict[str, str], body: bytes) -> None:
        self.command = command
        self.headers = headers
        self.body = body

    def __repr__(self) -> str:
        return f"{self.command} {self.headers} {self.body!r}"

    def __getitem__(self, name: str) -> str:
        return self.headers[name]


def escaped(text: str, version: str) -> bytes:
    value = text.encode("utf-8", "surrogateescape")
    if version == "1.0":
        return value
    for escape, plain in ESCAPES if version == "1.2" else ESCAPES[:3]:
        value = value.replace(plain, escape)
    return value


def unescaped(value: bytes, version: str) -> str:
    if version != "1.0":
        out, at = bytearray(), 0
        while at < len(value):
            pair = value[at : at + 2]
            known = dict(ESCAPES)
            if pair[:1] == b"\\":
                out += known[pair]
                at += 2
            else:
                out += value[at : at + 1]
                at += 1
        value = bytes(out)
    return value.decode("utf-8", "surrogateescape")


def frame(
    command: str,
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    version: str = "1.2",
    eol: bytes = b"\n",
    length: bool = False,
) -> bytes:
    lines = [command.encode()]
    raw = version if command not in ("CONNECT", "STOMP") else "1.0"
    for name, value in (headers or {}).items():
        lines.append(escaped(name, raw) + b":" + escaped(value, raw))
    if length:
        lines.append(b"content-length:%d" % len(body))
    return eol.join(lines) + eol + eol + body + b"\0"


def split(data: bytes, version: str) -> list[Frame]:
    """All frames in it; it must hold nothing else but line ends between them (heart-beats, told as frames)."""
    found: list[Frame] = []
    at = 0
    while at < len(data):
        if data[at : at + 1] == b"\n":
            found.append(Frame("beat", {}, b""))
            at += 1
            continue
        end = data.index(b"\n\n", at)
        lines = data[at:end].split(b"\n")
        command = lines[0].decode()
        raw = version if command != "CONNECTED" else "1.0"
        headers: dict[str, str] = {}
        for line in lines[1:]:
            name, _, value = line.partition(b":")
            headers.setdefault(unescaped(name, raw), unescaped(value, raw))
        start = end + 2
        if "content-length" in headers:
            stop = start + int(headers["content-length"])
        else:
            stop = data.index(b"\0", start)
        assert data[stop : stop + 2] == b"\0\n", data[stop : stop + 2]
        found.append(Frame(command, headers, data[start:stop]))
        at = stop + 2
    return found


class Talker:
    def __init__(self, rig: Rig | None = None, version: str = "1.2", **settings: object) -> None:
        self.rig = Rig() if rig is None else rig
        self.rig.broker.access.add(User("guest", "guest", None, ()))
        self.link = MemoryLink()
        self.version = version
        self.settings = StompSettings("Leveret", "0")
        for name, value in settings.items():
            setattr(self.settings, name, value)
        self.conversation = StompConversation(self.rig.broker, self.settings, self.link, loopback=True)
        self.taken = 0

    @property
    def peer(self) -> StompPeer:
        return self.conversation.peer

    def opened(self, beat: str = "0,0", **headers: str) -> Talker:
        """Connected, and nothing left to hear."""
        told = {"accept-version": self.version, "host": "/", "login": "guest", "passcode": "guest"}
        self.says(frame("CONNECT", told | {"heart-beat": beat} | headers))
        connected = self.one()
        assert connected.command == "CONNECTED", connected
        assert connected["version"] == self.version
        return self

    # ---- talking

    def says(self, *data: bytes, step: int = 0) -> None:
        """One turn: the data, in pieces of `step` bytes (0: each as it is)."""
        for each in data:
            for at in range(0, len(each), step or len(each) or 1):
                self.peer.receive(each[at : at + step] if step else each)
        self.turn()

    def does(self, command: str, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self.says(frame(command, headers, body, self.version))

    def send(self, destination: str, body: bytes = b"", **headers: str) -> None:
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        self.does("SEND", {"destination": destination} | told, body)

    def subscribe(self, destination: str, sub_id: str = "0", **headers: str) -> None:
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        self.does("SUBSCRIBE", {"destination": destination, "id": sub_id} | told)

    def ack(self, message: Frame, command: str = "ACK", **headers: str) -> None:
        if self.version == "1.2":
            told = {"id": message["ack"]}
        else:
            told = {"message-id": message["message-id"], "subscription": message["subscription"]}
        self.does(command, told | headers)

    def turn(self) -> None:
        """What the loop does, without the disk."""
        self.rig.turn()
        self.rig.broker.turn.flush()

    def sync(self) -> None:
        """Everything to disk, and what follows from that."""
        self.rig.settle_down()
        self.rig.broker.turn.flush()

    def lost(self) -> None:
        """The network is gone."""
        self.conversation.lost()
        self.sync()

    # ---- hearing

    def heard(self) -> list[Frame]:
        """What came since the last time, heart-beats too; every frame has to be sound."""
        fresh = self.link.sent[self.taken :]
        self.taken = len(self.link.sent)
        return split(b"".join(fresh), self.version)

    def one(self) -> Frame:
        heard = self.heard()
        assert len(heard) == 1, heard
        return heard[0]

    def receives(self) -> list[Frame]:
        """Everything on disk, and the MESSAGEs that came; nothing else may have."""
        self.sync()
        heard = self.heard()
        assert all(each.command == "MESSAGE" for each in heard), heard
        return heard

    def bodies(self) -> list[bytes]:
        return [each.body for each in self.receives()]

    def fails(self) -> Frame:
        """The one ERROR that came, behind which all is over."""
        self.sync()
        error = self.one()
        assert error.command == "ERROR", error
        assert self.conversation.is_over()
        return error
