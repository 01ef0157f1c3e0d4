"""What a service manager wants to know, in the words of sd_notify(3); without one, nothing is said."""

import os
import socket
from typing import Literal


def notify(state: Literal["READY=1", "STOPPING=1"]) -> None:
    """Send the state to the socket that NOTIFY_SOCKET names; one that is not there is no reason to end."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        try:
            sender.sendto(state.encode(), path.replace("@", "\0", 1) if path[0] == "@" else path)
        except OSError:
            return
