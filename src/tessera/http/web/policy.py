"""The headers of every page: what a browser may do with it."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        # No script of ours makes HTML from text, so there is no policy that a page could use for it.
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)

OTHER_POLICIES: Mapping[str, str] = MappingProxyType(
    {
        # The playground starts one worker, whose address needs a policy of that name (`tools.js`).
        "/": CONTENT_SECURITY_POLICY.replace("trusted-types 'none'", "trusted-types tool-worker"),
        # The worker runs the user's script, and can reach nothing.
        "/web/tool_worker.js": "default-src 'none'; script-src 'unsafe-eval'",
    }
)
"""By path, the policies of what differs from `CONTENT_SECURITY_POLICY`."""

_HEADERS: Headers = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    # A page is asked for again each time, and answered with 304 while it is the same.
    (b"cache-control", b"no-cache"),
)


def headers_of(path: str) -> Headers:
    """The headers of what is at this path."""
    policy = OTHER_POLICIES.get(path, CONTENT_SECURITY_POLICY)
    return [(b"content-security-policy", policy.encode()), *_HEADERS]
