import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.limits import LIMITS, http_limits

from tessera.errors import BodyTimeout, EngineOverloaded, RequestError, TooManyBytes
from tessera.http.bodies import (
    MAX_BODIES,
    MAX_WAITING,
    REFUSED_AT_LEAST_BYTES,
    REFUSED_BYTES_PER_S,
    SMALL_BYTES,
    Bodies,
)
from tessera.http.body import INLINE_BYTES, read_body
from tessera.http.limits import HttpLimits
from tessera.observe.metrics import Metrics

pytestmark = pytest.mark.anyio

MIB = 2**20
HUGE = 8 * MIB


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class Client:
    """The body of one connection, of which all except the last byte has arrived. It counts what the server
    reads.
    """

    def __init__(self, n_bytes: int, *, declared: bool = True) -> None:
        self.left = n_bytes - 1
        self.n_taken = 0
        self.ending = asyncio.Event()
        self.headers = [(b"content-type", b"application/json")]
        if declared:
            self.headers.append((b"content-length", b"%d" % n_bytes))

    async def receive(self) -> Any:
        if not self.left:
            await self.ending.wait()
            return {"type": "http.request", "body": b"x", "more_body": False}
        n = min(self.left, 64 * 1024)
        self.left -= n
        self.n_taken += n
        return {"type": "http.request", "body": bytes(n), "more_body": True}


class Server:
    def __init__(self, limits: HttpLimits = LIMITS) -> None:
        self.limits = limits
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.metrics = Metrics()
        self.bodies = Bodies(self.limits, self.metrics, lambda *call: self.later.append(call))

    async def serve(self, client: Client, account: str, priority: int = 1) -> int:
        with self.bodies.of(account, priority) as body:
            scope = {"type": "http", "headers": client.headers}
            return len(
                await read_body(scope, client.receive, self.limits, partial(self.bodies.reserve, body))
            )

    def shown(self, name: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"tessera_request_{name}")


@pytest.mark.slow
@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
@pytest.mark.parametrize("n_accounts", [1, 10])
async def test_bodies_that_are_held_back_hold_no_more_than_the_budgets(
    declared: bool, n_accounts: int
) -> None:
    server, limits = Server(), LIMITS
    # As many as may wait for each account; more are refused at once.
    n = min(150, n_accounts * (MAX_WAITING + 1))
    clients = [Client(HUGE, declared=declared) for _ in range(n)]
    tasks = [
        asyncio.create_task(server.serve(client, f"a{i % n_accounts}")) for i, client in enumerate(clients)
    ]
    for _ in range(300):
        await asyncio.sleep(0)
    n_taken = sum(client.n_taken for client in clients)
    budget = min(n_accounts * limits.account_body_bytes, limits.priority_body_bytes)
    assert n_taken <= budget + n * 2 * SMALL_BYTES
    assert server.bodies.n_bytes <= budget + n * SMALL_BYTES
    assert server.shown("body_bytes") == server.bodies.n_bytes
    assert server.shown("bodies_waiting") == server.bodies.n_waiting > n / 2
    # A small request waits for nobody, whosever it is, and a large one not for a single account.
    for account, n_bytes in (("a0", SMALL_BYTES), ("other", SMALL_BYTES if n_accounts > 1 else HUGE)):
        other = Client(n_bytes)
        other.ending.set()
        assert await server.serve(other, account) == n_bytes
    # Nor does the largest body of another priority.
    higher = Client(HUGE)
    higher.ending.set()
    assert await server.serve(higher, "higher", priority=2) == HUGE
    for client in clients:
        client.ending.set()
    assert await asyncio.gather(*tasks) == [HUGE] * n
    assert (server.bodies.n_bytes, server.bodies.n_waiting, server.shown("body_bytes")) == (0, 0, 0)


async def test_more_bodies_than_may_wait_are_refused_at_once() -> None:
    server = Server()
    tasks = [asyncio.create_task(server.serve(Client(HUGE), "a")) for _ in range(150)]
    for _ in range(300):
        await asyncio.sleep(0)
    refused = [task for task in tasks if task.done()]
    assert len(refused) == 150 - MAX_WAITING - 2
    assert {type(task.exception()) for task in refused} == {TooManyBytes}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (server.bodies.n_bytes, server.bodies.n_waiting) == (0, 0)


