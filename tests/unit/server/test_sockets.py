import socket

import pytest

from tessera.errors import StartupError
from tessera.server.sockets import address, bind, listen, shared


def test_of_two_servers_that_bind_at_once_one_is_told() -> None:
    first = bind("127.0.0.1", 0, "--port")
    with first, bind("127.0.0.1", first.getsockname()[1], "--port") as second:
        listen(first)
        with pytest.raises(StartupError, match=address(first)):
            listen(second)


def test_a_shared_address_is_whole_and_is_nobody_elses() -> None:
    sockets = shared(bind("127.0.0.1", 0, "--port"), 3)
    port = sockets[0].getsockname()[1]
    for each in sockets:
        listen(each)
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(60)]
    counts = [n_accepted(each) for each in sockets]
    assert sum(counts) == 60
    assert min(counts) > 0
    with pytest.raises(StartupError, match="with --port"):
        bind("127.0.0.1", port, "--port")
    for each in (*clients, *sockets):
        each.close()


def n_accepted(listener: socket.socket) -> int:
    listener.setblocking(False)
    n = 0
    while True:
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            return n
        n += 1


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example"])
def test_a_name_that_cannot_be_is_a_start_that_fails(host: str) -> None:
    with pytest.raises(StartupError, match="with --host"):
        bind(host, 0, "--host")


def test_an_address_is_a_url() -> None:
    with bind("127.0.0.1", 0, "") as four, bind("::1", 0, "") as six:
        assert address(four) == f"http://127.0.0.1:{four.getsockname()[1]}"
        assert address(six) == f"http://[::1]:{six.getsockname()[1]}"
