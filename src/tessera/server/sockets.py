"""Listening sockets, bound before anything else is done: a port in use is reported at once."""

import socket
from contextlib import ExitStack

from tessera.errors import StartupError

_BACKLOG = 2048


def bind(host: str, port: int, flags: str) -> socket.socket:
    """A bound socket that does not listen yet; raises `StartupError` naming the flags of its address."""
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with ExitStack() as if_it_fails:
            bound = if_it_fails.enter_context(socket.socket(family, kind, protocol))
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(where)
            if_it_fails.pop_all()
    except (OSError, UnicodeError) as error:  # UnicodeError: a host name that DNS cannot hold
        reason = getattr(error, "strerror", None) or error
        raise StartupError(
            f"Cannot listen on {host}:{port}: {reason}. Choose another with {flags}."
        ) from error
    return bound


def listen(bound: socket.socket) -> None:
    """Begins to listen. Raises `StartupError` if another server bound the same address and listens already:
    the event loop would ignore that.
    """
    try:
        bound.listen(_BACKLOG)
    except OSError as error:
        raise StartupError(f"Cannot listen on {address(bound)}: {error.strerror or error}.") from error


def shared(first: socket.socket, n: int) -> list[socket.socket]:
    """`first` and n - 1 more sockets on its address; the kernel spreads connections over those that listen.

    Sharing begins after `first` is bound: so a port that another server has, shared or not, is still refused.
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
    """The URL of the socket's address."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
