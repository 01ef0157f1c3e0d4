"""The detokenizer over a vocabulary of single bytes, some pairs, and control tokens."""

from dataclasses import dataclass
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.core.generation import TokenLogprob
from tessera.text.detokenizer import Detokenizer, control_texts
from tessera.text.pieces import ControlPiece, Piece, TextPiece

END = 1000


class Bytes:
    """A tokenizer: id b is the byte b, and ids from 2000 are the given strings of bytes."""

    vocabulary_size = 4000
    control_tokens = MappingProxyType({"<|end|>": END})

    def __init__(self, *longer: bytes) -> None:
        self._longer = longer

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def token_bytes(self, token_id: int) -> bytes:
        if token_id < 256:
            return bytes([token_id])
        return self._longer[token_id - 2000] if 2000 <= token_id < 2000 + len(self._longer) else b""


def decode(tokenizer: Bytes, ids: list[int], *, logprobs: bool = False) -> list[Piece]:
    detokenizer = Detokenizer(tokenizer)
    pieces: list[Piece] = []
    for id in ids:
        pieces += detokenizer.feed(id, TokenLogprob(id, -float(id)) if logprobs else None)
    return [*pieces, *detokenizer.flush()]


def text_of(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


@st.composite
def cut_bytes(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> list[bytes]:
    spelled = draw(whole)
    cuts = sorted(draw(st.lists(st.integers(0, len(spelled)), max_size=12)))
    return [spelled[a:b] for a, b in zip([0, *cuts], [*cuts, len(spelled)], strict=True)]


@given(cut_bytes(st.text().map(str.encode)))
def test_text_survives_any_split_into_tokens(parts: list[bytes]) -> None:
    pieces = decode(Bytes(*parts), [2000 + i for i in range(len(parts))])
    assert text_of(pieces) == b"".join(parts).decode()


@given(cut_bytes(st.binary()))
def test_invalid_bytes_decode_as_they_would_at_once(parts: list[bytes]) -> None:
    pieces = decode(Bytes(*parts), [2000 + i for i in range(len(parts))])
    assert text_of(pieces) == b"".join(parts).decode(errors="replace")


@given(cut_bytes(st.binary()))
def test_every_logprob_of_a_spelling_token_travels_once_and_in_order(parts: list[bytes]) -> None:
    ids = [2000 + i for i, part in enumerate(parts) if part]
    pieces = decode(Bytes(*parts), ids, logprobs=True)
    assert [p.token_id for piece in pieces if isinstance(piece, TextPiece) for p in piece.logprobs] == ids


@dataclass(frozen=True)
class Case:
    id: str
    tokens: list[bytes | int]
    pieces: list[str]


EURO = "€".encode()
CASES = [
    Case("plain tokens pass at once", [b"ab", b" c"], ["ab", " c"]),
    Case("a character is held until whole", [b"a" + EURO[:1], EURO[1:2], EURO[2:] + b"b"], ["a", "€b"]),
    Case("invalid once certain, not before", [EURO[:2], b"x"], ["\ufffdx"]),
    Case("a lone continuation byte is invalid at once", [b"\x80", b"x"], ["\ufffd", "x"]),
    Case("a surrogate is invalid", [b"\xed", b"\xa0\x80", b"x"], ["\ufffd\ufffd\ufffd", "x"]),
    Case("a control token flushes", [EURO[:2], END, EURO], ["\ufffd", "<|end|>", "€"]),
    Case("the end flushes", [b"a", EURO[:1]], ["a", "\ufffd"]),
    Case("an unknown id spells nothing", [b"a", 3999, b"b"], ["a", "b"]),
    Case("an unknown id does not break a character", [EURO[:1], 3999, EURO[1:]], ["€"]),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_pieces(case: Case) -> None:
    longer = [part for part in case.tokens if isinstance(part, bytes)]
    ids = [part if isinstance(part, int) else 2000 + longer.index(part) for part in case.tokens]
    pieces = decode(Bytes(*longer), ids)
    assert [piece.text for piece in pieces] == case.pieces
    assert [piece for piece in pieces if isinstance(piece, ControlPiece)] == [
        ControlPiece(END, "<|end|>") for part in case.tokens if part == END
    ]


def test_a_logprob_travels_with_the_first_character_of_its_token() -> None:
    tokenizer = Bytes(b"a" + EURO[:1], EURO[1:], b"b")
    detokenizer = Detokenizer(tokenizer)
    first, second, third = (TokenLogprob(2000 + i, -1.0) for i in range(3))
    assert detokenizer.feed(2000, first) == (TextPiece("a", (first,)),)
    assert detokenizer.feed(2001, second) == (TextPiece("€", (second,)),)
    assert detokenizer.feed(2002, third) == (TextPiece("b", (third,)),)
    assert detokenizer.flush() == ()


def test_a_logprob_waits_for_a_character() -> None:
    detokenizer = Detokenizer(Bytes(EURO[:2], EURO[:1], EURO[1:]))
    first, second, third = (TokenLogprob(2000 + i, -1.0) for i in range(3))
    assert detokenizer.feed(2000, first) == ()
    assert detokenizer.feed(2001, second) == (TextPiece("\ufffd", (first,)),)
    assert detokenizer.feed(2002, third) == (TextPiece("€", (second, third)),)


def test_control_tokens_are_inverted_once_for_a_tokenizer() -> None:
    tokenizer = Bytes()
    assert control_texts(tokenizer) == {END: "<|end|>"}
    assert control_texts(tokenizer) is control_texts(tokenizer)
