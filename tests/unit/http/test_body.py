import asyncio
from dataclasses import replace
from typing import Any

import pytest

from tessera.errors import BodyTimeout, BodyTooLarge, UnsupportedMediaType
from tessera.http.body import read_body
from tessera.http.errors import ClientGone
from tessera.http.limits import BodyLimits

pytestmark = pytest.mark.anyio

JSON = {"content-type": "application/json"}
LIMITS = BodyLimits(max_body_bytes=10, body_deadline_s=30)


async def read(
    *pieces: bytes, headers: dict[str, str] = JSON, end: bool = True, limits: BodyLimits = LIMITS
) -> bytes:
    """Reads a body that arrives in pieces, and then stalls or (with `end`) is complete."""
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    if end:
        messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> Any:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop(0)

    scope = {"type": "http", "headers": [(name.encode(), value.encode()) for name, value in headers.items()]}
    return await read_body(scope, receive, limits)


async def test_pieces_are_joined() -> None:
    assert await read(b"ab", b"", b"cd") == b"abcd"
    assert await read() == b""


@pytest.mark.parametrize(
    "value", ["application/json", "Application/JSON", "application/json; charset=utf-8", " application/json "]
)
async def test_json_is_taken(value: str) -> None:
    assert await read(b"x", headers={"content-type": value}) == b"x"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "multipart/form-data; boundary=x"},
        {"content-type": "application/jsonl"},
        {**JSON, "content-encoding": "gzip"},
        {**JSON, "content-encoding": "identity, gzip"},
        {**JSON, "content-encoding": ""},
    ],
)
async def test_other_types_and_encodings_are_415(headers: dict[str, str]) -> None:
    with pytest.raises(UnsupportedMediaType):
        await read(b"x", headers=headers)


async def test_identity_is_no_encoding() -> None:
    assert await read(b"x", headers={**JSON, "content-encoding": "Identity"}) == b"x"


async def test_the_cap_is_exact() -> None:
    assert await read(b"12345", b"67890") == b"1234567890"
    with pytest.raises(BodyTooLarge):
        await read(b"12345", b"678901", end=False)


async def test_a_declared_length_over_the_cap_is_refused_unread() -> None:
    assert await read(b"x", headers={**JSON, "content-length": "10"}) == b"x"
    with pytest.raises(BodyTooLarge):
        await read(headers={**JSON, "content-length": "11"}, end=False)


async def test_a_body_that_stalls_is_timed_out() -> None:
    with pytest.raises(BodyTimeout):
        await read(b"x", end=False, limits=replace(LIMITS, body_deadline_s=0.01))


async def test_a_client_that_leaves_is_gone() -> None:
    async def receive() -> Any:
        return {"type": "http.disconnect"}

    with pytest.raises(ClientGone):
        await read_body(
            {"type": "http", "headers": [(b"content-type", b"application/json")]}, receive, LIMITS
        )
