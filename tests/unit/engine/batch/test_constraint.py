import pytest

from tessera.core.generation import Grammar
from tessera.engine.batch.constraint import BUDGET_PER_MASK_S, BUDGET_S, WORN_S, Effort, GrammarCompiler
from tessera.errors import GrammarFailed, GrammarTooSlow
from tessera.grammars.bytewise import ByteTokenizer

END, SIZE = 256, 300
TOKENIZER = ByteTokenizer(SIZE, {"<|im_end|>": END})


@pytest.fixture(scope="module")
def grammars() -> GrammarCompiler:
    return GrammarCompiler(TOKENIZER, [END], SIZE)


@pytest.mark.parametrize(
    "lark", ["", "start: nothing", 'start: %json {"type": "nope"}', "start: <[5000]>", "\ud800"]
)
def test_what_does_not_compile_fails_alone(lark: str, grammars: GrammarCompiler) -> None:
    failing, sound = grammars.constrain(Grammar(lark)), grammars.constrain(Grammar('start: "ab"'))
    with pytest.raises(GrammarFailed):
        failing.result()
    assert sound.result().forced() == [*b"ab"]


def numbered(i: int, n_text: int = 0) -> Grammar:
    return Grammar(f'start: "{i:04}"\n// {"x" * n_text}\n')


def test_the_compiled_are_kept_but_not_without_end() -> None:
    most_bytes = 2**20
    grammars = GrammarCompiler(TOKENIZER, [END], SIZE, most_bytes=most_bytes)
    n_kept: list[int] = []
    follower = grammars.constrain(numbered(0)).result()
    for i in range(400):
        follower = grammars.constrain(numbered(i)).result()
        assert follower.forced() == [*b"%04d" % i]
        follower.compiled.wear(0.002 * (i % 3))
        assert grammars.kept_bytes <= most_bytes + follower.compiled.n_bytes
        n_kept.append(grammars.n_kept)
    assert 1 < max(n_kept) < 300
    last = grammars.constrain(numbered(399)).result()
    assert last.compiled is follower.compiled
    assert grammars.constrain(numbered(0)).result().forced() == [*b"0000"]


@pytest.mark.parametrize("n_text", [10, 2**14])
def test_one_that_is_too_large_by_itself_is_followed_and_not_kept(n_text: int) -> None:
    grammars = GrammarCompiler(TOKENIZER, [END], SIZE, most_bytes=2**20)
    follower = grammars.constrain(numbered(1, n_text)).result()
    assert follower.forced() == [*b"0001"]
    assert grammars.n_kept == (n_text == 10)


def test_what_is_worn_by_its_followers_is_compiled_anew_for_the_next(grammars: GrammarCompiler) -> None:
    first = grammars.constrain(numbered(7)).result()
    second = grammars.constrain(numbered(7)).result()
    assert second.compiled is first.compiled, "they share its automata"
    for follower in (first, second):
        follower.compiled.wear(WORN_S * 0.6)
    third = grammars.constrain(numbered(7)).result()
    assert third.compiled is not first.compiled
    assert not third.compiled.is_worn
    assert grammars.constrain(numbered(7)).result().compiled is third.compiled


def test_accounts_share_no_compiled_grammar(grammars: GrammarCompiler) -> None:
    """Else one could tell from the time what another one has asked for, and would wait for its masks."""
    compiled = [grammars.constrain(numbered(9), account).result().compiled for account in (b"1", b"2", b"1")]
    assert compiled[0] is compiled[2]
    assert compiled[0] is not compiled[1]


def test_an_account_that_floods_evicts_its_own() -> None:
    grammars = GrammarCompiler(TOKENIZER, [END], SIZE, most_bytes=2**20)
    resident = grammars.constrain(numbered(0), b"resident").result().compiled
    for i in range(400):
        grammars.constrain(numbered(i, 100), b"flood").result()
    assert grammars.kept_bytes <= 2**20
    assert grammars.n_kept < 400
    assert grammars.constrain(numbered(0), b"resident").result().compiled is resident


def test_dropped_grammars_are_followed_on(grammars: GrammarCompiler) -> None:
    follower = grammars.constrain(numbered(8)).result()
    grammars.drop()
    assert (grammars.n_kept, grammars.kept_bytes) == (0, 0)
    assert follower.forced() == [*b"0008"]


def test_without_a_token_that_ends_there_is_no_following() -> None:
    with pytest.raises(GrammarFailed):
        GrammarCompiler(TOKENIZER, [], SIZE).constrain(Grammar('start: "a"')).result()


def test_a_request_that_spends_its_budget_ends_and_no_usual_one_does() -> None:
    usual, dear = Effort(), Effort()
    for _ in range(10_000):
        usual.add(BUDGET_PER_MASK_S)
    usual.add(BUDGET_S / 2)
    for _ in range(60):
        dear.add(0.04)
    with pytest.raises(GrammarTooSlow, match="processor time"):
        dear.add(1.0)


@pytest.mark.parametrize(("mask_s", "is_slow"), [(0.0005, False), (0.04, True)])
def test_only_dear_masks_make_a_request_slow(mask_s: float, is_slow: bool) -> None:
    effort = Effort()
    assert not effort.is_slow
    for _ in range(10):
        effort.add(mask_s)
    assert effort.is_slow is is_slow
