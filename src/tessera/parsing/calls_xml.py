r"""Reads calls as Qwen3.5 and Qwen3.6 write them.

    <tool_call>\n<function=NAME>\n<parameter=KEY>\nVALUE\n</parameter>\n…</function>\n</tool_call>

Values are raw text: nothing is escaped, and a value may hold any of the tags. So a closing tag counts only
with what must follow it: `</parameter>` before another parameter, the end of the function, a control token
or the end of the output. A model may forget it: then `</function>` before the end of the call, or the
opening of a known parameter on a new line, closes the value too.

Other text within a call becomes part of the answer (`StrayText`): text between parameters, a parameter's tag
without an end, and the value of a parameter that was given before. If the token limit cuts a call, half a tag
is dropped; in a value, only half a tag that begins a line, since a newline always precedes it.
"""

from collections.abc import Callable, Iterable

from tessera.core.generation import EngineFinish
from tessera.parsing.answer import StrayText
from tessera.parsing.arguments import Arguments
from tessera.parsing.matcher import FoundTag
from tessera.parsing.opening import SPACE, CallHead, OpeningReader, ended
from tessera.parsing.states import Event, PieceReader, State, Turn
from tessera.text.pieces import TextPiece

FUNCTION = "<function="
_FUNCTION_END = "</function>"
_PARAMETER = "<parameter="
_PARAMETER_END = "</parameter>"


def head(names: Iterable[str]) -> CallHead:
    """What follows the call tag."""
    return CallHead((SPACE, (FUNCTION,), ended(names, ">")), name=2)


def bare_head(names: Iterable[str]) -> CallHead:
    """What follows `<function=` when the call tag is missing: enough to tell a call from an example."""
    return CallHead((ended(names, ">"), SPACE, (_PARAMETER, _FUNCTION_END)), name=0)


class XmlCallReader(PieceReader):
    """Reads what stands between the parameters of a call."""

    state = State.CALL

    @property
    def half_tag_is_text(self) -> bool:
        return False  # a call goes on, or ends, with a tag

    def __init__(self, turn: Turn, then: Callable[[], None]) -> None:
        self._turn = turn
        self._then = then
        self._arguments = Arguments(turn.signature(), turn.write)
        tags = turn.syntax.call
        self._closing = (tags.open, tags.close) if tags else ()
        self.ends = turn.spelled(self._closing)
        self.literals = (_PARAMETER, _PARAMETER_END, _FUNCTION_END, *self.ends)
        self.strays = StrayText(turn.answer)
        self._given: set[str] = set()

    def text(self, piece: TextPiece) -> None:
        self.strays.add(piece)  # newlines, or text that belongs to no parameter

    def tag(self, tag: FoundTag) -> bool:
        if tag.text == _PARAMETER:
            self._turn.move(Event.PARAMETER_OPENED, _NameReader(self._turn, self, tag))
        elif tag.text == _PARAMETER_END:
            self.strays.separate()
        elif tag.text == _FUNCTION_END:
            self.close()
        elif tag.text in self._closing:
            return self.close_before(tag)
        else:
            return False
        return True

    def end(self, finish: EngineFinish) -> None:
        """The arguments of a call that the token limit cut stay as they are."""
        if finish == "stop":
            self.close()
        else:
            self.strays.show()

    def close(self) -> None:
        """Ends the call, which is whole."""
        self._arguments.close()
        self.strays.show()
        self._then()

    def close_before(self, tag: FoundTag) -> bool:
        """Ends the call before a tag that is none of its own."""
        self.close()
        return self._turn.reader.tag(tag)

    def named(self, name: str) -> None:
        """Begins the value of a parameter. One that was given before is no part of the call."""
        self.strays.separate()
        if name in self._given:
            self._turn.move(Event.PARAMETER_DROPPED, self)
            return
        self._given.add(name)
        self._arguments.begin(name)
        value = _ValueReader(self._turn, self, self._arguments)
        self._turn.move(Event.PARAMETER_NAMED, value)


