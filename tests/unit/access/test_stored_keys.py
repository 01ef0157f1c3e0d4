"""Stored keys against a store that counts what it is asked, and fails when it is told to."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from tests.waiting import until

from tessera.access import stored_keys
from tessera.access.keys import KeyHasher, Keys, generate_key
from tessera.access.stored_keys import StoredKeys
from tessera.access.tiers import Tiers
from tessera.access.window import Rate
from tessera.errors import AuthenticationError, InvalidApiKey, PermissionDenied, StoreUnavailable
from tessera.observe.metrics import Metrics
from tessera.store.accounts import Account
from tessera.store.holders import Holder
from tessera.store.keys import Key, Terms

SECRET = b"s" * 32
SEAL = KeyHasher(SECRET)
OWN = "sk-tessera-" + "o" * 40
FRESH_S = 30.0

pytestmark = pytest.mark.anyio


@dataclass
class Shelf:
    """A `KeyStore`."""

    holders: dict[bytes, Holder] = field(default_factory=dict)
    asked: list[bytes] = field(default_factory=list)
    touched: list[Mapping[str, float]] = field(default_factory=list)
    is_down: bool = False
    failure: Exception = field(default_factory=lambda: StoreUnavailable("down"))
    opened: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.opened.set()

    def find(self, digest: bytes, former: bytes | None = None) -> Holder | None:
        self.asked.append(digest)
        assert self.opened.wait(60)
        if self.is_down:
            raise self.failure
        return self.holders.get(digest)

    def touch(self, used: Mapping[str, float]) -> None:
        self.touched.append(used)
        if self.is_down:
            raise self.failure

    def put(self, tier: str = "lite", account: str = "acc_1", **terms: Any) -> str:
        """Adds a new key."""
        secret = generate_key()
        digest = SEAL.digest(secret)
        key = Key(f"key_{len(self.holders)}", account, secret[-4:], Terms("dev", **terms), 1.0)
        self.holders[digest] = Holder(digest, key, Account(account, "acme", tier, 1.0, None))
        return secret

    def change(self, secret: str, *, tier: str | None = None, **changes: object) -> None:
        digest = SEAL.digest(secret)
        holder = self.holders[digest]
        account = replace(holder.account, tier=tier or holder.account.tier)
        if "disabled_s" in changes:
            account = replace(account, disabled_s=changes.pop("disabled_s"))
        self.holders[digest] = replace(holder, key=replace(holder.key, **changes), account=account)


@dataclass
class Clock:
    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def keys(shelf: Shelf, clock: Clock, metrics: Metrics) -> AsyncIterator[StoredKeys]:
    made = StoredKeys(
        Keys([OWN], SECRET), SEAL, shelf, Tiers(), fresh_s=FRESH_S, metrics=metrics, clock=clock
    )
    yield made
    await made.aclose()


def header(secret: str) -> str:
    return f"Bearer {secret}"


async def settle(shelf: Shelf, n_asked: int) -> None:
    """Waits until the store was asked so often, and its answers have arrived."""
    while len(shelf.asked) < n_asked:  # noqa: ASYNC110 asked in another thread
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.02)


async def test_a_key_is_its_account_with_its_tier(keys: StoredKeys, shelf: Shelf) -> None:
    secret = shelf.put("pro", models=("a", "b"))
    found = await keys.identify(header(secret))
    assert (found.account, found.key_id, found.last4) == ("acc_1", "key_0", secret[-4:])
    assert (found.tier.name, found.rate, found.caller.priority) == ("pro", Rate(200, 400), 2)
    assert found.models == {"a", "b"}


async def test_salts_are_those_of_the_account_in_every_process(keys: StoredKeys, shelf: Shelf) -> None:
    first, second, other = shelf.put(), shelf.put(), shelf.put(account="acc_2")
    salts = [(await keys.identify(header(secret))).caller.cache_salt for secret in (first, second, other)]
    assert salts[0] == salts[1] == KeyHasher(SECRET).salt("acc_1") != salts[2]


async def test_the_operators_key_needs_no_store(keys: StoredKeys, shelf: Shelf) -> None:
    shelf.is_down = True
    assert (await keys.identify(header(OWN))).account == "operator"
    assert shelf.asked == []


@pytest.mark.parametrize(
    "sent",
    [
        "' OR '1'='1",
        "'OR'1'='1'--",
        "x" * 10_240,
        "sk-tessera-" + "a" * 10_240,
        "sk-tessera-" + "a" * 39,
        "sk-tessera-" + "a" * 41,
        "sk-tessera-" + "a" * 39 + "'",
        "sk-tessera-" + "é" * 40,
        "sk-tessera-" + "a" * 40 + "\n",
        "sk-other-" + "a" * 40,
    ],
)
async def test_what_cannot_be_a_key_never_reaches_the_store(
    keys: StoredKeys, shelf: Shelf, sent: str
) -> None:
    with pytest.raises(InvalidApiKey, match=r"^Incorrect API key provided"):
        await keys.identify(header(sent))
    assert shelf.asked == []


async def test_no_key_is_an_authentication_error(keys: StoredKeys, shelf: Shelf) -> None:
    with pytest.raises(AuthenticationError) as caught:
        await keys.identify(None)
    assert type(caught.value) is AuthenticationError
    assert shelf.asked == []


async def test_it_is_asked_once_while_the_answer_is_fresh(
    keys: StoredKeys, shelf: Shelf, clock: Clock
) -> None:
    secret = shelf.put()
    for _ in range(3):
        await keys.identify(header(secret))
        clock.now_s += 4.9
    assert len(shelf.asked) == 1


async def test_a_key_in_use_is_read_again_and_nobody_waits(
    keys: StoredKeys, shelf: Shelf, clock: Clock
) -> None:
    secret = shelf.put()
    await keys.identify(header(secret))
    shelf.change(secret, tier="scale")
    clock.now_s += 16
    shelf.opened.clear()
    assert (await keys.identify(header(secret))).tier.name == "lite"
    shelf.opened.set()
    await settle(shelf, 2)
    assert (await keys.identify(header(secret))).tier.name == "scale"


CHANGES = [
    ({"revoked_s": 5.0}, "revoked"),
    ({"disabled_s": 5.0}, "disabled"),
]


@pytest.mark.parametrize(("change", "said"), CHANGES, ids=[said for _, said in CHANGES])
async def test_what_ends_a_key_acts_within_half_a_minute_and_says_so(
    keys: StoredKeys, shelf: Shelf, clock: Clock, change: dict[str, Any], said: str
) -> None:
    secret = shelf.put()
    await keys.identify(header(secret))
    shelf.change(secret, **change)
    clock.now_s += FRESH_S
    with pytest.raises(InvalidApiKey, match=f"^Incorrect API key provided.*{said}") as caught:
        await keys.identify(header(secret))
    assert secret not in caught.value.message


async def test_an_expired_key_ends_at_once(
    keys: StoredKeys, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    expires_s = time.time() + 3600
    secret = shelf.put(expires_s=expires_s)
    await keys.identify(header(secret))
    monkeypatch.setattr(time, "time", lambda: expires_s)
    with pytest.raises(InvalidApiKey, match="expired"):
        await keys.identify(header(secret))


async def test_a_burst_of_its_own_ends_with_its_date(keys: StoredKeys, shelf: Shelf) -> None:
    now, later = shelf.put(burst_rpm=90, burst_until_s=time.time() + 3600), shelf.put()
    shelf.change(later, terms=Terms("dev", burst_rpm=90, burst_until_s=time.time() - 1))
    assert (await keys.identify(header(now))).rate == Rate(50, 90)
    assert (await keys.identify(header(later))).rate == Rate(50, 100)


async def test_a_tier_that_is_not_configured_is_a_refusal(keys: StoredKeys, shelf: Shelf) -> None:
    with pytest.raises(PermissionDenied, match="gold"):
        await keys.identify(header(shelf.put("gold")))


async def test_an_unknown_key_is_asked_for_once_in_five_seconds(
    keys: StoredKeys, shelf: Shelf, clock: Clock
) -> None:
    secret = generate_key()
    for _ in range(3):
        with pytest.raises(InvalidApiKey):
            await keys.identify(header(secret))
    assert len(shelf.asked) == 1
    digest = SEAL.digest(secret)
    key = Key("k", "a", secret[-4:], Terms("new"), 1.0)
    shelf.holders[digest] = Holder(digest, key, Account("a", "acme", "lite", 1.0, None))
    clock.now_s += stored_keys.ABSENT_S
    assert (await keys.identify(header(secret))).key_id == "k"


async def test_guesses_are_forgotten(keys: StoredKeys, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_keys, "MAX_ABSENT", 8)
    first = generate_key()
    for secret in [first, *(generate_key() for _ in range(8)), first]:
        with pytest.raises(InvalidApiKey):
            await keys.identify(header(secret))
    assert len(shelf.asked) == 10


async def test_many_who_want_the_same_are_one_question(keys: StoredKeys, shelf: Shelf) -> None:
    secret = shelf.put()
    shelf.opened.clear()
    waiting = [asyncio.create_task(keys.identify(header(secret))) for _ in range(50)]
    await settle(shelf, 1)
    waiting[0].cancel()
    shelf.opened.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert {identity.account for identity in found[1:] if not isinstance(identity, BaseException)} == {
        "acc_1"
    }
    assert len(shelf.asked) == 1


@pytest.mark.parametrize("failure", [StoreUnavailable("down"), KeyError("models")], ids=["outage", "mistake"])
async def test_while_the_store_is_down_what_it_knew_works_and_nothing_else_is_judged(
    keys: StoredKeys, shelf: Shelf, clock: Clock, metrics: Metrics, failure: Exception
) -> None:
    shelf.failure = failure
    known, unknown = shelf.put(), shelf.put()
    await keys.identify(header(known))
    shelf.is_down = True
    clock.now_s += 3500
    for n_times in (1, 2, 3):
        assert (await keys.identify(header(known))).account == "acc_1"
        assert metrics.registry.get_sample_value("tessera_keys_stale_total") == n_times
        for secret in (unknown, generate_key()):
            with pytest.raises(StoreUnavailable):
                await keys.identify(header(secret))
        clock.now_s += 10
    clock.now_s += 100
    with pytest.raises(StoreUnavailable):
        await keys.identify(header(known))


async def test_it_recovers_by_itself(keys: StoredKeys, shelf: Shelf, clock: Clock) -> None:
    known, unknown = shelf.put(), shelf.put()
    await keys.identify(header(known))
    shelf.is_down = True
    clock.now_s += 40
    with pytest.raises(StoreUnavailable):
        await keys.identify(header(unknown))
    shelf.change(known, tier="pro")
    shelf.is_down = False
    clock.now_s += stored_keys.PAUSE_S
    assert (await keys.identify(header(unknown))).account == "acc_1"
    assert (await keys.identify(header(known))).tier.name == "pro"


async def test_a_store_that_is_down_is_left_alone_for_a_while(
    keys: StoredKeys, shelf: Shelf, clock: Clock
) -> None:
    shelf.is_down = True
    for _ in range(5):
        with pytest.raises(StoreUnavailable):
            await keys.identify(header(generate_key()))
    assert len(shelf.asked) == 1


async def test_while_a_store_does_not_answer_known_keys_do_not_wait(
    keys: StoredKeys, shelf: Shelf, clock: Clock
) -> None:
    known = shelf.put()
    await keys.identify(header(known))
    shelf.is_down = True
    clock.now_s += 40
    await keys.identify(header(known))
    clock.now_s += 2
    shelf.opened.clear()
    assert (await keys.identify(header(known))).account == "acc_1"
    shelf.opened.set()


async def test_questions_are_bounded(keys: StoredKeys, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_keys, "MAX_ASKING", 4)
    shelf.opened.clear()
    asking = [asyncio.create_task(keys.identify(header(generate_key()))) for _ in range(4)]
    await settle(shelf, 4)
    with pytest.raises(StoreUnavailable):
        await keys.identify(header(generate_key()))
    shelf.opened.set()
    failed = await asyncio.gather(*asking, return_exceptions=True)
    assert all(isinstance(error, InvalidApiKey) for error in failed)


async def test_a_flood_of_unknown_keys_does_not_hide_that_one_was_revoked(
    keys: StoredKeys, shelf: Shelf, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_keys, "MAX_ASKING", 4)
    secret = shelf.put()
    await keys.identify(header(secret))
    shelf.change(secret, revoked_s=1.0)
    clock.now_s += 60
    shelf.opened.clear()
    flood = [asyncio.create_task(keys.identify(header(generate_key()))) for _ in range(8)]
    await settle(shelf, 5)
    judged = asyncio.create_task(keys.identify(header(secret)))
    await asyncio.sleep(0)
    shelf.opened.set()
    with pytest.raises(InvalidApiKey, match="was revoked"):
        await judged
    await asyncio.gather(*flood, return_exceptions=True)


async def test_use_is_noted_together_and_a_failure_hurts_nobody(shelf: Shelf) -> None:
    shelf.failure = KeyError("id")
    keys = StoredKeys(Keys(), SEAL, shelf, Tiers(), fresh_s=FRESH_S, noting_s=1.0)
    first, second = shelf.put(), shelf.put()
    for secret in (first, second, first):
        await keys.identify(header(secret))
    await until(lambda: bool(shelf.touched))
    assert [set(used) for used in shelf.touched] == [{"key_0", "key_1"}]
    shelf.is_down = True
    await keys.identify(header(first))
    await keys.aclose()
    assert [set(used) for used in shelf.touched[1:]] == [{"key_0"}]


async def test_a_store_that_hangs_is_not_waited_for(
    keys: StoredKeys, shelf: Shelf, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    used, unused = shelf.put(), shelf.put()
    await keys.identify(header(used))
    shelf.opened.clear()
    clock.now_s += FRESH_S
    with monkeypatch.context() as patch:
        patch.setattr(stored_keys, "ANSWER_S", 0.05)
        async with asyncio.timeout(60):
            assert (await keys.identify(header(used))).key_id == "key_0"
            clock.now_s += 2 * stored_keys.PAUSE_S
            for _ in range(8):
                with pytest.raises(StoreUnavailable):
                    await keys.identify(header(unused))
    shelf.opened.set()
    clock.now_s += 2 * stored_keys.PAUSE_S
    assert (await keys.identify(header(unused))).key_id == "key_1"
