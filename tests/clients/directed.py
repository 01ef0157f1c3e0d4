"""A script that says what the user asks it to say, so that a client can be led through a conversation.

A user's message holds the replies of all turns, as JSON in Base64, which agents do not quote or escape,
between two marks: `[[say]]WyJJdCByYWlucy4iXQ==[[end]]` is `["It rains."]`.

The reply to play is told by the number of assistant turns since. A reply is a text, or an object of `text`,
`reasoning`, `calls`, and `endless`; or `fill`, a name and a value: a call of a tool whose name begins so,
and the value as JSON if there is none.
"""

import base64
import itertools
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from tests.scripts import called, written

from tessera.core.generation import Prompt
from tessera.engine.scripted.engine import Script, ScriptedTokenizer, cycling, saying
from tessera.formats.base import ChatFormat

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
    """The reply of the prompt's last directive for this turn; its last reply is repeated."""
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
            tool = re.search(rf'"name": "({name}\w*)"', prompt)
            return {"calls": [[tool[1], value]]} if tool else {"text": json.dumps(value)}
        case _:
            return reply


def spelled(chat_format: ChatFormat, reply: dict[str, Any]) -> str:
    """The reply as a model of this family writes it."""
    spell = in_xml if chat_format.syntax.calls == "xml" else in_json
    calls = [spell(name, arguments) for name, arguments in reply.get("calls", [])]
    answer = "\n".join([*filter(None, [reply.get("text")]), *calls])
    return f"{reply['reasoning']}\n</think>\n\n{answer}" if "reasoning" in reply else answer


def in_json(name: str, arguments: dict[str, Any]) -> str:
    return called(name, **arguments)


def in_xml(name: str, arguments: dict[str, Any]) -> str:
    """A call in XML: strings are written as they are, everything else as JSON."""
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in arguments.items()}
    parameters = "".join(f"<parameter={key}>\n{text}\n</parameter>\n" for key, text in texts.items())
    return f"<tool_call>\n<function={name}>\n{parameters}</function>\n</tool_call>"
