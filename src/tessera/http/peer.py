"""Who is at the other end of a connection: the client's address, for logs and the audit."""

from ipaddress import ip_address

from starlette.types import Scope

UNKNOWN = "unknown"


def client_address(scope: Scope) -> str:
    """The client's IP address; behind a trusted proxy, the one that the proxy has forwarded. `unknown` for
    anything that is no address, which a client may have written.
    """
    client = scope.get("client")
    try:
        return str(ip_address(client[0])) if client else UNKNOWN
    except ValueError:
        return UNKNOWN
