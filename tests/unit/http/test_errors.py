import json
import logging
from typing import Any

import pytest

from tessera.errors import (
    AuthenticationError,
    BodyTimeout,
    EngineUnavailable,
    GenerationFailed,
    ModelNotFound,
    RateLimited,
    TesseraError,
)
from tessera.http.errors import ClientGone, error_response, presentable
from tessera.http.inflight import InFlight
from tessera.http.middleware import Envelope

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("error", "status", "headers"),
    [
        (ModelNotFound("m"), 404, {"x-should-retry": "false"}),
        (AuthenticationError("m"), 401, {"x-should-retry": "false", "www-authenticate": "Bearer"}),
        (BodyTimeout("m"), 408, {"connection": "close"}),
        (RateLimited("m", retry_after_s=1.2), 429, {"retry-after": "2"}),
        (EngineUnavailable("m", retry_after_s=0), 503, {"retry-after": "0"}),
        (GenerationFailed("m"), 502, {}),
        (TesseraError("m"), 500, {}),
    ],
)
def test_headers_say_whether_to_try_again(error: TesseraError, status: int, headers: dict[str, str]) -> None:
    response = error_response(error)
    assert response.status_code == status
    assert {k: v for k, v in response.headers.items() if not k.startswith("content-")} == headers
    assert json.loads(bytes(response.body)) == {
        "error": {"message": "m", "type": error.type, "param": None, "code": error.code}
    }


def test_a_bug_is_told_by_its_request_id_and_logged_without_content(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        try:
            raise ValueError("the prompt: canary")
        except ValueError as error:
            shown = presentable(error, "req_1")
    assert shown.status == 500
    assert "req_1" in shown.message
    assert "canary" not in shown.message + caplog.text
    assert "ValueError" in caplog.text
    assert "test_errors.py" in caplog.text


def test_in_flight_counts_and_drains() -> None:
    in_flight = InFlight()
    with in_flight:
        assert in_flight.n == 1
        in_flight.drain()
        with pytest.raises(EngineUnavailable) as caught, in_flight:
            pass
    assert in_flight.n == 0
    assert caught.value.code == "draining"


async def through_envelope(app: Any, headers: list[tuple[bytes, bytes]] | None = None) -> list[Any]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    await Envelope(app)({"type": "http", "headers": headers or []}, receive, send)
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
        raise ModelNotFound(scope["state"]["request_id"])

    start, body = await through_envelope(app, [(b"x-request-id", sent)])
    (request_id,) = [value for name, value in start["headers"] if name == b"x-request-id"]
    assert (request_id == sent) is kept
    assert kept or request_id.startswith(b"req_")
    assert json.loads(body["body"])["error"]["message"] == request_id.decode()
