"""What scripted engines say in conversations of several requests."""

import json
from collections.abc import Iterable
from typing import Any

from tessera.core.generation import Prompt
from tessera.engine.scripted.engine import Script, saying
from tessera.text.tokenizer import Tokenizer

CAN_ALL = ("n", "logprobs", "thinking_budget", "grammar")
"""The features of an engine that is trusted to obey grammars."""


def called(name: str, **arguments: Any) -> str:
    """A call as Hermes models write it."""
    body = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    return f"<tool_call>\n{body}\n</tool_call>"


def answering(tokenizer: Tokenizer, *replies: str) -> Script:
    """Plays reply number i for a prompt with the results of i calls: an agent's turns."""
    scripts = [saying(tokenizer, reply) for reply in replies]

    def play(prompt: Prompt, sequence: int) -> Iterable[int]:
        return scripts[written(tokenizer, prompt).count("<tool_response>\n")](prompt, sequence)

    return play


def written(tokenizer: Tokenizer, prompt: Prompt) -> str:
    """The text of the prompt."""
    return b"".join(map(tokenizer.token_bytes, prompt.token_ids)).decode()
