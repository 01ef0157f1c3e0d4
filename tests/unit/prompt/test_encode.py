"""Segments to ids with the scripted tokenizer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.engine.scripted.engine import ScriptedTokenizer
from tessera.formats.base import Control, Plain, Segment, Tag
from tessera.prompt.encode import encode
from tessera.text.encoded import EncodedTexts

TOKENIZER = ScriptedTokenizer(words=("ab", "abc"), control=("<|im_start|>", "<|im_end|>", "<think>"))
ID = TOKENIZER.control_tokens


def test_adjacent_texts_are_encoded_as_one() -> None:
    assert encode([Plain("a"), Plain("b"), Plain("c")], TOKENIZER) == tuple(TOKENIZER.encode("abc"))


def test_a_control_token_parts_texts() -> None:
    ids = encode([Plain("a"), Control("<|im_end|>"), Plain("b")], TOKENIZER)
    assert ids == (ord("a"), ID["<|im_end|>"], ord("b"))


def test_a_tag_is_what_the_tokenizer_makes_of_it() -> None:
    ids = encode([Plain("a"), Tag("<think>"), Tag("</think>"), Plain("b")], TOKENIZER)
    assert ids == (ord("a"), ID["<think>"], *b"</think>b")


def test_a_format_that_does_not_fit_the_model_is_a_bug() -> None:
    with pytest.raises(KeyError):
        encode([Control("<|unknown|>")], TOKENIZER)


def test_what_is_known_is_not_encoded_again() -> None:
    known, turn = EncodedTexts(), [Plain("a"), Plain("b"), Control("<|im_end|>")]
    first = encode(turn, TOKENIZER, known)
    second = encode([*turn, Plain("c")], TOKENIZER, known)
    assert second == (*first, ord("c")) == encode([*turn, Plain("c")], TOKENIZER)


segments = st.lists(
    st.builds(Plain, st.text(max_size=5) | st.sampled_from(["<|im_end|>", "<think>"]))
    | st.builds(Tag, st.sampled_from(["<think>", "</think>"]))
    | st.builds(Control, st.sampled_from(["<|im_start|>", "<|im_end|>"]))
)


@given(segments)
def test_ids_spell_the_segments_and_only_control_segments_are_control_tokens(parts: list[Segment]) -> None:
    ids = encode(parts, TOKENIZER)
    text = "".join(part.token if isinstance(part, Control) else part.text for part in parts)
    assert b"".join(map(TOKENIZER.token_bytes, ids)).decode() == text
    named = [
        part.token if isinstance(part, Control) else part.text
        for part in parts
        if not isinstance(part, Plain)
    ]
    assert [id for id in ids if id in ID.values()] == [ID[name] for name in named if name in ID]
