"""Bytes to events, however they were cut."""

import pytest

from tessera.bench.sse import EventReader, ResponseReader

BODY = (
    b": hello\r\n\r\n"
    b'data: {"a": 1}\n\n'
    b"event: message\r\nid: 7\r\ndata:no space\r\n\r\n"
    b"data: two\ndata: lines\n\n"
    b": keep-alive\n\n"
    b"data: \xc3\xb1\n\ndata: [DONE]\n\n"
    b"data: never finished"
)
EVENTS = [b'{"a": 1}', b"no space", b"two\nlines", b"\xc3\xb1", b"[DONE]"]
SIZES = (1, 2, 3, 7, 50, 1000)


def chunked(body: bytes, size: int) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    framed = [b"%X;of=interest\r\n%s\r\n" % (len(part), part) for part in parts]
    return b"".join(framed) + b"0\r\nX-Trailer: 1\r\n\r\n"


def response(body: bytes, framing: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + framing + b"\r\n\r\n" + body


def read(blocks: list[bytes]) -> tuple[int | None, list[bytes]]:
    reader, events = ResponseReader(), EventReader()
    found = [event for block in blocks for event in events.feed(reader.feed(block))]
    return reader.head.status if reader.head else None, found


@pytest.mark.parametrize("size", SIZES)
def test_events_are_the_same_however_the_bytes_are_cut(size: int) -> None:
    whole = response(BODY, b"Connection: close")
    assert read([whole[at : at + size] for at in range(0, len(whole), size)]) == (200, EVENTS)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("chunk", SIZES)
def test_chunks_are_no_part_of_the_body(size: int, chunk: int) -> None:
    whole = response(chunked(BODY, chunk), b"transfer-encoding: Chunked")
    assert read([whole[at : at + size] for at in range(0, len(whole), size)]) == (200, EVENTS)


@pytest.mark.parametrize("at", range(1, len(response(chunked(BODY, 11), b"Transfer-Encoding: chunked"))))
def test_one_cut_anywhere_changes_nothing(at: int) -> None:
    whole = response(chunked(BODY, 11), b"Transfer-Encoding: chunked")
    assert read([whole[:at], whole[at:]]) == (200, EVENTS)


def test_what_follows_the_last_chunk_is_left() -> None:
    whole = response(chunked(b"data: 1\n\n", 4) + b"data: 2\n\n", b"Transfer-Encoding: chunked")
    assert read([whole]) == (200, [b"1"])


def test_a_head_that_is_not_whole_has_no_body() -> None:
    assert read([b"HTTP/1.1 200 OK\r\nConte"]) == (None, [])


@pytest.mark.parametrize("head", [b"SSH-2.0-x", b"HTTP/1.1 fine", b"HTTP/2 200", b"\x00\xff"])
def test_what_is_no_http_is_said_so(head: bytes) -> None:
    with pytest.raises(ValueError, match="no HTTP response"):
        read([head + b"\r\n\r\n"])
