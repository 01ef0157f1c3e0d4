"""Encoded texts are remembered within bounds, and apart."""

from concurrent.futures import ThreadPoolExecutor

from hypothesis import given
from hypothesis import strategies as st

from tessera.text.encoded import EncodedTexts


class Encoder:
    """An encoder whose ids are code points. It records what it encodes."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, text: str) -> list[int]:
        self.asked.append(text)
        return [*map(ord, text)]


def test_a_text_is_encoded_once() -> None:
    encode, known = Encoder(), EncodedTexts()
    for _ in range(3):
        assert [*known.ids("añ𝄞", b"", encode)] == [97, 241, 119070]
    assert encode.asked == ["añ𝄞"]


def test_salts_are_apart() -> None:
    encode, known = Encoder(), EncodedTexts()
    for salt in (b"one", b"other", b"one"):
        known.ids("a", salt, encode)
    assert encode.asked == ["a", "a"]


def test_the_least_recently_used_goes_first() -> None:
    encode, known = Encoder(), EncodedTexts(max_bytes=800)  # three small entries
    for text in ("a", "b", "c", "a", "d", "a", "b"):
        known.ids(text, b"", encode)
    assert encode.asked == ["a", "b", "c", "d", "b"]


def test_what_is_larger_than_all_of_it_is_not_kept() -> None:
    encode, known = Encoder(), EncodedTexts(max_bytes=1_000)
    for _ in range(2):
        assert len(known.ids("x" * 300, b"", encode)) == 300
    assert len(encode.asked) == 2


@given(st.lists(st.tuples(st.text(max_size=3), st.sampled_from([b"", b"salt"])), max_size=30))
def test_ids_are_those_of_the_text(asked: list[tuple[str, bytes]]) -> None:
    known = EncodedTexts(max_bytes=1_000)
    for text, salt in asked:
        assert [*known.ids(text, salt, Encoder())] == [*map(ord, text)]


def test_many_threads() -> None:
    known, texts = EncodedTexts(max_bytes=2_000), [str(i % 13) for i in range(2_000)]
    with ThreadPoolExecutor(8) as threads:
        all_ids = threads.map(lambda text: [*known.ids(text, b"", Encoder())], texts)
        assert [*all_ids] == [[*map(ord, text)] for text in texts]
