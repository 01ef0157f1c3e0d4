from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.core.generation import TokenLogprob
from tessera.parsing.matcher import Automaton, Matcher
from tessera.text.pieces import TextPiece

letters = st.text("ab<", max_size=40)
some_literals = st.lists(st.text("ab<", min_size=1, max_size=5), max_size=4)


def scan_all(literals: list[str], pieces: list[str]) -> tuple[list[tuple[str, str]], str]:
    """The literals found, each with the text before it, and the text after the last one."""
    matcher = Matcher(Automaton(literals))
    found: list[tuple[str, str]] = []
    before = ""
    for piece in pieces:
        while piece:
            text, tag, at = matcher.scan(TextPiece(piece))
            piece = piece[at:]
            before += "".join(each.text for each in text)
            if tag:
                assert "".join(each.text for each in tag.pieces) == tag.text
                found.append((before, tag.text))
                before = ""
    return found, before + "".join(each.text for each in matcher.flush())


def reference(literals: list[str], text: str) -> tuple[list[tuple[str, str]], str]:
    """Finds the literal that ends first, the longest of those, and goes on after it."""
    found: list[tuple[str, str]] = []
    start = 0
    for end in range(1, len(text) + 1):
        ending = [each for each in literals if text[start:end].endswith(each)]
        if ending:
            literal = max(ending, key=len)
            found.append((text[start : end - len(literal)], literal))
            start = end
    return found, text[start:]


@given(some_literals, letters, st.sets(st.integers(1, 39)))
def test_finds_what_a_search_of_the_whole_finds(literals: list[str], text: str, cuts: set[int]) -> None:
    ends = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    pieces = [text[a:b] for a, b in pairwise(ends)]
    assert scan_all(literals, pieces) == reference(literals, text)


@given(some_literals, letters)
def test_holds_exactly_what_may_become_a_literal(literals: list[str], text: str) -> None:
    matcher = Matcher(Automaton(literals))
    given_out = ""
    for n, character in enumerate(text, 1):
        pieces, tag, _ = matcher.scan(TextPiece(character))
        if tag:
            return
        given_out += "".join(piece.text for piece in pieces)
        suffixes = [text[i:n] for i in range(n + 1)]
        held = next(each for each in suffixes if any(lit.startswith(each) for lit in literals) or not each)
        assert given_out + held == text[:n]


def test_logprobs_stay_with_the_end_of_their_token() -> None:
    one, two, three = (TokenLogprob(i, -1.0) for i in range(3))
    matcher = Matcher(Automaton(["STOP"]))
    assert matcher.scan(TextPiece("ab S", (one,))) == ([TextPiece("ab ")], None, 4)
    assert matcher.scan(TextPiece("T", (two,))) == ([], None, 1)
    before, tag, _ = matcher.scan(TextPiece("x", (three,)))
    assert before == [TextPiece("S", (one,)), TextPiece("T", (two,)), TextPiece("x", (three,))]
    assert tag is None


@pytest.mark.parametrize("literals", [["a" * 200 + "b"], ["ab" * 100 + "c", "b" * 50], ["</parameter>"]])
def test_steps_back_are_paid_for_by_steps_forward(literals: list[str]) -> None:
    """Linear time: over the whole text, no more steps back than characters."""

    class Counting(list[int]):
        n_read = 0

        def __getitem__(self, at: int) -> int:  # type: ignore[override] - no slices here
            self.n_read += 1
            return super().__getitem__(at)

    automaton = Automaton(literals)
    steps_back = automaton._shorter = Counting(automaton._shorter)
    matcher = Matcher(automaton)
    text = literals[0][:-1] * 50
    for character in text:
        matcher.scan(TextPiece(character))
    assert 0 < steps_back.n_read <= len(text)
