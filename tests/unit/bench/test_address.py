"""Only this machine is measured."""

import socket

import pytest

from tessera.bench.address import locate
from tessera.errors import CommandError


@pytest.mark.parametrize(
    ("url", "port", "path"),
    [
        ("http://127.0.0.1:8000", 8000, "/v1"),
        ("http://127.0.0.1:8000/v1/", 8000, "/v1"),
        ("http://127.1.2.3", 80, "/v1"),
        ("http://localhost:1234/openai", 1234, "/openai/v1"),
        ("http://[::1]:8000", 8000, "/v1"),
        ("http://[::ffff:127.0.0.1]:8000", 8000, "/v1"),
    ],
)
def test_loopback_is_found(url: str, port: int, path: str) -> None:
    found = locate(url)
    assert (found.port, found.path, found.url) == (port, path, url)
    assert found.hosts


@pytest.mark.parametrize(
    "url", ["http://192.0.2.1:8000", "http://0.0.0.0:8000", "http://[2001:db8::1]:80", "http://10.0.0.1"]
)
def test_another_host_is_refused_by_name_and_reason(url: str) -> None:
    with pytest.raises(CommandError, match="only loopback addresses are measured"):
        locate(url)


def test_a_name_with_one_foreign_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(host: str, port: int, **_: object) -> list[object]:
        return [(socket.AF_INET, 1, 6, "", (ip, port)) for ip in ("127.0.0.1", "192.0.2.7")]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(CommandError, match=r"mixed is 192\.0\.2\.7, which is not this machine"):
        locate("http://mixed:8000")


@pytest.mark.parametrize(
    "url",
    ["https://127.0.0.1", "127.0.0.1:8000", "http://", "http://127.0.0.1:99999", "ftp://127.0.0.1", "",
     "http://user@127.0.0.1", "http://127.0.0.1/?a=1", "http://[::1", "http://\udcff:80"],
)  # fmt: skip
def test_what_is_no_such_url_is_refused(url: str) -> None:
    with pytest.raises(CommandError):
        locate(url)
