import pytest

from tessera.core.generation import Grammar
from tessera.engine.batch.constraint import BUDGET_PER_MASK_S, BUDGET_S, KEPT_BYTES, Effort, Grammars
from tessera.errors import GrammarFailed, GrammarTooSlow
from tessera.grammars.bytewise import ByteTokenizer

END, SIZE = 256, 300
TOKENIZER = ByteTokenizer(SIZE, {"<|im_end|>": END})


@pytest.fixture(scope="module")
def grammars() -> Grammars:
    return Grammars(TOKENIZER, [END], SIZE)


@pytest.mark.parametrize(
    "lark", ["", "start: nothing", 'start: %json {"type": "nope"}', "start: <[5000]>", "\ud800"]
)
def test_what_does_not_compile_fails_alone(lark: str, grammars: Grammars) -> None:
    failing, sound = grammars.constrain(Grammar(lark)), grammars.constrain(Grammar('start: "ab"'))
    with pytest.raises(GrammarFailed):
        failing.result()
    assert sound.result().forced() == [*b"ab"]


def test_the_compiled_are_kept_but_not_without_end(grammars: Grammars) -> None:
    comment = "// " + "x" * (KEPT_BYTES // 4)
    for i in range(8):
        assert grammars.constrain(Grammar(f'start: "{i}"\n{comment}\n')).result().forced() == [ord(str(i))]
    assert sum(map(len, grammars._kept)) <= KEPT_BYTES
    again = grammars.constrain(Grammar(f'start: "7"\n{comment}\n')).result()
    assert again.forced() == [ord("7")]


def test_without_a_token_that_ends_there_is_no_following() -> None:
    with pytest.raises(GrammarFailed):
        Grammars(TOKENIZER, [], SIZE).constrain(Grammar('start: "a"')).result()


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
