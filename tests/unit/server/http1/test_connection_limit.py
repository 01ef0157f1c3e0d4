import asyncio
import resource
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.server.http1.connection_limit import MAX_CONNECTIONS, SHARE_CLOSED, make_room, most_connections


class Wire(asyncio.Transport):
    aborted = False

    def abort(self) -> None:
        self.aborted = True


@dataclass(eq=False)
class Peer:
    waits_since_s: float | None
    transport: asyncio.Transport = field(default_factory=Wire)

    @property
    def is_closed(self) -> bool:
        return isinstance(self.transport, Wire) and self.transport.aborted


@given(st.lists(st.none() | st.integers(0, 1000).map(float), max_size=200), st.integers(1, 300))
def test_there_are_never_more_than_fit_and_whoever_has_a_request_stays(
    since: list[float | None], most: int
) -> None:
    connections, kept, closed = set[Peer](), list[Peer](), list[Peer]()
    for now_s, waits_since_s in enumerate([*since, 0.0]):
        newcomer = Peer(float(now_s + 1000))
        connections.add(newcomer)
        make_room(connections, newcomer, most)
        assert len(connections) <= most
        assert newcomer in connections or all(each.waits_since_s is None for each in connections)
        newcomer.waits_since_s = waits_since_s
        kept.append(newcomer)
    closed = [each for each in kept if each.is_closed]
    assert connections == set(kept) - set(closed)
    assert len(connections) >= min(len(kept), most - max(1, most // SHARE_CLOSED))


def test_those_that_wait_longest_go_first() -> None:
    peers = [Peer(float(age)) for age in range(SHARE_CLOSED * 2)]
    newcomer = Peer(float("inf"))
    connections = {*peers, newcomer}
    make_room(connections, newcomer, SHARE_CLOSED * 2)
    assert [each.is_closed for each in peers] == [True, True, *[False] * (len(peers) - 2)]


@pytest.mark.parametrize(
    ("n_files", "most"), [(300, 225), (10**9, MAX_CONNECTIONS), (resource.RLIM_INFINITY, MAX_CONNECTIONS)]
)
def test_files_are_left_for_everything_else(n_files: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (n_files, n_files))
    assert most_connections() == most
