"""The shortest reply of every kind of turn is one that the parser reads and the schemas accept."""

from typing import Any

import pytest
from tests.conformance.schemas.test_walks import REQUESTS, TOOLS, XML, check_reply

from tessera.core.chat import ChatRequest, Tool, ToolChoice
from tessera.engine.scripted.shortest import ShortestReplies
from tessera.formats.hermes import HERMES
from tessera.grammars.turn import build_grammar
from tessera.parsing.syntax import Syntax

SYNTAXES = pytest.mark.parametrize("syntax", [XML, HERMES.syntax], ids=["xml", "json"])


def reply(chat: ChatRequest, syntax: Syntax, words: Any) -> list[int]:
    grammar = build_grammar(chat, syntax, words.tokenizer.control_tokens)
    assert grammar is not None
    replies = ShortestReplies(words.tokenizer.control_tokens, words.tokenizer.vocabulary_size)
    _, ids = replies.complete(grammar.lark, [], whole=True)
    assert words.accepts(grammar.lark, ids)
    return [*ids]


@pytest.mark.parametrize("asked", REQUESTS.values(), ids=REQUESTS)
@SYNTAXES
@pytest.mark.parametrize("tags", ["vocabulary", "spelled"])
def test_turns(tags: str, syntax: Syntax, asked: dict[str, Any], request: pytest.FixtureRequest) -> None:
    words = request.getfixturevalue(tags)
    chat = ChatRequest((), tools=tuple(TOOLS), **asked)
    check_reply(chat, syntax, words.tokenizer, [*reply(chat, syntax, words), words.end_id])


@SYNTAXES
def test_of_several_tools_the_shortest_call(syntax: Syntax, spelled: Any) -> None:
    tools = (Tool("a_long_name", {}, {}), Tool("now", {}, {}), Tool("order", TOOLS[2].parameters, {}))
    chat = ChatRequest((), tools=tools, tool_choice=ToolChoice("required"))
    said = bytes(reply(chat, syntax, spelled)).decode()
    assert said in (
        '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>',
        "<tool_call>\n<function=now>\n</function>\n</tool_call>",
    )
