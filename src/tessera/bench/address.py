"""Where a server listens. Only loopback addresses are allowed: nobody should load somebody else's server."""

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from tessera.errors import CommandError
from tessera.urls import with_path


@dataclass(frozen=True, slots=True)
class Address:
    """`hosts` are the addresses that the name stands for, all loopback; `path` comes before `/chat`."""

    url: str
    authority: str
    hosts: tuple[str, ...]
    port: int
    path: str


def locate(url: str) -> Address:
    """Resolve the URL of a server, with or without `/v1`. Raises `CommandError` for any other machine."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise CommandError(f"{url!r} is not a URL: {error}.") from error
    if parts.scheme != "http" or not host:
        raise CommandError(f"{url!r} is not of the form http://host:port.")
    if parts.username is not None or parts.query or parts.fragment:
        raise CommandError("A URL to measure has neither a user, a query nor a fragment.")
    hosts = _resolve(host, port or 80)
    if foreign := [each for each in hosts if not _is_loopback(each)]:
        raise CommandError(
            f"{host} is {', '.join(foreign)}, which is not this machine: only loopback addresses are "
            "measured (127.0.0.1, ::1, localhost)."
        )
    return Address(url, parts.netloc, hosts, port or 80, urlsplit(with_path(url, "/v1")).path)


def _resolve(host: str, port: int) -> tuple[str, ...]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise CommandError(f"{host} cannot be resolved: {error}.") from error
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


def _is_loopback(host: str) -> bool:
    address = ipaddress.ip_address(host)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.is_loopback
