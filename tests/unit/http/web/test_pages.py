"""The pages over HTTP: what needs no key, the headers, and that the API stays as it is."""

from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from tessera.http.web.pages import Pages
from tessera.http.web.policy import CONTENT_SECURITY_POLICY, OTHER_POLICIES
from tessera.http.web.site import Site

pytestmark = pytest.mark.anyio
SITE = Site()


async def ask(path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """The answer; its status is 0 if the request was passed on."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def api(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 0, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "path": path, "method": method, "headers": raw}
    unused: Any = None
    await Pages(api, SITE)(scope, unused, send)
    start, body = sent
    return start["status"], {name.decode(): value.decode() for name, value in start["headers"]}, body["body"]


@pytest.mark.parametrize("path", ["/", "/usage", "/docs/en/", "/docs/es/api", "/llms.txt", "/web/site.css"])
async def test_a_page_needs_no_key_and_has_the_strict_policy(path: str) -> None:
    status, headers, body = await ask(path)
    assert status == 200
    assert headers["content-security-policy"] == OTHER_POLICIES.get(path, CONTENT_SECURITY_POLICY)
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-length"] == str(len(body)) != "0"
    assert body


def test_the_policy_allows_nothing_inline_and_nobody_else() -> None:
    parts = (each.partition(" ") for each in CONTENT_SECURITY_POLICY.split("; "))
    directives = {name: value for name, _, value in parts}
    assert directives["default-src"] == directives["frame-ancestors"] == directives["form-action"] == "'none'"
    assert {directives[name] for name in ("script-src", "style-src", "img-src", "connect-src")} == {"'self'"}
    assert directives["trusted-types"] == "'none'"
    assert not {"unsafe", "http", "*", "data:"} & set(CONTENT_SECURITY_POLICY.replace("-", " ").split())


async def test_the_playground_may_start_one_worker_which_reaches_nothing() -> None:
    _, page, _ = await ask("/")
    strict, allowed = "trusted-types 'none'", "trusted-types tool-worker"
    assert page["content-security-policy"].replace(allowed, strict) == CONTENT_SECURITY_POLICY
    _, worker, body = await ask("/web/tool_worker.js")
    assert worker["content-security-policy"] == "default-src 'none'; script-src 'unsafe-eval'"
    assert b"AsyncFunction" in body
    _, others, _ = await ask("/web/tools.js")
    assert others["content-security-policy"] == CONTENT_SECURITY_POLICY


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/"),
        ("POST", "/docs/en/"),
        ("OPTIONS", "/docs/en/"),
        ("DELETE", "/usage"),
        ("GET", "/v1/models"),
        ("GET", "/v1/usage"),
        ("POST", "/v1/chat/completions"),
        ("GET", "/healthz"),
        ("GET", "/nothing"),
        ("GET", ""),
        ("GET", "//"),
    ],
)
async def test_everything_else_is_passed_on(method: str, path: str) -> None:
    assert (await ask(path, method))[0] == 0


async def test_a_page_is_in_the_language_of_the_browser() -> None:
    for language in ("en", "es"):
        _, headers, body = await ask("/", accept_language=language)
        assert f'<html lang="{language}">'.encode() in body
        assert "Accept-Language" in headers["vary"]
    status, headers, _ = await ask("/docs", accept_language="es")
    assert (status, headers["location"]) == (307, "/docs/es/")


async def test_a_page_is_compressed_if_the_browser_takes_it() -> None:
    _, plain, body = await ask("/docs/en/api")
    _, compressed, short = await ask("/docs/en/api", accept_encoding="br, gzip")
    assert "content-encoding" not in plain
    assert compressed["content-encoding"] == "gzip"
    assert len(short) < len(body) / 3


async def test_a_page_that_is_known_is_not_sent_again() -> None:
    _, headers, _ = await ask("/docs/en/api")
    status, again, body = await ask("/docs/en/api", if_none_match=f'"other", {headers["etag"]}')
    assert (status, body, again["etag"]) == (304, b"", headers["etag"])
    assert "content-length" not in again
    assert (await ask("/docs/en/api", if_none_match='"other"'))[0] == 200


async def test_head_has_the_headers_of_get() -> None:
    _, headers, _ = await ask("/docs/en/api")
    status, same, body = await ask("/docs/en/api", "HEAD")
    assert (status, same, body) == (200, headers, b"")


async def test_what_is_not_there_is_404_in_the_language_of_the_browser() -> None:
    status, _, body = await ask("/docs/es/nada", accept_language="es")
    assert status == 404
    assert "Esa página no existe" in body.decode()
