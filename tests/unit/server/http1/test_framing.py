import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tessera.server.http1.framing import (
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    MAX_SMALL_CHUNKS,
    ChunkedBody,
    InvalidHttp,
    SizedBody,
)

NEXT = b"GET /next HTTP/1.1\r\nX: \r\n\r\n0\r\n\r\n"
PACKET_BYTES = 64 * 1024


def read(body: ChunkedBody | SizedBody, packets: list[bytes]) -> tuple[bytes, bytes]:
    """The data of the body, and what is left for the next request."""
    data, unread = b"", bytearray()
    for packet in packets:
        unread += packet
        if not body.complete:
            data += body.feed(unread)
    return data, bytes(unread)


def cut(sent: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(sent) + 1) for place in places})
    return [sent[a:b] for a, b in itertools.pairwise([0, *ends, len(sent)])]


pieces = st.lists(st.binary(min_size=1, max_size=40), max_size=8)
extensions = st.sampled_from([b"", b";a=b", b' ; x="y z"', b";" + b"e" * 200])
trailers = st.lists(
    st.sampled_from([b"X: y", b"Authorization: Bearer k", b"A:", b"Content-Length: 5"]), max_size=5
)
places = st.lists(st.integers(0, 2000), max_size=12)


@given(pieces, extensions, trailers, places)
@example([b"\r\n0\r\n\r\n"], b"", [], list(range(60)))
def test_chunks_give_the_same_data_wherever_packets_end(
    pieces: list[bytes], extension: bytes, trailers: list[bytes], places: list[int]
) -> None:
    chunks = [b"%x%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces]
    sent = b"".join([*chunks, b"0", extension, b"\r\n", *[line + b"\r\n" for line in trailers], b"\r\n"])
    body = ChunkedBody()
    assert read(body, cut(sent + NEXT, places)) == (b"".join(pieces), NEXT)
    assert body.complete


@given(st.binary(max_size=100), places)
def test_a_body_of_a_length_ends_there_wherever_packets_end(data: bytes, places: list[int]) -> None:
    body = SizedBody(len(data))
    assert read(body, cut(data + NEXT, places)) == (data, NEXT)
    assert body.complete


@pytest.mark.parametrize(
    "sent",
    [
        b"zz\r\n",
        b"\r\n",
        b"-1\r\n",
        b"+5\r\nhello\r\n",
        b"0x5\r\nhello\r\n",
        b" 5\r\nhello\r\n",
        b"5 \r\nhello\r\n",
        b"5\nhello\r\n",
        b"5\rhello\r\n",
        b"5;a\nb\r\nhello\r\n",
        b"5;a\x00b\r\nhello\r\n",
        b"5\r\nhelloX\r\n",
        b"5\r\nhello\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhel\r\n0\r\n\r\n",
        b"1" * 17 + b"\r\n",
        b"0\r\nno colon\r\n\r\n",
        b"0\r\nA : b\r\n\r\n",
        b"0\r\n folded\r\n\r\n",
        b"0\r\nA: b\r\n folded\r\n\r\n",
        b"0\r\nA: b\x00c\r\n\r\n",
        b"0\r\nA: b\nC: d\r\n\r\n",
        b"0\r\nA: b\rC: d\r\n\r\n",
        b"0\r\n: b\r\n\r\n",
        b"0\r\nGET / HTTP/1.1\r\n\r\n",
    ],
)
def test_chunks_that_could_be_read_in_two_ways_are_refused(sent: bytes) -> None:
    for packets in ([sent], [bytes([byte]) for byte in sent]):
        with pytest.raises(InvalidHttp):
            read(ChunkedBody(), packets)


ENDLESS = {
    "one trailer": (b"0\r\nX: ", b"a"),
    "trailers": (b"0\r\n", b"X: y\r\n"),
    "large trailers": (b"0\r\n", b"X: " + b"y" * 1000 + b"\r\n"),
    "the name of a trailer": (b"0\r\n", b"n"),
    "an extension": (b"5;", b"e"),
    "extensions": (b"", b"5;" + b"e" * 300 + b"\r\nhello\r\n"),
    "a size": (b"", b"0"),
    "an end of a chunk": (b"5\r\nhello", b"x"),
    "small chunks": (b"", b"1\r\nx\r\n"),
}


@pytest.mark.parametrize("name", ENDLESS)
@pytest.mark.parametrize("packet_bytes", [1000, PACKET_BYTES])
def test_what_a_body_has_beside_its_data_is_capped(name: str, packet_bytes: int) -> None:
    begin, more = ENDLESS[name]
    body, unread, n_sent, n_looked_at = ChunkedBody(), bytearray(begin), 0, 0
    packet = more * (packet_bytes // len(more) + 1)
    refusal = ""
    while not refusal and n_sent < 60_000_000:
        unread += packet
        n_sent += len(packet)
        n_looked_at += len(unread)
        try:
            body.feed(unread)
        except InvalidHttp as error:
            refusal = str(error)
        else:
            assert len(unread) <= MAX_HEAD_BYTES + 2
    assert refusal
    most = 7 * MAX_SMALL_CHUNKS if name == "small chunks" else 30 * MAX_HEAD_BYTES
    assert n_sent <= most + len(packet)
    # Each packet looks again at what waits for the end of its line: at no more than the cap.
    assert n_looked_at <= (n_sent // len(packet) + 1) * (MAX_HEAD_BYTES + len(packet))


def test_caps_hold_to_the_last_one() -> None:
    assert read(ChunkedBody(), [b"0\r\n" + b"A: b\r\n" * MAX_HEADERS + b"\r\n"]) == (b"", b"")
    with pytest.raises(InvalidHttp):
        read(ChunkedBody(), [b"0\r\n" + b"A: b\r\n" * (MAX_HEADERS + 1) + b"\r\n"])
    last = b"0\r\n\r\n"
    small = b"1\r\nx\r\n" * (MAX_SMALL_CHUNKS - 1)
    assert len(read(ChunkedBody(), [small + last])[0]) == MAX_SMALL_CHUNKS - 1
    with pytest.raises(InvalidHttp, match="too many small chunks"):
        read(ChunkedBody(), [small + small + last])
    # Chunks of a usual size are as many as a body needs.
    n_chunks = 3 * MAX_SMALL_CHUNKS
    usual = (b"80\r\n" + b"x" * 128 + b"\r\n") * n_chunks
    assert len(read(ChunkedBody(), [usual + last])[0]) == 128 * n_chunks


def test_a_huge_chunk_is_handed_on_as_it_arrives() -> None:
    body, unread = ChunkedBody(), bytearray(b"f" * 16 + b"\r\nhello")
    assert body.feed(unread) == b"hello"
    assert not unread
