"""How a model family marks up its turns. The parser runs on these values: a new family is a new value."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

CallStyle: TypeAlias = Literal["none", "json", "xml", "glm", "glm-4.7", "harmony", "framed", "gemma4"]

QUOTE = '<|"|>'
"""What stands around a string in the calls of Gemma 4."""


@dataclass(frozen=True, slots=True)
class Tags:
    """An opening and a closing tag; the latter is empty if nothing closes. A tag that is a control token of
    the tokenizer is recognised by its id only, any other by its text.
    """

    open: str
    close: str


@dataclass(frozen=True, slots=True)
class CallForm:
    """How calls of the style "framed" are written: fixed texts around names and arguments, which are JSON.

        OPEN first NAME between [ID after_id] ARGUMENTS { next NAME between … ARGUMENTS } last

    OPEN is the opening tag of the family's calls. If calls are `bare`, it is left out where the reply may be
    text, so that a reply is a call if it begins like one. `next` is None if a reply has one call at most.
    `other_first` are beginnings that models write in place of `first`. `id` is the regular expression of an
    identifier of letters and digits; empty if calls have none. `tags` are all tags within the texts.
    """

    first: str
    between: str
    next: str | None
    last: str
    tags: tuple[str, ...] = ()
    other_first: tuple[str, ...] = ()
    id: str = ""
    after_id: str = ""
    bare: bool = False


@dataclass(frozen=True, slots=True)
class Syntax:
    """The output syntax of a family; None where the family has no such thing.

    `calls` is the form between the call tags: "json" is Hermes' `{"name": …, "arguments": {…}}`, "xml" is
    Qwen3.5's `<function=…><parameter=…>`, and "glm" and "glm-4.7" vary it (`xml_tags`). "framed" is
    that of `form`, and "gemma4" that of Gemma 4 (`calls_gemma`). "harmony" has no call tags: a call is a
    message to a function. `ends` are the control tokens that end a turn.

    `before_close` is the text before the tag that closes the reasoning; `after_close` are the tags and texts
    after it. With `begins_answer`, the model writes these also before an answer without reasoning. `line`
    stands between calls, and `call_line` after the tag that opens one.
    """

    ends: tuple[str, ...]
    reasoning: Tags | None = None
    call: Tags | None = None
    calls: CallStyle = "none"
    before_close: str = "\n"
    after_close: tuple[str, ...] = ("\n\n",)
    begins_answer: bool = False
    line: str = "\n"
    call_line: str = "\n"
    form: CallForm | None = None
