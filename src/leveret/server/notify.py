"""Tells the service manager how far the broker is: systemd's readiness protocol (sd_notify(3)).

A datagram to the socket that NOTIFY_SOCKET names; nothing where there is none. It knows nothing of the broker.
"""

from __future__ import annotations

import os
import socket


def notify(state: str) -> bool:
    """Send a state such as "READY=1" or "STOPPING=1". False if nobody asked or nobody listens; never an error."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]  # Linux' abstract namespace
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.connect(address)
            sock.sendall(state.encode())
    except OSError:
        return False
    return True
