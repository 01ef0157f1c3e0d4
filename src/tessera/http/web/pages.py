"""The middleware that answers requests for pages, which need no key, and passes all others on."""

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from tessera.http.web.policy import headers_of
from tessera.http.web.site import Asset, Moved, Site
from tessera.http.web.words import preferred


class Pages:
    """Answers GET and HEAD for what the site has; the API never sees them."""

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self._app = app
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_read = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
        if not is_read or not self._site.owns(scope["path"]):
            await self._app(scope, receive, send)
            return
        sent = Headers(scope=scope)
        language = preferred(sent.get("accept-language", ""))
        path: str = scope["path"]
        found = self._site.made(path, language) or await asyncio.to_thread(self._site.find, path, language)
        status, headers, body = _answer(found, sent)
        length = [(b"content-length", str(len(body)).encode())] if status != 304 else []
        headers = [*headers_of(path), *headers, *length]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def _answer(found: Asset | Moved, sent: Headers) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    vary = (b"vary", b"Accept-Language, Accept-Encoding")
    if isinstance(found, Moved):
        return 307, [vary, (b"location", found.path.encode())], b""
    headers = [vary, (b"etag", found.etag.encode())]
    if found.etag in sent.get("if-none-match", "").split(", "):
        return 304, headers, b""
    headers.append((b"content-type", found.media_type.encode()))
    if "gzip" not in sent.get("accept-encoding", ""):
        return found.status, headers, found.body
    return found.status, [*headers, (b"content-encoding", b"gzip")], found.compressed
