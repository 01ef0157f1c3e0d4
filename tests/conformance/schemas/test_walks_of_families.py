"""Whatever the grammars of GLM, gpt-oss, Gemma 4 and framed calls allow, the parser reads and the schemas
accept.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import pytest
from tests.conformance.schemas.conftest import Vocabulary
from tests.conformance.schemas.test_walks import REQUESTS, TOOLS, check_reply, read, without_half
from tests.families import GLM_4_7_TOKENS, GLM_FAMILIES, GLM_TOKENS, HARMONY, HARMONY_FAMILIES, Family
from tests.template_families import FRAMED_FAMILIES, GEMMA4_FAMILIES, GEMMA4_TOKENS

from tessera.core.chat import ChatRequest, FreeText, Mode, ToolChoice
from tessera.grammars.bytewise import ByteTokenizer
from tessera.grammars.llg import llg_tokenizer
from tessera.grammars.turn import build_grammar
from tessera.parsing.syntax import CallStyle, Syntax

GLM_MARKUP = (
    "</think>",
    "<tool_call>",
    "</arg_value>\n",
    "</arg_value>",
    "</tool_call>",
    "<arg_key>n</arg_key>",
)
MARKUP: Mapping[CallStyle, Sequence[str]] = {
    "harmony": ("<|end|>", "<|end|>", "<|start|>assistant", "<|channel|>final<|message|>", '{"n": 1'),
    "glm": GLM_MARKUP,
    "glm-4.7": GLM_MARKUP,
    "gemma4": ("<channel|>", "<|tool_call>", "call:order{", '<|"|>', '<|"|>,', "}", "<tool_call|>", '"n": 1'),
}


def vocabulary(family: Family) -> Vocabulary:
    """A vocabulary of bytes and the family's control tokens."""
    return _vocabulary(family.control, family.format.syntax)


@cache
def _vocabulary(tokens: frozenset[str], syntax: Syntax) -> Vocabulary:
    end = next(token for token in syntax.ends if token in tokens)
    control = {token: 256 + i for i, token in enumerate([end, *sorted(tokens - {end})])}
    tokenizer = ByteTokenizer(256 + len(control), control)
    return Vocabulary(tokenizer, llg_tokenizer(tokenizer, [256]), 256, markup(syntax))


def markup(syntax: Syntax) -> Sequence[str]:
    """Texts that replies of the family are likely to hold."""
    if syntax.form is None:
        return MARKUP[syntax.calls]
    tags = [tag for pair in (syntax.reasoning, syntax.call) if pair for tag in (pair.open, pair.close)]
    texts = (*tags * 3, syntax.form.first, syntax.form.next, syntax.form.last, '"name": "order"')
    return [text for text in texts if text]


every_family = pytest.mark.parametrize(
    "family",
    [*GLM_FAMILIES, *HARMONY_FAMILIES, *FRAMED_FAMILIES, *GEMMA4_FAMILIES],
    ids=lambda family: family.id,
)
every_request = pytest.mark.parametrize("asked", REQUESTS.values(), ids=REQUESTS)


def grammar_of(chat: ChatRequest, family: Family) -> str:
    grammar = build_grammar(chat, family.format.syntax, vocabulary(family).tokenizer.control_tokens)
    assert grammar is not None
    return grammar.lark


@every_family
@every_request
def test_turns(family: Family, asked: dict[str, Any]) -> None:
    words, syntax = vocabulary(family), family.format.syntax
    chat = ChatRequest((), tools=tuple(TOOLS), **asked)
    lark = grammar_of(chat, family)
    n_whole = n_calls = 0
    for seed in range(10):
        ids = words.walk(lark, seed, steps=2_000)
        if ids is not None:
            n_whole += 1
            ended = [*ids, words.end_id]
            check_reply(chat, syntax, words.tokenizer, ended)
            check_no_markup(chat, syntax, words, ids)
            n_calls += len(read(chat, syntax, words.tokenizer, ended, "stop").tool_calls)
    assert n_whole >= 3
    assert n_calls or chat.tool_choice.mode != "required"


def check_no_markup(chat: ChatRequest, syntax: Syntax, words: Vocabulary, ids: Sequence[int]) -> None:
    """Checks that no part of the reply contains a control token."""
    choice = read(chat, syntax, words.tokenizer, ids, "stop")
    text = bytes(id for id in ids if id < 256)
    for tag in words.tokenizer.control_tokens:
        assert tag not in repr(choice).replace("\\", "") or tag.encode() in text


@pytest.mark.slow
@every_family
@every_request
def test_turns_that_the_length_cuts(family: Family, asked: dict[str, Any]) -> None:
    """A cut reply is the beginning of the whole one; half a tag is content only where text may stand too."""
    words, syntax = vocabulary(family), family.format.syntax
    assert syntax.reasoning
    chat = ChatRequest((), tools=tuple(TOOLS), **asked)
    lark = grammar_of(chat, family)
    may_be_text = isinstance(chat.answer_format, FreeText) and chat.tool_choice.mode == "auto"
    after_text = syntax.call.open if syntax.call else syntax.reasoning.close
    is_bare = syntax.form is not None and syntax.form.bare
    for seed in range(4):
        ids = words.walk(lark, seed, steps=1_000) or ()
        whole = read(chat, syntax, words.tokenizer, ids, "stop")
        for n in {
            *range(min(60, len(ids))),
            *range(0, len(ids), 11),
            *range(max(0, len(ids) - 20), len(ids)),
        }:
            cut = read(chat, syntax, words.tokenizer, ids[:n], "length")
            text, reasoning = cut.text or "", cut.reasoning or ""
            if syntax.reasoning.close not in family.control:
                reasoning = without_half(syntax.reasoning.close, reasoning)
            if may_be_text and whole.tool_calls and is_bare:
                text = ""
            elif may_be_text and whole.tool_calls and after_text not in family.control:
                text = without_half(after_text, text)
            assert (whole.text or "").startswith(text.rstrip() if whole.tool_calls else text)
            assert (whole.reasoning or "").startswith(reasoning.removesuffix("\n"))
            assert len(cut.tool_calls) <= len(whole.tool_calls)


