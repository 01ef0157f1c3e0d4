import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
from llguidance import LLMatcher, LLTokenizer
from tests.qwen import QwenTokenizer

from tessera.grammars.bytewise import ByteTokenizer
from tessera.grammars.lark import json_value
from tessera.grammars.llg import LIMITS, llg_tokenizer
from tessera.schemas.check import check_schema
from tessera.schemas.references import AnySchema
from tessera.text.tokenizer import Tokenizer

CONTROL = {"<|im_end|>": 256, "<tool_call>": 257, "</tool_call>": 258, "<think>": 259, "</think>": 260}
_CLOSING = b'"}]\n<,'
_MARKUP = [
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "\n</parameter>\n",
    "</parameter>",
    "<parameter=n>\n",
    "</function>\n",
    "<function=order>\n",
    '"name": "order"',
]


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer, ours and llguidance's, and texts that random replies are likely to hold."""

    tokenizer: Tokenizer
    llg: LLTokenizer
    end_id: int
    markup: Sequence[str] = tuple(_MARKUP)

    def follow(self, lark: str) -> LLMatcher:
        matcher = LLMatcher(self.llg, LLMatcher.grammar_from_lark(lark), log_level=0, limits=LIMITS)
        assert not matcher.is_error(), matcher.get_error()
        return matcher

    def accepts(self, lark: str, ids: Sequence[int]) -> bool:
        """Whether the grammar accepts the tokens, and the end after them."""
        matcher = self.follow(lark)
        return all(matcher.try_consume_tokens([id]) == 1 for id in ids) and matcher.is_accepting()

    def walk(self, lark: str, seed: int, steps: int = 600) -> list[int] | None:
        """A random reply that the grammar allows; None if it has no end after so many steps."""
        matcher, choose = self.follow(lark), random.Random(seed)
        ids: list[int] = []
        for _ in range(steps):
            if choose.random() < 0.1:
                said = self.tokenizer.encode(choose.choice(self.markup))
                said = said[: matcher.validate_tokens(said)] if choose.random() < 0.5 else said
                if said and matcher.validate_tokens(said) == len(said):
                    assert matcher.consume_tokens(said)
                    ids += said
            mask = matcher.compute_bitmask()
            allowed = [i for i in range(len(mask) * 8) if mask[i // 8] >> i % 8 & 1]
            if self.end_id in allowed and (len(allowed) == 1 or choose.random() < 0.3):
                return ids
            allowed = [i for i in allowed if i != self.end_id]
            assert allowed, "the grammar led to a dead end"
            closing = [i for i in allowed if i > 255 or i in _CLOSING]
            pool = closing if closing and choose.random() < 0.4 else allowed
            ids.append(choose.choice(pool))
            assert matcher.consume_token(ids[-1])
        return None


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    """A vocabulary of bytes and control tokens."""
    tokenizer = ByteTokenizer(261, CONTROL)
    return Vocabulary(tokenizer, llg_tokenizer(tokenizer, [256]), 256)


@pytest.fixture(scope="session")
def spelled() -> Vocabulary:
    """A vocabulary of bytes, in which tags are ordinary text."""
    tokenizer = ByteTokenizer(257, {"<|im_end|>": 256})
    return Vocabulary(tokenizer, llg_tokenizer(tokenizer, [256]), 256)


@pytest.fixture(scope="session")
def qwen() -> Vocabulary:
    """The vocabulary of Qwen3.6."""
    tokenizer = QwenTokenizer()
    end = tokenizer.control_tokens["<|im_end|>"]
    return Vocabulary(tokenizer, llg_tokenizer(tokenizer, [end], 248_320), end)


@pytest.fixture(scope="session")
def json_lark() -> Callable[[AnySchema, bool], str]:
    """The grammar of a JSON reply."""

    def lark(schema: AnySchema, strict: bool) -> str:
        document = check_schema(schema, strict=strict, param="schema")
        return f"start: {json_value(document.standing_alone(document.root))}"

    return lark


@pytest.fixture(scope="session")
def spell() -> Callable[[object], str]:
    """A value as the grammar spells it."""
    return lambda value: json.dumps(value, ensure_ascii=False)
