"""URLs of servers, as people write them: with or without the path of the API, or a slash at the end."""

import re
from urllib.parse import urlsplit

from tessera.errors import CommandError

# Names and addresses; a name in another script is sent as it is, and its look-up says whether there is one.
_HOST = re.compile(r"[^\s/?#@\\<>\"'{}|^`\x00-\x1f]+")


def with_path(url: str, path: str) -> str:
    """The URL with `path` at its end. What the URL already has of the path is not added again, so that
    http://host, http://host/ and http://host/v1 mean the same. Raises `CommandError`.
    """
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError as error:
        raise CommandError(f"{url!r} is not a URL: {error}.") from error
    if parts.scheme not in ("http", "https") or not _HOST.fullmatch(parts.hostname or "") or port == 0:
        raise CommandError(f"{url!r} is not of the form http://host:port or https://host.")
    given = parts.path.rstrip("/")
    names = path.strip("/").split("/")
    n_given = next(
        n for n in range(len(names), -1, -1) if n == 0 or given.endswith("/" + "/".join(names[:n]))
    )
    return parts._replace(path="/".join([given, *names[n_given:]])).geturl()
