"""Options of a connection's socket: the kernel looks for the client's machine, and buffers little."""

import asyncio
import socket

VANISHED_S = 30
"""A client that acknowledges nothing for so long, neither data nor a probe, is gone."""

MAX_UNSENT_BYTES = 64 * 1024
"""What the kernel takes of a reply that its client does not read; left to itself it takes megabytes."""

_OPTIONS = (
    (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
    (socket.IPPROTO_TCP, "TCP_KEEPIDLE", VANISHED_S // 3),
    (socket.IPPROTO_TCP, "TCP_KEEPINTVL", VANISHED_S // 6),
    (socket.IPPROTO_TCP, "TCP_KEEPCNT", 4),
    (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", VANISHED_S * 1000),
    (socket.IPPROTO_TCP, "TCP_NOTSENT_LOWAT", MAX_UNSENT_BYTES),
)


def set_options(transport: asyncio.Transport) -> None:
    """Sets those that the system has, if the connection is one of TCP."""
    connection = transport.get_extra_info("socket")
    if connection.family in (socket.AF_INET, socket.AF_INET6):
        for level, name, value in _OPTIONS:
            if (option := getattr(socket, name, None)) is not None:
                connection.setsockopt(level, option, value)
