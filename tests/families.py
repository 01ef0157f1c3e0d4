"""The families whose outputs the parser reads, on tokenizers that have their tags as tokens or not."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import count

from tests.folding import fold
from tests.strategies import tool

from tessera.core.chat import ChatRequest, Mode, UserMessage
from tessera.core.events import ChatEvent, Completed
from tessera.core.generation import EngineFinish
from tessera.core.result import Choice
from tessera.core.usage import Usage
from tessera.formats.base import ChatFormat
from tessera.formats.glm import GLM, GLM_4_7
from tessera.formats.gpt_oss import GPT_OSS
from tessera.formats.hermes import HERMES
from tessera.formats.qwen3 import QWEN3
from tessera.parsing.parser import Parser
from tessera.text.pieces import ControlPiece, Piece, TextPiece

TAGS = ("<think>", "</think>", "<tool_call>", "</tool_call>")
WEATHER = tool("get_weather", {"properties": {"city": {"type": "string"}, "days": {"type": "integer"}}})
TIME = tool("get_time", {"properties": {"tz": {"type": "string"}}})
ASKED = ChatRequest((UserMessage("x"),), tools=(WEATHER, TIME))


@dataclass(frozen=True)
class Family:
    """A format, on a tokenizer that has its tags as control tokens or not."""

    id: str
    format: ChatFormat
    control: frozenset[str]

    def parser(self, request: ChatRequest) -> Parser:
        ids = count()
        return Parser(0, request, self.format.syntax, self.control, lambda: f"call_{next(ids)}")

    def pieces(self, parts: Iterable[str]) -> list[Piece]:
        """The parts as pieces; those that are control tokens become control pieces."""
        return [ControlPiece(0, part) if part in self.control else TextPiece(part) for part in parts if part]

    def read(
        self, parts: Iterable[str], request: ChatRequest = ASKED, finish: EngineFinish = "stop"
    ) -> Choice:
        return self.read_pieces([[piece] for piece in self.pieces(parts)], request, finish)

    def read_pieces(
        self, steps: Iterable[Sequence[Piece]], request: ChatRequest, finish: EngineFinish
    ) -> Choice:
        parser, events = self.parser(request), list[ChatEvent]()
        for step in steps:
            events += parser.feed(step)
        return fold([*events, *parser.finish(finish), Completed(Usage())]).choices[0]

    def work(self, parts: Iterable[str]) -> int:
        """The number of function calls that reading the parts takes."""
        n_calls = 0

        def count_call(*_: object) -> None:
            nonlocal n_calls
            n_calls += 1

        pieces = [[piece] for piece in self.pieces(parts)]
        sys.setprofile(count_call)
        try:
            self.read_pieces(pieces, replace(ASKED, stop=("STOP",)), "stop")
        finally:
            sys.setprofile(None)
        return n_calls


XML = Family("xml", QWEN3, frozenset({*TAGS, "<|im_end|>"}))
XML_TEXT = Family("xml-text", QWEN3, frozenset({"<|im_end|>"}))
JSON = Family("json", HERMES, frozenset({*TAGS, "<|im_end|>"}))
JSON_TEXT = Family("json-text", HERMES, frozenset({"<|im_end|>"}))
FAMILIES = (XML, XML_TEXT, JSON, JSON_TEXT)

GLM_TAGS = (*TAGS, "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>")
GLM_ENDS = frozenset({"<|user|>", "<|observation|>"})
GLM_TOKENS = Family("glm", GLM, frozenset({*GLM_TAGS, *GLM_ENDS}))
GLM_TEXT = Family("glm-text", GLM, GLM_ENDS)
GLM_4_7_TOKENS = Family("glm-4.7", GLM_4_7, frozenset({*GLM_TAGS, *GLM_ENDS}))
GLM_4_7_TEXT = Family("glm-4.7-text", GLM_4_7, GLM_ENDS)
GLM_FAMILIES = (GLM_TOKENS, GLM_TEXT, GLM_4_7_TOKENS, GLM_4_7_TEXT)

HARMONY_TAGS = ("<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", "<|end|>")
HARMONY_ENDS = frozenset({"<|return|>", "<|call|>"})
HARMONY = Family("harmony", GPT_OSS, frozenset({*HARMONY_TAGS, *HARMONY_ENDS}))
HARMONY_TEXT = Family("harmony-text", GPT_OSS, HARMONY_ENDS)
HARMONY_FAMILIES = (HARMONY, HARMONY_TEXT)

THINKING = replace(ASKED, mode=Mode.THINKING)
CITY = "\n<function=get_weather>\n<parameter=city>\n"
SHUT = "\n</parameter>\n</function>\n"
LEON = f"{CITY}León{SHUT}"
LEON_CALL = ("get_weather", '{"city": "León"}')
LEON_JSON = '{"name": "get_weather", "arguments": {"city": "León"}}'


@dataclass(frozen=True)
class Output:
    """What a model wrote, and the choice that it must become."""

    id: str
    written: str
    text: str | None
    calls: tuple[tuple[str, str], ...] = ()
    reasoning: str | None = None
    request: ChatRequest = ASKED
    finish: EngineFinish = "stop"


def recut(pieces: Sequence[Piece], longest: int) -> list[Piece]:
    """The same text in pieces of at most `longest` characters, whatever the pieces were."""
    again: list[Piece] = []
    text = ""
    for piece in [*pieces, None]:
        if isinstance(piece, TextPiece):
            text += piece.text
        else:
            again += [TextPiece(text[i : i + longest]) for i in range(0, len(text), longest)]
            again += [piece] if piece else []
            text = ""
    return again
