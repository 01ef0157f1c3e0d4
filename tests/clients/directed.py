"""A script that says what the user asks it to say, so that a client can be led through a conversation.

A user's message holds the replies of all turns, as JSON in Base64, which agents do not quote or escape,
between two marks: `[[say]]WyJJdCByYWlucy4iXQ==[[end]]` is `["It rains."]`.

The reply to play is told by the number of assistant turns since. A reply is a text, or an object of `text`,
`reasoning`, `calls`, and `endless`; or `fill`, a name and a value: a call of the tool of that name, and the
value as JSON if there is no such tool.
"""

import base64
import itertools
import json
from collections.abc import Iterable, Mapping
from typing import Any

from tests.scripts import written

from tessera.core.chat import AssistantMessage, ChatRequest, ToolCall, UserMessage
from tessera.core.generation import Prompt
from tessera.engine.scripted import Script, ScriptedTokenizer, cycling, saying
from tessera.formats.base import ChatFormat, Control

BEGIN, END = "[[say]]", "[[end]]"
ANSWERS_TURN = "<|im_start|>assistant\n"
UNDIRECTED = "Yes."
"""What requests without a directive are answered: agents ask for titles and summaries of their own accord."""


def obeying(tokenizer: ScriptedTokenizer, chat_format: ChatFormat, phrases: Mapping[str, Any]) -> Script:
    """The script for an engine behind this format. `phrases` are replies to prompts without a directive that
    contain them and have not been answered yet.
    """

    def play(prompt: Prompt, sequence: int) -> Iterable[int]:
        reply = chosen(written(tokenizer, prompt), phrases)
        if reply.get("endless"):
            return itertools.cycle(cycling(tokenizer)(prompt, sequence))
        return saying(tokenizer, spelled(chat_format, reply))(prompt, sequence)

    return play


def chosen(prompt: str, phrases: Mapping[str, Any]) -> dict[str, Any]:
    """The reply that the prompt's last directive has for this turn; its last one is said again."""
    _, begun, rest = prompt.rpartition(BEGIN)
    directive, ended, after = rest.partition(END)
    if begun and ended:
        replies = json.loads(base64.b64decode(directive))
        reply = replies[min(after.count(ANSWERS_TURN), len(replies)) - 1]
    else:
        asked = prompt.rpartition("<|im_start|>user\n")[2]
        reply = next((reply for phrase, reply in phrases.items() if phrase in asked), UNDIRECTED)
    match reply:
        case str():
            return {"text": reply}
        case {"fill": [name, value]}:
            is_tool = json.dumps({"name": name})[1:-1] in prompt
            return {"calls": [[name, value]]} if is_tool else {"text": json.dumps(value)}
        case _:
            return reply


def spelled(chat_format: ChatFormat, reply: dict[str, Any]) -> str:
    """The reply as a model of this family writes it."""
    calls = tuple(ToolCall(f"call_{i}", *call) for i, call in enumerate(reply.get("calls", [])))
    said = AssistantMessage(reply.get("text", ""), tool_calls=calls)
    history = chat_format.render(ChatRequest((UserMessage(""), said, UserMessage(""))))
    text = "".join(part.token if isinstance(part, Control) else part.text for part in history)
    answer = text.partition(ANSWERS_TURN)[2].partition("<|im_end|>")[0]
    return f"{reply['reasoning']}\n</think>\n\n{answer}" if "reasoning" in reply else answer
