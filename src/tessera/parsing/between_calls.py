"""The readers of the two states outside of calls: the reasoning, and the visible answer."""

from collections.abc import Callable
from dataclasses import dataclass

from tessera.core.chat import Mode
from tessera.core.generation import EngineFinish
from tessera.parsing import calls_framed, calls_gemma, calls_json, calls_xml
from tessera.parsing.matcher import FoundTag
from tessera.parsing.opening import Head, OpeningReader
from tessera.parsing.states import Event, PieceReader, State, Turn
from tessera.parsing.syntax import CallStyle, Tags
from tessera.text.pieces import TextPiece


@dataclass(frozen=True, slots=True)
class _Style:
    """How calls are written: the head that confirms the call tag, and the reader of the rest, which gets what
    ends the call and what begins another one.

    `bare` is the literal, if any, with which a call begins that has no tag, and its head.
    """

    head: Callable[[Turn], Head]
    body: Callable[[Turn, Callable[[], None], Callable[[str], None]], PieceReader]
    bare: tuple[Callable[[Turn], str], Callable[[Turn], Head]] | None = None


_STYLES: dict[CallStyle, _Style] = {
    "xml": _Style(
        lambda turn: calls_xml.head(turn.tools),
        lambda turn, then, _: calls_xml.XmlCallReader(turn, then),
        (lambda _: calls_xml.FUNCTION, lambda turn: calls_xml.bare_head(turn.tools)),
    ),
    "glm": _Style(
        lambda turn: calls_xml.head_without_tag(turn.tools),
        lambda turn, then, _: calls_xml.XmlCallReader(turn, then),
    ),
    "glm-4.7": _Style(
        lambda turn: calls_xml.head_without_tag(turn.tools),
        lambda turn, then, _: calls_xml.XmlCallReader(turn, then),
    ),
    "json": _Style(
        lambda turn: calls_json.head(turn.tools),
        lambda turn, then, _: calls_json.JsonCallReader(turn, then),
    ),
    "gemma4": _Style(
        lambda turn: calls_gemma.head(turn.tools),
        lambda turn, then, _: calls_gemma.GemmaCallReader(turn, then),
    ),
    "framed": _Style(
        calls_framed.head,
        calls_framed.FramedCallReader,
        (calls_framed.bare_literal, calls_framed.bare_head),
    ),
}


def first_reader(turn: Turn, mode: Mode) -> PieceReader:
    """The prompt has opened the reasoning if the mode is to think."""
    tags = turn.syntax.reasoning if mode is Mode.THINKING else None
    if tags:
        return ReasoningReader(turn, tags)
    if turn.syntax.begins_answer:
        turn.answer.reasoning_ended()
    return AnswerReader(turn)


class ReasoningReader(PieceReader):
    """Reads text up to the closing tag, or up to a call."""

    state = State.REASONING

    def __init__(self, turn: Turn, tags: Tags) -> None:
        self._turn = turn
        self._tags = tags
        self._call = turn.call_tags.open if turn.call_tags else None
        self.literals = turn.spelled(filter(None, [tags.open, tags.close, self._call]))
        self._after_tag = False
        self._begun = False
        self._newline = False

    def text(self, piece: TextPiece) -> None:
        """Shows the text but for its last newline, which may belong to the closing tag."""
        text = piece.text.lstrip("\n") if self._after_tag else piece.text
        if not text:
            return
        self._after_tag = False
        self._begun = self._begun or not text.isspace()
        text = "\n" * self._newline + text
        self._newline = text.endswith("\n")
        if shown := text[:-1] if self._newline else text:
            self._turn.think(shown)

    def tag(self, tag: FoundTag) -> bool:
        """An opening tag at the very beginning is the model's own; later it is text."""
        if tag.text == self._tags.close:
            self._turn.answer.reasoning_ended()
            self._turn.move(Event.REASONING_CLOSED, AnswerReader(self._turn))
        elif tag.text == self._tags.open and not self._begun:
            self._after_tag = True
            self._newline = False
        elif tag.text == self._call:
            _open_call(self._turn, tag, self._call_begun)
        else:
            return False
        return True

    def end(self, finish: EngineFinish) -> None:
        if self._newline:
            self._turn.think("\n")
            self._newline = False

    def _call_begun(self) -> None:
        self._newline = False
        self._turn.answer.call_markup()


