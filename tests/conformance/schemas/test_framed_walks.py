"""Whatever the grammar of a family with framed calls allows, the parser reads and the schemas accept."""

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from tests.conformance.schemas.conftest import Vocabulary
from tests.conformance.schemas.test_walks import REQUESTS, TOOLS, check_reply, read, without_half
from tests.families import Family
from tests.template_families import FRAMED_FAMILIES

from tessera.core.chat import ChatRequest, FreeText
from tessera.grammars.bytewise import ByteTokenizer
from tessera.grammars.llg import llg_tokenizer
from tessera.grammars.turn import build_grammar

every_family = pytest.mark.parametrize("family", FRAMED_FAMILIES, ids=lambda family: family.id)
every_request = pytest.mark.parametrize("asked", REQUESTS.values(), ids=REQUESTS)


def vocabulary(family: Family) -> Vocabulary:
    syntax = family.format.syntax
    end = next(token for token in syntax.ends if token in family.control)
    tags = [tag for pair in (syntax.reasoning, syntax.call) if pair for tag in (pair.open, pair.close)]
    form = syntax.form
    texts = [form.first, form.next or "", form.last] if form else []
    words = _vocabulary(end, family.control)
    return replace(words, markup=[*words.markup, *filter(None, [*tags * 3, *texts])])


@cache
def _vocabulary(end: str, tokens: frozenset[str]) -> Vocabulary:
    """Bytes, and the control tokens of a family, of which `end` ends the turn."""
    control = {token: 256 + i for i, token in enumerate([end, *sorted(tokens - {end})])}
    tokenizer = ByteTokenizer(256 + len(control), control)
    return Vocabulary(tokenizer, llg_tokenizer(tokenizer, [256]), 256)


@every_family
@every_request
def test_turns(family: Family, asked: dict[str, Any]) -> None:
    words, syntax = vocabulary(family), family.format.syntax
    chat = ChatRequest((), tools=tuple(TOOLS), **asked)
    grammar = build_grammar(chat, syntax, words.tokenizer.control_tokens)
    assert grammar is not None
    n_whole = n_calls = 0
    for seed in range(8):
        ids = words.walk(grammar.lark, seed, steps=2_000)
        if ids is not None:
            n_whole += 1
            check_reply(chat, syntax, words.tokenizer, [*ids, words.end_id])
            n_calls += len(read(chat, syntax, words.tokenizer, [*ids, words.end_id], "stop").tool_calls)
    assert n_whole >= 3
    assert n_calls or chat.tool_choice.mode != "required"


@pytest.mark.slow
@every_family
@every_request
def test_turns_that_the_length_cuts(family: Family, asked: dict[str, Any]) -> None:
    """A cut reply is the beginning of the whole one; half a tag is content only where text may stand too."""
    words, syntax = vocabulary(family), family.format.syntax
    assert syntax.call
    assert syntax.reasoning
    assert syntax.form
    chat = ChatRequest((), tools=tuple(TOOLS), **asked)
    grammar = build_grammar(chat, syntax, words.tokenizer.control_tokens)
    assert grammar is not None
    may_be_text = isinstance(chat.answer_format, FreeText) and chat.tool_choice.mode == "auto"
    for seed in range(4):
        ids = words.walk(grammar.lark, seed, steps=1_000) or ()
        whole = read(chat, syntax, words.tokenizer, ids, "stop")
        for n in {
            *range(min(60, len(ids))),
            *range(0, len(ids), 11),
            *range(max(0, len(ids) - 20), len(ids)),
        }:
            cut = read(chat, syntax, words.tokenizer, ids[:n], "length")
            text = cut.text or ""
            reasoning = without_half(syntax.reasoning.close, cut.reasoning or "")
            if may_be_text and whole.tool_calls:
                text = "" if syntax.form.bare else without_half(syntax.call.open, text)
            assert (whole.text or "").startswith(text.rstrip() if whole.tool_calls else text)
            assert (whole.reasoning or "").startswith(reasoning.removesuffix("\n"))
            assert len(cut.tool_calls) <= len(whole.tool_calls)
