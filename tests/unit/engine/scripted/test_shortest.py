"""The rest is in `tests/conformance/schemas`: every kind of schema, and the property."""

import pytest

from tessera.engine.scripted.shortest import ShortestReplies
from tessera.errors import GenerationFailed

CONTROL = {"<|im_end|>": 256, "<tool_call>": 257}
REPLIES = ShortestReplies(CONTROL, 258)


def reply(lark: str, begun: str = "") -> str:
    """The part of `begun` that is played, and what follows it."""
    parts = [[id] for id in REPLIES.tokenizer.encode(begun)]
    n_fitting, rest = REPLIES.complete(lark, parts, whole=True)
    return begun[:n_fitting] + b"".join(map(REPLIES.tokenizer.token_bytes, rest)).decode()


@pytest.mark.parametrize(
    ("lark", "expected"),
    [
        ('start: "long" | "ab"\n', "ab"),
        ("start: /a{3,9}/\n", "aaa"),
        ('start: item ("," item)*\nitem: "x" | /[0-9]+y/\n', "x"),
    ],
)
def test_the_shortest_branch_is_taken(lark: str, expected: str) -> None:
    assert reply(lark) == expected


def test_a_script_is_played_as_far_as_it_fits() -> None:
    assert (
        reply('start: text "{" "}"\ntext[suffix="</think>"]: /(?s:.*)/\n', "hm</think>no") == "hm</think>{}"
    )


def test_control_tokens_are_part_of_replies() -> None:
    n_fitting, rest = REPLIES.complete('start: /a*/ <[257]> ("bcd" | "e")\n', [], whole=True)
    assert (n_fitting, rest) == (0, [257, ord("e")])


def test_a_grammar_without_replies_fails() -> None:
    with pytest.raises(GenerationFailed):
        reply("start: b\n")