class AnswerReader(PieceReader):
    """Reads the visible answer. Stray reasoning tags are dropped before it, and are text within it. Call tags
    that are ordinary text stay text within the JSON that a request asked for.

    If the token limit ends the reply before the name of a call is known, the call is dropped with its tag. If
    it ends within the tag, the part of the tag is dropped where only a call may stand: between calls, and at
    the beginning of an answer that must be calls (`tool_choice` is "required" or a named function) or JSON.
    Elsewhere it may be text, and is shown.
    """

    state = State.ANSWER
    shows_text = True

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._actions: dict[str, Callable[[FoundTag], bool]] = {}
        if (reasoning := turn.syntax.reasoning) and turn.answer.blank:
            self._actions[reasoning.open] = self._think
            self._actions[reasoning.close] = self._close_again
        self._bare_head: Callable[[Turn], Head] | None = None
        call = turn.call_tags
        if call and not (turn.answers_json and not turn.answer.blank and turn.spelled([call.open])):
            self._actions[call.open] = self._call
            self._actions[call.close] = self._close_call
            bare = _STYLES[turn.syntax.calls].bare
            if bare and (literal := bare[0](turn)):
                self._bare_head = bare[1]
                self._actions[literal] = self._call_bare
        self._for_blank = turn.answer.blank
        self.literals = turn.spelled(self._actions)

    def text(self, piece: TextPiece) -> None:
        self._turn.answer.text(piece)
        if self._for_blank and not self._turn.answer.blank:
            self._turn.move(Event.ANSWER_BEGUN, AnswerReader(self._turn))

    @property
    def half_tag_is_text(self) -> bool:
        answer = self._turn.answer
        return not (answer.after_call or (answer.blank and self._turn.begins_with_call))

    def tag(self, tag: FoundTag) -> bool:
        action = self._actions.get(tag.text)
        return action is not None and action(tag)

    def end(self, finish: EngineFinish) -> None:
        pass

    def _think(self, tag: FoundTag) -> bool:
        tags = self._turn.syntax.reasoning
        if tags is None or not self._turn.answer.blank:
            return False
        reasoning = ReasoningReader(self._turn, tags)
        self._turn.move(Event.REASONING_OPENED, reasoning)
        return reasoning.tag(tag)

    def _close_again(self, _: FoundTag) -> bool:
        blank = self._turn.answer.blank
        if blank:
            self._turn.answer.reasoning_ended()
        return blank

    def _call(self, tag: FoundTag) -> bool:
        _open_call(self._turn, tag, self._turn.answer.call_markup)
        return True

    def _close_call(self, _: FoundTag) -> bool:
        if not (self._turn.unclosed_call or self._turn.answer.after_call):
            return False
        self._turn.unclosed_call = False
        self._turn.answer.call_markup()
        return True

    def _call_bare(self, tag: FoundTag) -> bool:
        # Inside a paragraph, or in a fenced block, it is more likely an example than a call.
        if self._bare_head is None or not self._turn.answer.at_paragraph:
            return False
        call_begun = self._turn.answer.call_markup
        _open_call(self._turn, tag, call_begun, self._bare_head, half_is_text=self.half_tag_is_text)
        return True


def _open_call(
    turn: Turn,
    tag: FoundTag,
    call_begun: Callable[[], None],
    head: Callable[[Turn], Head] | None = None,
    *,
    half_is_text: bool = False,
) -> None:
    """Has what follows the tag held until it is known to be a call, or not to be one. Once it is a call,
    `call_begun` is called first. The `head` is that of the family's call tag unless another one is given.
    """
    style = _STYLES[turn.syntax.calls]

    def begin(name: str) -> None:
        call_begun()
        if turn.call(name):
            turn.move(Event.CALL_CONFIRMED, style.body(turn, ended, begin))

    def ended() -> None:
        turn.in_call = False
        turn.move(Event.CALL_ENDED, AnswerReader(turn))

    turn.current = OpeningReader(
        turn,
        tag,
        (head or style.head)(turn),
        confirmed=begin,
        cut_short=None if half_is_text else call_begun,
    )