def accepts(family: Family, written: Sequence[str], **asked: Any) -> bool:
    """Whether the grammar allows these texts and control tokens, to the end."""
    words = vocabulary(family)
    chat = ChatRequest((), **{"tools": tuple(TOOLS), **asked})
    control = words.tokenizer.control_tokens
    ids = [id for part in written for id in ([control[part]] if part in control else part.encode())]
    return words.accepts(grammar_of(chat, family), ids)


CHANNEL, MESSAGE, END, START = "<|channel|>", "<|message|>", "<|end|>", "<|start|>"
NOW = [CHANNEL, "commentary to=functions.now ", "<|constrain|>", "json", MESSAGE, "{}"]
BEFORE = [" to=functions.now", CHANNEL, "commentary json", MESSAGE, "{}"]
FINAL = [CHANNEL, "final", MESSAGE, "Hi."]
PLAN = [CHANNEL, "commentary", MESSAGE, "First.", END, START, "assistant"]
REQUIRED = {"tool_choice": ToolChoice("required")}
THINKING = {"mode": Mode.THINKING}


@pytest.mark.parametrize(
    ("written", "asked", "allowed"),
    [
        (NOW, {}, True),
        (BEFORE, {}, True),
        (FINAL, {}, True),
        ([*PLAN, *NOW], {}, True),
        (PLAN, {}, False),
        (["Hi."], {}, False),
        (NOW, REQUIRED, True),
        (FINAL, REQUIRED, False),
        ([*PLAN, *NOW], REQUIRED, False),
        (NOW, {"tool_choice": ToolChoice("none")}, False),
        (FINAL, {"tool_choice": ToolChoice("none")}, True),
        (NOW, {"tool_choice": ToolChoice("auto", frozenset({"order"}))}, False),
        (["Hm.", END, START, "assistant", *FINAL], THINKING, True),
        (["Hm.", END, START, "assistant", *NOW], THINKING, True),
        (["Hm.", END, *FINAL], THINKING, False),
        (["Hm."], THINKING, False),
    ],
)
def test_the_messages_that_gpt_oss_may_write(
    written: list[str], asked: dict[str, Any], allowed: bool
) -> None:
    assert accepts(HARMONY, written, **asked) is allowed


@pytest.mark.parametrize(
    ("family", "written"),
    [
        (
            GLM_TOKENS,
            ["\n", "<tool_call>", "now\n", "</tool_call>", "\n", "<tool_call>", "now\n", "</tool_call>"],
        ),
        (GLM_4_7_TOKENS, ["<tool_call>", "now", "</tool_call>", "<tool_call>", "now", "</tool_call>"]),
        (
            GLM_TOKENS,
            [
                *("\nSo.\n", "<tool_call>", "joined\n", "<arg_key>", "p", "</arg_key>", "\n", "<arg_value>"),
                *("1.5", "</arg_value>", "\n", "</tool_call>"),
            ],
        ),
    ],
)
def test_calls_that_glm_may_write(family: Family, written: list[str]) -> None:
    assert accepts(family, written)
    assert not accepts(family, [*written, "x"])


def test_thinking_is_closed_before_an_answer_of_glm() -> None:
    chat: dict[str, Any] = {"mode": Mode.THINKING}
    assert accepts(GLM_TOKENS, ["Hm.", "</think>", "\nHi."], **chat)
    assert not accepts(GLM_TOKENS, ["Hm."], **chat)
    assert accepts(GLM_4_7_TOKENS, ["Hm.", "</think>", "Hi."], **chat)


TEXT = '<|"|>'
ORDER = ("<|tool_call>", "call:order{")


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (["free:", TEXT, '{"a": 1}, "b"', TEXT, ",n:40,unlisted:1}"], True),
        (
            [
                "free:",
                TEXT,
                TEXT,
                ",kind:",
                TEXT,
                "b c",
                TEXT,
                ",maybe:null,n:1,unlisted:",
                TEXT,
                "x",
                TEXT,
                "}",
            ],
            True,
        ),
        (["any:[1, true],free:", TEXT, "x", TEXT, ',items:["ab", "c"],n:7,unlisted:{"a": null}}'], True),
        (["free:", TEXT, "x", TEXT, ",n:41,unlisted:1}"], False),
        (["free:", TEXT, "x", TEXT, ',n:"4",unlisted:1}'], False),
        (["free:x,n:4,unlisted:1}"], False),
        (["n:4,unlisted:1}"], False),
        (["n:4,free:", TEXT, "x", TEXT, ",unlisted:1}"], False),
        ([",free:", TEXT, "x", TEXT, ",n:4,unlisted:1}"], False),
    ],
)
def test_the_calls_that_gemma_4_may_write(arguments: list[str], allowed: bool) -> None:
    """Parameters in the order of their names; strings in quotes of their own, other values as JSON."""
    assert accepts(GEMMA4_TOKENS, [*ORDER, *arguments, "<tool_call|>"]) is allowed


def test_calls_of_gemma_4_follow_each_other_and_may_be_empty() -> None:
    now = ["<|tool_call>", "call:now{}", "<tool_call|>"]
    assert accepts(GEMMA4_TOKENS, [*now, *now])
    assert not accepts(GEMMA4_TOKENS, [*now, "x"])
    assert accepts(GEMMA4_TOKENS, ["Hm.", "\n", "<channel|>", *now], **THINKING)
