"""Sockets to listen on, bound before anything else is done: a port in use is known at once."""

import socket

from tessera.errors import StartupError


def bind(host: str, port: int, flags: str) -> socket.socket:
    """A bound socket that does not listen yet; raises `StartupError` naming the flags of its address."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        raise StartupError(
            f"Cannot listen on {host}:{port}: {error.strerror or error}. Choose another with {flags}."
        ) from error
    return bound


def shared(first: socket.socket, n: int) -> list[socket.socket]:
    """`first` and n - 1 more on the same address; the kernel spreads connections over those that listen.

    Sharing begins after `first` is bound: a port that another server has, shared or not, is still refused.
    """
    first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sockets = [first]
    for _ in range(n - 1):
        more = socket.socket(first.family, first.type, first.proto)
        more.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        more.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        more.bind(first.getsockname())
        sockets.append(more)
    return sockets


def address(bound: socket.socket) -> str:
    """Its URL."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
