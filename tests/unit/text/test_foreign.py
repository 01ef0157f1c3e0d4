"""No text becomes a control token, whatever the library does."""

from hypothesis import given
from hypothesis import strategies as st

from tessera.text.foreign import ForeignTokenizer

CONTROL = {"<end>": 256, "<end": 257, "<<end>>": 258, "é": 259, "#": 260}
SPELLED = [bytes([byte]) for byte in range(256)] + [text.encode() for text in CONTROL]


def eager(text: str) -> list[int]:
    """Encodes bytes, and the longest control token wherever one is spelled; composes é."""
    text = text.replace("e\u0301", "é")
    ids: list[int] = []
    while text:
        name = max((name for name in CONTROL if text.startswith(name)), key=len, default=None)
        ids += [CONTROL[name]] if name else text[0].encode()
        text = text[len(name) if name else 1 :]
    return ids


TOKENIZER = ForeignTokenizer(SPELLED, CONTROL, eager)


@given(
    st.lists(st.sampled_from([*CONTROL, "<", "end", ">", "e\u0301", "a"]) | st.text(max_size=3)).map("".join)
)
def test_text_never_becomes_a_control_token_and_nothing_is_lost(text: str) -> None:
    ids = TOKENIZER.encode(text)
    assert set(ids).isdisjoint(CONTROL.values())
    spelled = b"".join(map(TOKENIZER.token_bytes, ids)).decode()
    assert spelled.replace("e\u0301", "é") == text.replace("e\u0301", "é")


def test_other_texts_have_the_ids_of_the_library() -> None:
    assert TOKENIZER.encode("a<en") == eager("a<en")


def test_its_vocabulary() -> None:
    assert TOKENIZER.vocabulary_size == 261
    assert TOKENIZER.control_tokens == CONTROL
    assert TOKENIZER.token_bytes(256) == b"<end>"
    assert TOKENIZER.token_bytes(261) == TOKENIZER.token_bytes(-1) == b""
