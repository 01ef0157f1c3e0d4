import numpy as np
import pytest

from tessera.core.generation import Grammar
from tessera.engine.openvino.constraint import KEPT_BYTES, Grammars, Masks
from tessera.errors import GenerationFailed
from tessera.text.bytewise import ByteTokenizer

END, SIZE = 256, 300
TOKENIZER = ByteTokenizer(SIZE, {"<|im_end|>": END})


@pytest.fixture(scope="module")
def grammars() -> Grammars:
    return Grammars(TOKENIZER, [END], SIZE)


def allowed(mask: np.ndarray) -> list[int]:
    return [id for id in range(mask.size * 32) if mask[id // 32] >> id % 32 & 1]


def test_masks_of_several_followers(grammars: Grammars) -> None:
    first = grammars.constrain(Grammar('start: "a" /[bc]/')).result()
    second = first.copy()
    assert second.takes(b"ab")
    assert not second.takes(b"ad")
    first.accept(ord("a"))
    masks = Masks(4, SIZE)
    assert [allowed(mask) for mask in masks.fill([first, second])] == [[*b"bc"], [*b"a"]]
    first.accept(ord("b"))
    assert [allowed(mask) for mask in masks.fill([second, first])] == [[*b"a"], [END]]
    assert masks.fill([]) == []


def test_a_failed_follower_allows_nothing_and_spoils_no_other(grammars: Grammars) -> None:
    failed = grammars.constrain(Grammar('start: "ab"')).result()
    sound = grammars.constrain(Grammar('start: "ab"')).result()
    with pytest.raises(GenerationFailed):
        failed.accept(ord("x"))
    assert [allowed(mask) for mask in Masks(2, SIZE).fill([failed, sound])] == [[], [*b"a"]]
    assert (failed.forced(), failed.takes(b"a"), sound.forced()) == ([], False, [*b"ab"])


@pytest.mark.parametrize(
    "lark", ["", "start: nothing", 'start: %json {"type": "nope"}', "start: <[5000]>", "\ud800"]
)
def test_what_does_not_compile_fails_alone(lark: str, grammars: Grammars) -> None:
    failing, sound = grammars.constrain(Grammar(lark)), grammars.constrain(Grammar('start: "ab"'))
    with pytest.raises(GenerationFailed):
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
    with pytest.raises(GenerationFailed):
        Grammars(TOKENIZER, [], SIZE).constrain(Grammar('start: "a"')).result()
