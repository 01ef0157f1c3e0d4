import pytest
from llguidance import LLMatcher

from tessera.core.generation import Grammar, ThinkingBudget
from tessera.engine.vllm.thinking import with_budget
from tessera.errors import UnsupportedParameter
from tessera.grammars.bytewise import ByteTokenizer
from tessera.grammars.llg import llg_tokenizer

CLOSE, END = 256, 257
TOKENIZER = llg_tokenizer(ByteTokenizer(258, {"</think>": CLOSE, "<end>": END}), [END])
TURN = Grammar(
    f'start: TEXT_X0 <[{CLOSE}]> "\\n\\n" json_1\nTEXT_X0: /(?s:.*)/\njson_1: %json {{"type": "null"}}\n'
)


def budget(n_tokens: int, end: int | str = CLOSE) -> ThinkingBudget:
    return ThinkingBudget(n_tokens, close_ids=(10, CLOSE, 10, 10), end=end)


def n_allowed(grammar: Grammar) -> int:
    """The number of tokens of text after which only the closing token is allowed."""
    matcher = LLMatcher(TOKENIZER, LLMatcher.grammar_from_lark(grammar.lark), log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    for n in range(20):
        if not matcher.validate_tokens([ord("a")]):
            assert matcher.validate_tokens([CLOSE]) == 1
            return n
        assert matcher.consume_token(ord("a"))
    return 20


@pytest.mark.parametrize("grammar", [None, TURN], ids=["free", "with a schema"])
@pytest.mark.parametrize("n_tokens", [0, 1, 7])
def test_reasoning_ends_after_exactly_the_budget(grammar: Grammar | None, n_tokens: int) -> None:
    assert n_allowed(with_budget(grammar, budget(n_tokens))) == n_tokens


def test_reasoning_may_end_before_the_budget_does() -> None:
    matcher = LLMatcher(
        TOKENIZER, LLMatcher.grammar_from_lark(with_budget(TURN, budget(9)).lark), log_level=0
    )
    reply = [*b"so", CLOSE, *b"\n\nnull"]
    assert matcher.validate_tokens(reply) == len(reply)


def test_a_turn_without_reasoning_keeps_its_grammar() -> None:
    plain = Grammar('start: json_0\njson_0: %json {"type": "null"}\n')
    assert with_budget(plain, budget(3)) == plain


def test_reasoning_that_text_ends_is_refused() -> None:
    with pytest.raises(UnsupportedParameter, match="ordinary text"):
        with_budget(None, budget(3, end="</think>"))