class _NameReader(PieceReader):
    """Reads the name of a parameter, which stands on one line."""

    state = State.PARAMETER_NAME

    def __init__(self, turn: Turn, parameters: XmlCallReader, tag: FoundTag) -> None:
        self._turn = turn
        self._parameters = parameters
        self._tag = tag
        self.literals = (">", "\n", *parameters.ends)
        self._parts: list[TextPiece] = []

    def text(self, piece: TextPiece) -> None:
        self._parts.append(piece)

    def tag(self, tag: FoundTag) -> bool:
        """A tag other than `>` makes the parameter's own tag one without an end."""
        if tag.text == ">":
            self._parameters.named("".join(part.text for part in self._parts).strip())
            return True
        self._parameters.strays.add(*self._tag.pieces, *self._parts)
        self._turn.move(Event.PARAMETER_DROPPED, self._parameters)
        return self._parameters.tag(tag)

    def end(self, finish: EngineFinish) -> None:
        if finish == "stop":
            self._parameters.strays.add(*self._tag.pieces, *self._parts)
        self._turn.move(Event.PARAMETER_DROPPED, self._parameters)


class _ValueReader(PieceReader):
    """Reads the value of a parameter. `_closer` is a closing tag that waits for what follows it; it is the
    first piece of `_held`.
    """

    state = State.PARAMETER_VALUE

    @property
    def half_tag_is_text(self) -> bool:
        """A closing tag begins a line, or the value."""
        return self._begun and not self._closer and not self._arguments.line_begins

    def __init__(self, turn: Turn, parameters: XmlCallReader, arguments: Arguments) -> None:
        self._turn = turn
        self._parameters = parameters
        self._arguments = arguments
        call = turn.syntax.call
        self._call_end = call.close if call else ""
        self.literals = (_PARAMETER, _PARAMETER_END, _FUNCTION_END, *turn.spelled([self._call_end]))
        self._closer = ""
        self._held: list[TextPiece] = []
        self._begun = False

    def text(self, piece: TextPiece) -> None:
        self._begun = True
        if self._closer:  # white space may stand between the closing tag and what follows it
            self._held.append(piece)
            if not piece.text.isspace():
                self._release()
        else:
            self._arguments.add(piece.text)

    def tag(self, tag: FoundTag) -> bool:
        """Decides whether the value ends."""
        match self._closer, tag.text:
            case (_, "</parameter>") | ("" | "</function>", "</function>"):
                self._release()
                self._closer = tag.text
                self._held = [*tag.pieces]
                return True
            case ("" | "</function>", "<parameter="):
                self._release()
                return self._may_be_next(tag)
            case ("</parameter>", "<parameter=" | "</function>"):
                self._end_value()
                return self._parameters.tag(tag)
            case ("</parameter>", _):
                self._end_value()
                return self._parameters.close_before(tag)
            case ("</function>", text) if text == self._call_end:
                self._end_value()
                return self._parameters.close_before(tag)
            case _:
                self._release()
                return False

    def end(self, finish: EngineFinish) -> None:
        """A closing tag at the end of the output ends the value. So does the end, but for the token limit."""
        if self._closer or finish == "stop":
            self._arguments.end()
        else:
            self._arguments.cut()
        self._turn.move(Event.VALUE_ENDED, self._parameters)
        if self._closer == _FUNCTION_END:
            self._parameters.close()

    def _end_value(self) -> None:
        self._arguments.end()
        self._turn.move(Event.VALUE_ENDED, self._parameters)

    def _release(self) -> None:
        for piece in self._held:
            self._arguments.add(piece.text)
        self._held = []
        self._closer = ""

    def _may_be_next(self, tag: FoundTag) -> bool:
        """On a new line, the opening of a known parameter that has not come yet ends the value."""
        missing = self._arguments.missing
        if not (missing and self._arguments.line_begins):
            return False
        head = CallHead((ended(missing, ">"),), name=0)
        opening = OpeningReader(self._turn, tag, head, confirmed=self._followed_by, cut_short=self._cut_short)
        self._turn.current = opening
        return True

    def _followed_by(self, name: str) -> None:
        self._arguments.end()
        self._parameters.named(name)

    def _cut_short(self) -> None:
        """Half an opening is no part of the value: it is dropped."""
