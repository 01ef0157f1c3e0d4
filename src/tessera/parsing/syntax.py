"""How a model family marks up its turns: the tables the parser runs on. A new family is a new value, not new
code.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

CallStyle: TypeAlias = Literal["none", "json", "xml"]


@dataclass(frozen=True, slots=True)
class Tags:
    """An opening and a closing tag. A tag the tokenizer has as a control token is recognised by id only,
    else by text.
    """

    open: str
    close: str


@dataclass(frozen=True, slots=True)
class Syntax:
    """The output syntax of a family; None where the family has no such thing.

    `calls` says what stands between the call tags: "json" is Hermes' `{"name": …, "arguments": {…}}`, "xml"
    is Qwen3.5's `<function=…><parameter=…>`. `ends` are the control tokens that end a turn.
    """

    ends: tuple[str, ...]
    reasoning: Tags | None = None
    call: Tags | None = None
    calls: CallStyle = "none"