async def test_accounts_take_turns_for_the_budget_of_all() -> None:
    server = Server(http_limits(priority_body_bytes=HUGE))
    first, order = Client(HUGE), list[str]()
    held = asyncio.create_task(server.serve(first, "a"))
    await settle()

    async def ask(account: str) -> None:
        client = Client(HUGE)
        client.ending.set()
        await server.serve(client, account)
        order.append(account)

    tasks = [asyncio.create_task(ask(account)) for account in "aaaabc"]
    await settle()
    assert server.bodies.n_waiting == 6
    first.ending.set()
    await asyncio.gather(held, *tasks)
    assert order[:3] in (["a", "b", "c"], ["b", "c", "a"])


@pytest.mark.parametrize(
    ("other", "kind"), [("a", TooManyBytes), ("b", EngineOverloaded)], ids=["its own", "all"]
)
async def test_a_body_that_waits_too_long_is_refused_and_says_whose_bytes_were_missing(
    other: str, kind: type[Exception]
) -> None:
    server = Server(http_limits(account_body_bytes=HUGE, priority_body_bytes=HUGE, body_deadline_s=0.01))
    with server.bodies.of("a", 1) as holder:
        await server.bodies.reserve(holder, HUGE)
        with pytest.raises(kind):
            await server.serve(Client(HUGE), other)
    assert server.bodies.n_bytes == 0


async def fail(server: Server, failure: BaseException) -> None:
    """Has a request fail in that way after the largest body was received."""
    with server.bodies.of("a", 1) as body:
        await server.bodies.reserve(body, HUGE)
        raise failure


async def test_refused_requests_keep_their_bytes_for_a_while() -> None:
    server = Server()
    for _ in range(2):
        with pytest.raises(RequestError):
            await fail(server, RequestError("not good"))
    assert server.bodies.n_bytes == 2 * HUGE
    task = asyncio.create_task(server.serve(Client(HUGE), "a"))
    small = asyncio.create_task(server.serve(Client(1000), "a"))
    await settle()
    assert server.bodies.n_waiting == 2
    other = Client(HUGE)
    other.ending.set()
    assert await server.serve(other, "b") == HUGE
    ((after_s, give_back), _) = server.later
    assert after_s == HUGE / REFUSED_BYTES_PER_S
    give_back()
    await settle()
    assert server.bodies.n_waiting == 0
    for each in (task, small):
        each.cancel()
    await asyncio.gather(task, small, return_exceptions=True)


async def test_small_requests_that_are_refused_in_a_loop_wait_too() -> None:
    server, n_refused = Server(), 0

    async def loop() -> None:
        nonlocal n_refused
        for _ in range(5000):
            with suppress(RequestError), server.bodies.of("a", 1) as body:
                await server.bodies.reserve(body, 20)
                raise RequestError("not good")
            n_refused += 1

    task = asyncio.create_task(loop())
    for _ in range(5):
        await settle()
    n_most = server.bodies.n_bytes // REFUSED_AT_LEAST_BYTES
    assert (n_refused, server.bodies.n_waiting) == (n_most, 1)
    small = Client(20)
    small.ending.set()
    assert await server.serve(small, "b") == 20
    for _, give_back in server.later[:3]:
        give_back()
    await settle()
    assert n_refused >= n_most + 3
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_is_not_the_request_s_fault_costs_nothing() -> None:
    server = Server()
    for failure in (EngineOverloaded("x"), BodyTimeout("x"), ValueError("a bug"), asyncio.CancelledError()):
        with pytest.raises(type(failure)):
            await fail(server, failure)
    assert (server.later, server.bodies.n_bytes) == ([], 0)


async def test_accounts_take_turns_in_the_thread_that_decodes() -> None:
    server, order, n_at_once = Server(), list[str](), 0
    large = b"x" * (INLINE_BYTES + 1)

    async def decode(account: str) -> None:
        def work(body: bytes) -> None:
            nonlocal n_at_once
            n_at_once += 1
            assert n_at_once == 1
            order.append(account)
            n_at_once -= 1

        await server.bodies.decoding.decode(account, large, work)

    names = [*("many" for _ in range(20)), "few", "other"]
    tasks = [asyncio.create_task(decode(account)) for account in names]
    await settle()
    tasks[3].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert len(order) >= 21
    assert {order.index("few"), order.index("other")} == {1, 2}
    assert server.bodies.n_waiting == 0
    # A small one does not wait for the thread.
    assert await server.bodies.decoding.decode("few", large[:INLINE_BYTES], len) == INLINE_BYTES
    server.bodies.decoding.close()


