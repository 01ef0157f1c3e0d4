"""What went wrong between the customers of one server: keys compared, caches shared."""

import asyncio
import hmac
import json
import random
from collections.abc import AsyncIterator
from contextlib import aclosing
from itertools import pairwise

import msgspec
import pytest
from tests.hosted import changed, private, tokenizer_of

from tessera.access.keys import AccountId, Keys
from tessera.core.chat import ChatRequest, JsonSchema
from tessera.core.generation import Prompt, Sampling
from tessera.engine.batch.blocks import BLOCK_TOKENS, BlockPool, block_key, root_key
from tessera.engine.host.frames import Start
from tessera.engine.host.private import PrivateEngine
from tessera.errors import InvalidApiKey
from tessera.formats.hermes import HERMES
from tessera.grammars.checker import GrammarCheck
from tessera.grammars.question import GrammarAnswer
from tessera.models.source import ModelSource
from tessera.processes.pool import ProcessPool

ONE, TWO = "sk-tessera-" + "1" * 40, "sk-tessera-" + "2" * 40


def tenants() -> Keys:
    keys = Keys()
    keys.add(ONE, AccountId("one"))
    keys.add(TWO, AccountId("two"))
    return keys


@pytest.mark.parametrize("key", [ONE, TWO, "sk-tessera-" + "3" * 40, ONE[:-1] + "x"])
def test_CVE_2025_59425_keys_are_compared_in_constant_time_known_or_not(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, compared = tenants(), list[tuple[bytes, bytes]]()
    compare = hmac.compare_digest

    def watched(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return compare(a, b)

    monkeypatch.setattr(hmac, "compare_digest", watched)
    if key in (ONE, TWO):
        keys.check(f"Bearer {key}")
    else:
        with pytest.raises(InvalidApiKey):
            keys.check(f"Bearer {key}")
    ((kept, sent),) = compared
    assert len(kept) == len(sent) >= 16
    assert key.encode() not in (kept, sent)


def test_CVE_2025_59425_keys_are_not_kept() -> None:
    keys = tenants()
    assert "1" * 40 not in repr(vars(keys))
    assert (b"1" * 40) not in repr(vars(keys)).encode()


def test_CVE_2025_25183_block_keys_depend_on_everything_before_and_on_nothing_guessable() -> None:
    chance = random.Random(2)
    seen: dict[bytes, tuple[bytes, tuple[int, ...]]] = {}
    for salt in (b"", b"a", b"b", b"ab", bytes(32)):
        for _ in range(200):
            parent, tokens = root_key(salt), tuple(chance.choices([0, 1, 2, 2**31 - 1], k=BLOCK_TOKENS * 3))
            for begin in range(0, len(tokens), BLOCK_TOKENS):
                parent = block_key(parent, tokens[begin : begin + BLOCK_TOKENS])
                assert len(parent) == 32
                assert seen.setdefault(parent, (salt, tokens[: begin + BLOCK_TOKENS])) == (
                    salt,
                    tokens[: begin + BLOCK_TOKENS],
                )


def test_CVE_2025_25183_no_integers_hash_alike() -> None:
    """Python's own `hash` has -1 and -2 alike, 0 and 2**61 - 1, and None the same in every process."""
    keys = [block_key(root_key(b"s"), [token] * BLOCK_TOKENS) for token in range(2000)]
    assert len(set(keys)) == 2000
    assert all(a != b for a, b in pairwise(keys))


@pytest.fixture
async def engine(openvino_start: Start) -> AsyncIterator[PrivateEngine]:
    engine = private(changed(openvino_start, step_tokens=256))
    await engine.start()
    yield engine
    await engine.aclose()


async def cached_tokens(engine: PrivateEngine, ids: tuple[int, ...], salt: bytes) -> int:
    sampling = Sampling(n=1, max_tokens=1, temperature=0.0)
    async with aclosing(engine.generate(Prompt(ids, None, salt), sampling)) as chunks:
        return max([chunk.cached_tokens async for chunk in chunks])


@pytest.mark.live
@pytest.mark.anyio
async def test_CVE_2025_46570_CVE_2026_9540_the_real_engine_shares_nothing_and_gives_everything_back(
    engine: PrivateEngine, model_folder: ModelSource
) -> None:
    """Two tenants, one prompt: neither finds what the other computed. And what is closed at any moment gives
    its blocks back.
    """
    keys = tenants()
    one, two = (keys.check(f"Bearer {key}").caller.cache_salt for key in (ONE, TWO))
    tokenizer = tokenizer_of(model_folder)
    ids = tuple(tokenizer.encode("The secret of the house is kept by its oldest door. " * 40))
    assert len(ids) > 300
    assert await cached_tokens(engine, ids, one) == 0
    assert await cached_tokens(engine, ids, two) == 0
    assert await cached_tokens(engine, ids, one) > 250
    assert await cached_tokens(engine, ids, two) > 250
    assert await cached_tokens(engine, ids, bytes(32)) == 0
    await leave_some_and_see_nothing_stays(engine)


async def leave_some_and_see_nothing_stays(engine: PrivateEngine) -> None:
    chance = random.Random(3)

    async def leave(i: int) -> None:
        ids = tuple(chance.randrange(1000, 20_000) for _ in range(chance.choice([1, 40, 200])))
        sampling = Sampling(n=chance.choice([1, 3]), max_tokens=20, temperature=1.0, seed=i)
        async with aclosing(engine.generate(Prompt(ids, None, b"s"), sampling)) as chunks:
            n = chance.randrange(4)
            if n:
                async for _ in chunks:
                    if not (n := n - 1):
                        break

    await asyncio.gather(*(leave(i) for i in range(24)))
    gauges: dict[str, int] = {}
    for _ in range(500):
        await cached_tokens(engine, (5, 6, 7), b"s")  # a step, after which the engine says how full it is
        gauges = {name: engine.gauges[name] for name in ("running", "waiting", "blocks_used")}
        if not any(gauges.values()):
            return
    raise AssertionError(gauges)


def test_special_tokens_typed_by_a_user_are_ordinary_text_to_the_real_tokenizer(
    model_folder: ModelSource,
) -> None:
    tokenizer = tokenizer_of(model_folder)
    control = set(tokenizer.control_tokens.values())
    assert len(control) > 2
    every = "".join(tokenizer.control_tokens)
    for text in (*tokenizer.control_tokens, every, json.dumps(every), f" {every}\n"):
        ids = tokenizer.encode(text)
        assert control.isdisjoint(ids)
        assert b"".join(map(tokenizer.token_bytes, ids)).decode() == text


def test_KV_flood_a_tenant_that_floods_evicts_its_own() -> None:
    pool = BlockPool(12)
    for number in range(4):
        (block,) = pool.take(1) or []
        pool.publish(block, b"resident%d" % number, b"resident")
        pool.release([block])
    for number in range(100):
        blocks = pool.take(2) or []
        for part, block in enumerate(blocks):
            pool.publish(block, b"flood%d-%d" % (number, part), b"flood")
        pool.release(blocks)
    assert all(pool.find(b"resident%d" % number) is not None for number in range(4))


class Asked(ProcessPool):
    """A pool that has an answer, and knows who has asked."""

    def __init__(self, answer: bytes) -> None:
        super().__init__("none", b"", purpose="nothing")
        self.accounts: list[bytes | None] = []
        self._said = answer

    async def ask(self, question: bytes, account: bytes | None = None) -> bytes:
        self.accounts.append(account)
        return self._said


@pytest.mark.anyio
async def test_no_account_learns_from_the_time_which_schemas_others_send() -> None:
    check = GrammarCheck({}, 256, HERMES.syntax)
    pool = check._grammars = Asked(msgspec.json.encode(GrammarAnswer(lark="start: /a/")))
    request = ChatRequest((), answer_format=JsonSchema("x", {"type": "object"}))
    for account in (b"one", b"one", b"two", b"one", b"two"):
        assert await check.grammar(request, account)
    assert pool.accounts == [b"one", b"two"]


@pytest.mark.anyio
async def test_an_account_that_floods_with_schemas_displaces_its_own() -> None:
    check = GrammarCheck({}, 256, HERMES.syntax)
    pool = check._grammars = Asked(msgspec.json.encode(GrammarAnswer(lark="x" * 100_000)))
    for number in range(100):
        if number % 20 == 0:
            resident = JsonSchema("x", {"title": "resident"})
            assert await check.grammar(ChatRequest((), answer_format=resident), b"resident")
        flood = JsonSchema("x", {"title": f"{number}"})
        assert await check.grammar(ChatRequest((), answer_format=flood), b"flood")
    assert pool.accounts.count(b"resident") == 1
    assert pool.accounts.count(b"flood") == 100
    assert check._kept_bytes.total() <= 4 * 2**20
