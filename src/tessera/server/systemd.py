"""Notifies the service manager, if there is one, by the protocol of sd_notify(3)."""

import os
import socket
from typing import Literal


def notify(state: Literal["READY=1", "STOPPING=1"]) -> None:
    """Sends the state to the socket that NOTIFY_SOCKET names. That the socket is missing is no error."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        try:
            sender.sendto(state.encode(), path.replace("@", "\0", 1) if path[0] == "@" else path)
        except OSError:
            return
