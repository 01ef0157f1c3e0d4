import json
from typing import Any

import pytest

from tessera.access.keys import Keys
from tessera.access.limits import MemoryLimiter
from tessera.access.permit import Permit
from tessera.errors import AuthenticationError, ModelNotFound
from tessera.http.context import context_of
from tessera.http.errors import ClientGone
from tessera.http.middleware import PUBLIC_PATHS, Envelope, KeyRequired
from tessera.observe.metrics import Metrics

pytestmark = pytest.mark.anyio


async def through_envelope(app: Any, headers: list[tuple[bytes, bytes]] | None = None) -> list[Any]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    await Envelope(app, Metrics())({"type": "http", "headers": headers or []}, receive, send)
    return sent


async def start_then(error: Exception, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200})
    raise error


async def test_what_fails_after_the_start_adds_nothing() -> None:
    sent = await through_envelope(lambda scope, receive, send: start_then(ValueError(), send))
    assert [message["type"] for message in sent] == ["http.response.start"]


async def test_nobody_answers_a_client_that_is_gone() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise ClientGone

    assert await through_envelope(app) == []


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (b"abc-1.2_X", True),
        (b"x" * 128, True),
        (b"x" * 129, False),
        (b"", False),
        (b"a b", False),
        (b"a\r\nx: y", False),
        ("é".encode("latin-1"), False),
    ],
)
async def test_a_request_id_is_kept_if_it_is_harmless(sent: bytes, kept: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise ModelNotFound(context_of(scope).request_id)

    start, body = await through_envelope(app, [(b"x-request-id", sent)])
    (request_id,) = [value for name, value in start["headers"] if name == b"x-request-id"]
    assert (request_id == sent) is kept
    assert kept or request_id.startswith(b"req_")
    assert json.loads(body["body"])["error"]["message"] == request_id.decode()


async def through_key(path: str, headers: list[tuple[bytes, bytes]]) -> Permit | None:
    """The permit that the application gets."""
    seen: list[Permit | None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(context_of(scope).permit)

    scope = {"type": "http", "path": path, "headers": headers}
    unused: Any = None
    await KeyRequired(app, Keys(["good-key-1"]), MemoryLimiter(), Metrics())(scope, unused, unused)
    (permit,) = seen
    return permit


@pytest.mark.parametrize("path", sorted(PUBLIC_PATHS))
async def test_public_paths_need_no_key(path: str) -> None:
    assert await through_key(path, []) is None


@pytest.mark.parametrize("path", ["/", "/v1/models", "/healthz/", "/readyz/x", "//healthz", "/Healthz", ""])
async def test_all_other_paths_need_one(path: str) -> None:
    with pytest.raises(AuthenticationError):
        await through_key(path, [])
    permit = await through_key(path, [(b"authorization", b"Bearer good-key-1")])
    assert permit is not None
    assert permit.identity.account == "operator"
