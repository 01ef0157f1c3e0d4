"""The console's pages on the admin listener open nothing else there."""

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tessera.http.admin.app import admin_app
from tessera.http.web.site import CONSOLE, Site

pytestmark = pytest.mark.anyio
KEY = "admin-" + "k" * 40
SITE = Site(CONSOLE)


async def status(app: Starlette, path: str, method: str = "GET") -> int:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    await app(
        {"type": "http", "path": path, "method": method, "headers": [], "query_string": b""}, receive, send
    )
    return sent[0]["status"]


def made(key: str | None, site: Site | None) -> Starlette:
    async def accounts(request: Request) -> Response:
        return Response(b"[]")

    return admin_app(lambda: b"", key, [Route("/admin/accounts", accounts)], site)


@pytest.mark.parametrize("path", ["/", "/docs/en/", "/web/console.js"])
async def test_pages_need_no_key(path: str) -> None:
    assert await status(made(KEY, SITE), path) == 200
    assert await status(made(KEY, None), path) == 401
    assert await status(made(None, SITE), path) == 404


@pytest.mark.parametrize("path", ["/admin/accounts", "/admin", "/usage", "//", "/x"])
async def test_everything_else_needs_the_key(path: str) -> None:
    assert await status(made(KEY, SITE), path) == 401


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_a_page_is_only_read(method: str) -> None:
    assert await status(made(KEY, SITE), "/", method) == 401
