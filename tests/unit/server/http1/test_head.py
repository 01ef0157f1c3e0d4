import itertools

import pytest

from tessera.server.http1.framing import (
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    MAX_TARGET_PARTS,
    ChunkedBody,
    InvalidHttp,
)
from tessera.server.http1.head import SINGLE, RequestHead

REST = b'{"a": 1}\r\n\r\nGET /next HTTP/1.1\r\n\r\n'
GOOD = b"POST /a?b=%20 HTTP/1.1\r\nHost: x\r\nX-A:  y \r\nContent-Length: 8\r\n\r\n"


def begun(sent: bytes) -> RequestHead:
    """The head of the request, after a check that it is complete."""
    head, unread = RequestHead(), bytearray(sent)
    assert head.feed(unread)
    return head


@pytest.mark.parametrize("wish", [b"", b"Upgrade: h2c\r\nConnection: Upgrade\r\n"])
@pytest.mark.parametrize("blank", [b"", b"\r\n", b"\r\n\r\n\r\n"])
def test_a_head_ends_at_its_empty_line_wherever_packets_end(wish: bytes, blank: bytes) -> None:
    sent = blank + GOOD.replace(b"X-A", wish + b"X-A") + REST
    for cuts in [(at, at) for at in range(len(sent))] + [(at, at + 1) for at in range(len(sent) - 1)]:
        head, unread, complete = RequestHead(), bytearray(), False
        for start, end in itertools.pairwise([0, *cuts, len(sent)]):
            unread += sent[start:end]
            complete = complete or head.feed(unread)
        assert complete
        assert bytes(unread) == REST
        assert (head.get_method(), head.url, head.get_http_version()) == (b"POST", b"/a?b=%20", "1.1")
        assert dict(head.headers)[b"host"] == b"x"
        assert not head.body().complete
        assert head.should_keep_alive() is True


