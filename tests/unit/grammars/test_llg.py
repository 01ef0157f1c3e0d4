from llguidance import LLMatcher

from tessera.grammars.bytewise import ByteTokenizer
from tessera.grammars.llg import LIMITS, llg_tokenizer


class Composing(ByteTokenizer):
    """A tokenizer that changes what it encodes, as those do that compose characters."""

    def encode(self, text: str) -> list[int]:
        return super().encode(text.replace("e\u0301", "\u00e9"))


def test_the_vocabulary_is_padded_and_control_tokens_are_no_text() -> None:
    tokenizer = llg_tokenizer(ByteTokenizer(258, {"<end>": 256, "<call>": 257}), [256], 300)
    assert tokenizer.vocab_size == 300
    assert tokenizer.is_special_token(257)
    matcher = LLMatcher(tokenizer, 'start: /(?s:.*)/ <[257]> "x"', limits=LIMITS)
    assert not matcher.validate_tokens([299])
    assert matcher.consume_tokens([*b"<call>", 257, ord("x")])
    assert matcher.is_accepting()
    mask = matcher.compute_bitmask()
    assert [id for id in range(300) if mask[id // 8] >> id % 8 & 1] == [256]


def test_forced_tokens_spell_exactly_what_is_forced() -> None:
    matcher = LLMatcher(llg_tokenizer(Composing(257, {"<end>": 256}), [256]), 'start: "e\u0301tude!" /[0-9]/')
    assert bytes(matcher.compute_ff_tokens()).decode().startswith("e\u0301")


def test_text_that_the_vocabulary_cannot_spell_is_not_forced() -> None:
    class Ascii(ByteTokenizer):
        def token_bytes(self, token_id: int) -> bytes:
            return super().token_bytes(token_id) if token_id < 128 or token_id == 256 else b""

        def encode(self, text: str) -> list[int]:
            return []

    matcher = LLMatcher(llg_tokenizer(Ascii(257, {"<end>": 256}), [256]), 'start: "abé" /[0-9]/')
    assert matcher.compute_ff_tokens() in ([], [*b"a"], [*b"ab"])