@pytest.mark.parametrize("n_bytes", [2, 1000, SMALL_BYTES])
@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
async def test_small_bodies_that_do_not_arrive_are_of_a_number(n_bytes: int, declared: bool) -> None:
    server = Server()
    clients = [Client(n_bytes, declared=declared) for _ in range(MAX_BODIES)]
    other = Client(n_bytes)
    for round_ in range(2):
        for client in clients:
            client.left = 0
            client.ending.clear()
        tasks = [asyncio.create_task(server.serve(client, "many")) for client in clients]
        await settle()
        with pytest.raises(TooManyBytes):
            await server.serve(Client(n_bytes), "many")
        other = Client(n_bytes)
        other.ending.set()
        assert await server.serve(other, "other") == n_bytes
        for client, task in zip(clients, tasks, strict=True):
            if round_:
                task.cancel()
            client.ending.set()
        await asyncio.gather(*tasks, return_exceptions=True)
    other.left, server.later = 0, []
    assert await server.serve(other, "many") == 1


DEAR = {
    "lists": b"[" + b",".join([b"[]"] * 5000) + b"]",
    "objects": b"[" + b",".join([b"{}"] * 5000) + b"]",
    "fields": b"{" + b",".join(b'"%d":1' % each for each in range(2000)) + b"}",
    "nested": b"[" * 5000 + b"]" * 5000,
    "numbers": b"[" + b",".join([b"1"] * 5000) + b"]",
}


@pytest.mark.parametrize("name", [*DEAR, "large", "text"])
async def test_only_what_is_quick_is_decoded_in_the_event_loop(name: str) -> None:
    body = DEAR.get(name) or b'{"a": "%b"}' % (b"x" * (HUGE if name == "large" else INLINE_BYTES - 10))
    server = Server()
    thread = await server.bodies.decoding.decode("one", body, lambda _: threading.current_thread())
    assert (thread is threading.current_thread()) == (name == "text")
    server.bodies.decoding.close()


STEPS = st.lists(st.tuples(st.sampled_from(["ask", "ask", "end", "vanish"]), st.integers(0, 30)), max_size=40)


@given(STEPS, st.integers(HUGE, 3 * HUGE), st.integers(HUGE, 4 * HUGE))
async def test_whatever_happens_budgets_hold_and_nothing_leaks(
    steps: list[tuple[str, int]], per_account: int, in_all: int
) -> None:
    server = Server(http_limits(account_body_bytes=per_account, priority_body_bytes=in_all))
    asked: list[tuple[str, int, asyncio.Task[None]]] = []
    holding: set[asyncio.Task[None]] = set()

    async def hold(account: str, n: int) -> None:
        task = asyncio.current_task()
        assert task is not None
        with server.bodies.of(account, 1) as body:
            await server.bodies.reserve(body, n)
            holding.add(task)
            await asyncio.Event().wait()

    for step, number in steps:
        if step == "ask":
            account, n = "abc"[number % 3], (1000, SMALL_BYTES, HUGE // 2, HUGE)[number % 4]
            asked.append((account, n, asyncio.create_task(hold(account, n))))
        else:
            some = [each for each in asked if (each[2] in holding) == (step == "end")]
            if some:
                gone = some[number % len(some)]
                gone[2].cancel()
                asked.remove(gone)
        await settle()
        held = [(account, n) for account, n, task in asked if task in holding]
        assert server.bodies.n_bytes == sum(n for _, n in held)
        for account in "abc":
            assert sum(max(0, n - SMALL_BYTES) for owner, n in held if owner == account) <= per_account
        assert sum(max(0, n - SMALL_BYTES) for _, n in held) <= in_all
        assert server.bodies.n_waiting == len(asked) - len(held)
        assert held or not asked
    for _, _, task in asked:
        task.cancel()
    await asyncio.gather(*(task for _, _, task in asked), return_exceptions=True)
    assert (server.bodies.n_bytes, server.bodies.n_waiting) == (0, 0)
