"""The values that describe a model family: one `ChatFormat`, and the segments of its prompts.

A renderer yields segments, not a string: only a `Control` becomes a control token, and every text of the
conversation goes into a `Plain`, which is encoded as ordinary text. Adjacent plain segments are joined
before they are encoded, so that the token ids equal those of the whole template text.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from tessera.core.chat import ChatRequest, Mode
from tessera.core.generation import SamplingDefaults
from tessera.parsing.syntax import Syntax


@dataclass(frozen=True, slots=True)
class Control:
    """A control token, named by its text in `Tokenizer.control_tokens`."""

    token: str


@dataclass(frozen=True, slots=True)
class Plain:
    """Text that can never become a control token."""

    text: str


@dataclass(frozen=True, slots=True)
class Tag:
    """Markup of the family: a control token if the tokenizer has it as one, else plain text."""

    text: str


Segment: TypeAlias = Control | Plain | Tag


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """A family. `render` raises `RequestError`, naming `messages`, for a conversation that its template
    refuses. `sampling` has an entry for each mode that the family supports.
    """

    name: str
    render: Callable[[ChatRequest], tuple[Segment, ...]]
    syntax: Syntax
    sampling: Mapping[Mode, SamplingDefaults]