@pytest.mark.parametrize("part", [b"%61", b"%", b"&", b"a=1&", b"%zz", b"%&", b"&&"])
@pytest.mark.parametrize("form", ["/%b", "/?%b", "http://x/%b", "/a?b=%b#c"])
def test_a_target_has_parts_up_to_a_cap(form: str, part: bytes) -> None:
    n = part.count(b"%") + part.count(b"&")

    def sent(n_parts: int) -> bytes:
        return b"GET " + form.encode() % (part * (n_parts // n)) + b" HTTP/1.1\r\nHost: x\r\n\r\n"

    assert begun(sent(MAX_TARGET_PARTS)).body().complete
    for n_parts in (MAX_TARGET_PARTS + n, 7 * MAX_TARGET_PARTS):
        with pytest.raises(InvalidHttp, match="target of the request has too many"):
            begun(sent(n_parts)).body()


def test_a_long_path_without_them_is_taken() -> None:
    path = b"/" + b"a" * 20_000
    assert begun(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n").url == path


@pytest.mark.parametrize("name", sorted(SINGLE))
@pytest.mark.parametrize("second", ["same", "other", "empty"])
def test_of_some_fields_there_may_be_one_only(name: bytes, second: str) -> None:
    value = {b"content-length": b"8", b"transfer-encoding": b"chunked"}.get(name, b"a")
    again = {"same": value, "other": b"9", "empty": b""}[second]
    others = b"" if name == b"host" else b"Host: x\r\n"
    one = b"POST / HTTP/1.1\r\n%b%b: %b\r\n" % (others, name, value)
    assert begun(one + b"\r\n").body()
    with pytest.raises(InvalidHttp):
        begun(one + b"X: y\r\n%b: %b\r\n\r\n" % (name.upper(), again)).body()


LINES = [
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: chunked, gzip",
    b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding: gzip",
    b"Transfer-Encoding: identity",
    b"Transfer-Encoding: ",
    b"Transfer-Encoding: chunked;q=1",
    b"Transfer-Encoding: \x0bchunked",
    b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding: chunked\r\nContent-Length: 5",
    b"Content-Length: 5\r\nTransfer-Encoding: chunked",
    b"Content-Length: -1",
    b"Content-Length: +5",
    b"Content-Length: 0x5",
    b"Content-Length: 5, 5",
    b"Content-Length: 5.0",
    b"Content-Length: 1e1",
    b"Content-Length: 1 0",
    b"Content-Length: ",
    b"Content-Length: " + b"9" * 30,
    b"Content-Length : 5",
    b"Content-Length\t: 5",
    b"X: a\r\n folded",
    b"X: a\r\n\tfolded",
    b" X: a",
    b"X: a\nY: b",
    b"X: a\rY: b",
    b"X: a\x00b",
    b"X: a\x01b",
    b"X: a\x7fb",
    b"X\x00: a",
    b"X\xff: a",
    b"X(: a",
    b": a",
    b"no colon",
]


@pytest.mark.parametrize("line", LINES)
def test_fields_that_could_be_read_in_two_ways_are_refused(line: bytes) -> None:
    with pytest.raises(InvalidHttp):
        begun(b"POST / HTTP/1.1\r\nHost: x\r\n" + line + b"\r\n\r\n").body()


@pytest.mark.parametrize(
    "line",
    [
        b"GET /\nX: y\n",
        b"GET / HTTP/1.2",
        b"GET / HTTP/2.0",
        b"PRI * HTTP/2.0",
        b"GET / HTTP/1.1 ",
        b"GET /a b HTTP/1.1",
        b"GET /a\nb HTTP/1.1",
        b"GET /a\x00b HTTP/1.1",
        b"GET /a\xffb HTTP/1.1",
        b"get / HTTP/1.1",
        b"BREW / HTTP/1.1",
        b"CONNECT x:1 HTTP/1.1",
        b"CONNECT / HTTP/1.1",
        b"GET x:1 HTTP/1.1",
        b"GET x HTTP/1.1",
        b"GET * HTTP/1.1",
        b"GET http://x HTTP/1.1",
        b"GET ftp://x/y HTTP/1.1",
        b"GET / HTTP/1.1\nHost: x\n",
        b"\x16\x03\x01\x02\x00",
    ],
)
def test_request_lines_that_are_none_are_refused(line: bytes) -> None:
    with pytest.raises(InvalidHttp):
        begun(line + b"\r\n\r\n").body()


@pytest.mark.parametrize(
    "line",
    [
        b"GET http://x/healthz HTTP/1.1",
        b"GET HTTPS://x/healthz HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"GET //a HTTP/1.1",
        b"GET / HTTP/1.0",
    ],
)
def test_every_form_of_a_request_line_that_older_clients_and_proxies_send_is_taken(line: bytes) -> None:
    assert begun(line + b"\r\nHost: x\r\n\r\n").body().complete


@pytest.mark.parametrize("line", [b"GET / HTTP/1.0", b"GET / HTTP/0.9", b"GET /"])
def test_a_client_from_before_hosts_names_none(line: bytes) -> None:
    assert begun(line + b"\r\n\r\n").body().complete


@pytest.mark.parametrize("line", [b"GET / HTTP/1.1", b"GET http://x/ HTTP/1.1", b"OPTIONS * HTTP/1.1"])
@pytest.mark.parametrize("fields", [b"", b"X-Host: x\r\n", b"X: Host: x\r\n"])
def test_a_request_for_no_host_is_refused(line: bytes, fields: bytes) -> None:
    with pytest.raises(InvalidHttp, match="Host is missing"):
        begun(line + b"\r\n" + fields + b"\r\n").body()


HOSTS = [
    b"",
    b"x",
    b"a_b.example.com",
    b"x:8000",
    b"x:",
    b"127.0.0.1:80",
    b"[::1]",
    b"[::1]:80",
    b" x\t",
    b"a%20b",
]
NO_HOSTS = [
    *(b"[::1", b"::1", b'"x"'),
    b"x y", b"x/", b"http://x", b"x@y", b"x:y", b"x:80:80", b"x?", b"x#", b"\xe9", b"x\\",
]  # fmt: skip


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize("host", [*HOSTS, *NO_HOSTS])
def test_a_host_is_a_name_or_an_address_with_or_without_a_port(host: bytes, version: bytes) -> None:
    head = begun(b"GET / HTTP/%b\r\nHost: %b\r\n\r\n" % (version, host))
    if host in HOSTS:
        assert head.body().complete
        return
    with pytest.raises(InvalidHttp, match="Host is not"):
        head.body()


@pytest.mark.parametrize("coding", [b"chunked", b"Chunked", b" CHUNKED "])
def test_chunked_is_the_one_coding(coding: bytes) -> None:
    fields = b"\r\nHost: x\r\nTransfer-Encoding:%b\r\n\r\n" % coding
    assert isinstance(begun(b"POST / HTTP/1.1" + fields).body(), ChunkedBody)
    with pytest.raises(InvalidHttp):
        begun(b"POST / HTTP/1.0" + fields).body()


ENDLESS = {
    "value": (b"GET / HTTP/1.1\r\nX: ", b"a"),
    "name": (b"GET / HTTP/1.1\r\n", b"n"),
    "target": (b"GET /", b"a"),
    "fields": (b"GET / HTTP/1.1\r\n", b"X: y\r\n"),
    "large fields": (b"GET / HTTP/1.1\r\n", b"X: " + b"y" * 1000 + b"\r\n"),
    "empty lines": (b"", b"\r\n"),
}


@pytest.mark.parametrize("name", ENDLESS)
@pytest.mark.parametrize("packet_bytes", [100, 2**18])
def test_a_head_is_capped(name: str, packet_bytes: int) -> None:
    begin, more = ENDLESS[name]
    head, unread, n_sent = RequestHead(), bytearray(begin), 0
    packet = more * (packet_bytes // len(more) + 1)
    refusal = ""
    while not refusal and n_sent < 60_000_000:
        unread += packet
        n_sent += len(packet)
        try:
            head.feed(unread)
        except InvalidHttp as error:
            refusal = str(error)
        else:
            assert not unread  # nothing is kept to be looked at again
    assert refusal
    assert n_sent <= MAX_HEAD_BYTES + 2 * len(packet)


def test_the_number_of_fields_holds_to_the_last_one() -> None:
    assert begun(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * (MAX_HEADERS - 1) + b"\r\n").body().complete
    with pytest.raises(InvalidHttp):
        begun(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * (MAX_HEADERS + 1) + b"\r\n")
