"""Whatever the grammars of gpt-oss and GLM allow, the parser reads and the schema accepts."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from tests.conformance.schemas.conftest import Vocabulary
from tests.conformance.schemas.test_walks import REQUESTS, TOOLS, check_reply, read, without_half
from tests.families import GLM_ENDS, GLM_TAGS, HARMONY_ENDS, HARMONY_TAGS

from tessera.core.chat import ChatRequest, FreeText, Mode, ToolChoice
from tessera.formats.glm import GLM, GLM_4_7
from tessera.formats.gpt_oss import GPT_OSS
from tessera.grammars.bytewise import ByteTokenizer
from tessera.grammars.llg import llg_tokenizer
from tessera.grammars.turn import build_grammar
from tessera.parsing.syntax import Syntax

FORMATS = {"gpt-oss": GPT_OSS, "glm": GLM, "glm-4.7": GLM_4_7}
ENDS = {"gpt-oss": sorted(HARMONY_ENDS), "glm": sorted(GLM_ENDS), "glm-4.7": sorted(GLM_ENDS)}
TAGS = {"gpt-oss": HARMONY_TAGS, "glm": GLM_TAGS, "glm-4.7": GLM_TAGS}
GLM_MARKUP = (
    "</think>",
    "<tool_call>",
    "</arg_value>\n",
    "</arg_value>",
    "</tool_call>",
    "<arg_key>n</arg_key>",
)
MARKUP = {
    "gpt-oss": ("<|end|>", "<|end|>", "<|start|>assistant", "<|channel|>final<|message|>", '{"n": 1'),
    "glm": GLM_MARKUP,
    "glm-4.7": GLM_MARKUP,
}


def vocabulary(name: str, *, spelled: bool) -> Vocabulary:
    """Bytes and the family's control tokens; with `spelled`, its tags are ordinary text."""
    control: Mapping[str, int] = {
        tag: 256 + i for i, tag in enumerate([*ENDS[name], *(() if spelled else TAGS[name])])
    }
    tokenizer = ByteTokenizer(256 + len(control), dict(control))
    return Vocabulary(tokenizer, llg_tokenizer(tokenizer, [256]), 256, MARKUP[name])


every_case = pytest.mark.parametrize(
    ("name", "spelled"),
    [(name, spelled) for name in FORMATS for spelled in (False, True)],
    ids=[f"{name}-{kind}" for name in FORMATS for kind in ("tokens", "text")],
)
every_request = pytest.mark.parametrize("asked", REQUESTS.values(), ids=REQUESTS)


def grammar_of(chat: ChatRequest, syntax: Syntax, words: Vocabulary) -> str:
    grammar = build_grammar(chat, syntax, words.tokenizer.control_tokens)
    assert grammar is not None
    return grammar.lark


@every_case
@every_request
def test_turns(name: str, spelled: bool, asked: dict[str, Any]) -> None:
    words, syntax = vocabulary(name, spelled=spelled), FORMATS[name].syntax
    chat = ChatRequest((), tools=tuple(TOOLS), **asked)
    lark = grammar_of(chat, syntax, words)
    n_whole = 0
    for seed in range(12):
        ids = words.walk(lark, seed, steps=2_000)
        if ids is not None:
            n_whole += 1
            check_reply(chat, syntax, words.tokenizer, [*ids, words.end_id])
            check_no_markup(chat, syntax, words, ids)
    assert n_whole >= 3


def check_no_markup(chat: ChatRequest, syntax: Syntax, words: Vocabulary, ids: list[int]) -> None:
    """Control tokens are in no part of the reply."""
    choice = read(chat, syntax, words.tokenizer, ids, "stop")
    for tag in words.tokenizer.control_tokens:
        assert tag not in repr(choice).replace("\\", "") or tag.encode() in bytes(
            id for id in ids if id < 256
        )


@every_case
@every_request
def test_turns_that_the_length_cuts(name: str, spelled: bool, asked: dict[str, Any]) -> None:
    """A cut reply is the beginning of the whole one, but for half a tag where tags are text."""
    words, syntax = vocabulary(name, spelled=spelled), FORMATS[name].syntax
    chat = ChatRequest((), tools=tuple(TOOLS), **asked)
    lark = grammar_of(chat, syntax, words)
    closing = syntax.reasoning.close if syntax.reasoning else ""
    for seed in range(4):
        ids = words.walk(lark, seed, steps=1_000) or []
        whole = read(chat, syntax, words.tokenizer, ids, "stop")
        for n in {
            *range(min(60, len(ids))),
            *range(0, len(ids), 11),
            *range(max(0, len(ids) - 20), len(ids)),
        }:
            cut = read(chat, syntax, words.tokenizer, ids[:n], "length")
            text, reasoning = cut.text or "", cut.reasoning or ""
            if spelled:
                reasoning = without_half(closing, reasoning)
                if isinstance(chat.answer_format, FreeText):
                    text = without_half("<|end|>" if name == "gpt-oss" else "<tool_call>", text)
            assert (whole.text or "").startswith(text.rstrip() if whole.tool_calls else text)
            assert (whole.reasoning or "").startswith(reasoning.removesuffix("\n"))
            assert len(cut.tool_calls) <= len(whole.tool_calls)


def accepts(name: str, written: list[str], **asked: Any) -> bool:
    """Whether the grammar allows these texts and control tokens, to the end."""
    words = vocabulary(name, spelled=False)
    chat = ChatRequest((), **{"tools": tuple(TOOLS), **asked})
    control = words.tokenizer.control_tokens
    ids = [id for part in written for id in ([control[part]] if part in control else part.encode())]
    return words.accepts(grammar_of(chat, FORMATS[name].syntax, words), ids)


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
    assert accepts("gpt-oss", written, **asked) is allowed


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("glm", ["\n", "<tool_call>", "now\n", "</tool_call>", "\n", "<tool_call>", "now\n", "</tool_call>"]),
        ("glm-4.7", ["<tool_call>", "now", "</tool_call>", "<tool_call>", "now", "</tool_call>"]),
        (
            "glm",
            [
                *("\nSo.\n", "<tool_call>", "joined\n", "<arg_key>", "p", "</arg_key>", "\n", "<arg_value>"),
                *("1.5", "</arg_value>", "\n", "</tool_call>"),
            ],
        ),
    ],
)
def test_calls_that_glm_may_write(name: str, written: list[str]) -> None:
    assert accepts(name, written)
    assert not accepts(name, [*written, "x"])


def test_thinking_is_closed_before_an_answer_of_glm() -> None:
    chat: dict[str, Any] = {"mode": Mode.THINKING}
    assert accepts("glm", ["Hm.", "</think>", "\nHi."], **chat)
    assert not accepts("glm", ["Hm."], **chat)
    assert accepts("glm-4.7", ["Hm.", "</think>", "Hi."], **chat)
    assert replace(ChatRequest(()), **chat).mode is Mode.THINKING
