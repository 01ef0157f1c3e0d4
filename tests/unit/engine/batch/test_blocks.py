"""The pool against a plain model of it: what is held is never handed out, what is kept can be found."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tessera.engine.batch.blocks import BLOCK_TOKENS, BlockPool, block_key, root_key

N_BLOCKS = 6


class Pool(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.pool = BlockPool(N_BLOCKS)
        self.held: list[int] = []  # one entry per holder
        self.keys: dict[int, bytes] = {}
        self.n_keys = 0

    @rule(count=st.integers(0, N_BLOCKS + 1))
    def take(self, count: int) -> None:
        blocks = self.pool.take(count)
        if blocks is None:
            assert count > N_BLOCKS - len(set(self.held))
            return
        assert len(blocks) == count
        assert not set(blocks) & set(self.held)
        self.held += blocks
        for block in blocks:
            self.keys.pop(block, None)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def publish(self, data: st.DataObject) -> None:
        block = data.draw(st.sampled_from(self.held))
        if block not in self.keys:
            self.n_keys += 1
            self.keys[block] = str(self.n_keys).encode()
            self.pool.publish(block, self.keys[block])

    @precondition(lambda self: self.keys)
    @rule(data=st.data())
    def find(self, data: st.DataObject) -> None:
        block, key = data.draw(st.sampled_from(sorted(self.keys.items())))
        assert self.pool.find(key) == block
        self.held.append(block)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        block = data.draw(st.sampled_from(self.held))
        self.held.remove(block)
        self.pool.release([block])

    @invariant()
    def counts_agree(self) -> None:
        assert self.pool.n_held == len(set(self.held))
        assert self.pool.n_kept == len(set(self.keys) - set(self.held))


Pool.TestCase.settings = settings(max_examples=40, stateful_step_count=30)
TestPool = Pool.TestCase


def test_key_depends_on_salt_and_on_everything_before() -> None:
    block = range(BLOCK_TOKENS)
    one, two = block_key(root_key(b"a"), block), block_key(root_key(b"b"), block)
    assert one != two
    assert block_key(one, block) != one
    assert block_key(root_key(b"a"), block) == one


def test_first_block_of_a_key_stays_the_findable_one() -> None:
    pool = BlockPool(2)
    first, second = pool.take(2) or []
    pool.publish(first, b"key")
    pool.publish(second, b"key")
    pool.release([first, second])
    assert pool.find(b"key") == first
    assert (pool.n_held, pool.n_kept) == (1, 0)


def test_reproducible_blocks_take_the_place_of_others_and_not_the_other_way_round() -> None:
    pool = BlockPool(4)
    plain, better, late, held = pool.take(4) or []
    pool.publish(plain, b"key")
    pool.release([plain])
    assert pool.find(b"key", reproducible=True) is None
    assert (pool.n_kept, pool.n_available) == (1, 1)
    pool.publish(better, b"key", reproducible=True)
    assert (pool.n_kept, pool.n_available) == (0, 1), "what nobody can find is free"
    pool.publish(late, b"key")
    pool.publish(held, b"other")
    for wanted in (True, False):
        assert pool.find(b"key", reproducible=wanted) == better
        pool.release([better])
    pool.release([better, late])
    assert (pool.n_held, pool.n_kept, pool.n_available) == (1, 1, 3)


def test_a_block_that_is_taken_again_is_not_reproducible_any_more() -> None:
    pool = BlockPool(1)
    (block,) = pool.take(1) or []
    pool.publish(block, b"one", reproducible=True)
    pool.release([block])
    assert pool.take(1) == [block]
    pool.publish(block, b"two")
    assert not pool.is_reproducible(block)


def test_the_memory_of_blocks_is_used_block_by_block_and_counted_once() -> None:
    pool = BlockPool(8)
    for n_taken, n_touched in ((1, 1), (3, 3), (2, 3), (8, 8), (1, 8)):
        blocks = pool.take(n_taken) or []
        assert pool.n_touched == n_touched
        pool.release(blocks)


def test_least_recently_released_block_is_reused_first() -> None:
    pool = BlockPool(3)
    blocks = pool.take(3) or []
    for block in blocks:
        pool.publish(block, bytes([block]))
    pool.release([blocks[1]])
    pool.release([blocks[0]])
    assert pool.take(1) == [blocks[1]]
    assert pool.find(bytes([blocks[1]])) is None
    assert pool.find(bytes([blocks[0]])) == blocks[0]


def test_tenants_with_as_much_share_what_is_kept() -> None:
    pool = BlockPool(12)
    for number in range(100):
        for owner in (b"a", b"b", b"c"):
            (block,) = pool.take(1) or []
            pool.publish(block, b"%b%d" % (owner, number), owner)
            pool.release([block])
    kept = [
        sum(pool.find(b"%b%d" % (owner, n)) is not None for n in range(100)) for owner in (b"a", b"b", b"c")
    ]
    assert sum(kept) == 12
    assert min(kept) >= 3
