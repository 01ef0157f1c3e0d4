r"""Calls as Qwen3.5 and Qwen3.6 write them.

    <tool_call>\n<function=NAME>\n<parameter=KEY>\nVALUE\n</parameter>\n…</function>\n</tool_call>

Values are raw text: nothing is escaped, and a value may hold any of the tags. So a closing tag counts only
with what must follow it: `</parameter>` before another parameter, the end of the function, a control token
or the end of the output. A model may forget it: then `</function>` before the end of the call, or the
opening of a known parameter on a new line, closes the value too.

Any other text within a call goes to the answer (`Strays`): text between parameters, a parameter's tag
without an end, and the value of a parameter that was given before. If the length cuts a call, half a tag is
dropped; in a value that is one which begins a line, since in front of it there is always a newline.
"""

from collections.abc import Callable, Iterable

from tessera.core.generation import EngineFinish
from tessera.parsing.arguments import Arguments
from tessera.parsing.matcher import Tag
from tessera.parsing.opening import SPACE, Head, Opening, ended
from tessera.parsing.strays import Strays
from tessera.parsing.turn import Call, State, Turn
from tessera.text.pieces import TextPiece

FUNCTION = "<function="
_FUNCTION_END = "</function>"
_PARAMETER = "<parameter="
_PARAMETER_END = "</parameter>"


def head(names: Iterable[str]) -> Head:
    """What follows the call tag."""
    return Head((SPACE, (FUNCTION,), ended(names, ">")), name=2)


def bare_head(names: Iterable[str]) -> Head:
    """What follows `<function=` when the call tag is missing: enough to tell a call from an example."""
    return Head((ended(names, ">"), SPACE, (_PARAMETER, _FUNCTION_END)), name=0)


class Parameters(State):
    """Between parameters."""

    @property
    def half_tag_is_text(self) -> bool:
        """A call goes on or ends with a tag."""
        return False

    def __init__(self, turn: Turn, call: Call, then: Callable[[], None]) -> None:
        self._turn, self._then = turn, then
        self._arguments = Arguments(call.signature(), call.write)
        tags = turn.syntax.call
        self._closing = (tags.open, tags.close) if tags else ()
        self.ends = turn.spelled(self._closing)
        self.literals = (_PARAMETER, _PARAMETER_END, _FUNCTION_END, *self.ends)
        self.strays = Strays(turn.answer)
        self._given: set[str] = set()

    def text(self, piece: TextPiece) -> None:
        """Newlines, or text that belongs to no parameter."""
        self.strays.add(piece)

    def tag(self, tag: Tag) -> bool:
        """A parameter, or the end."""
        if tag.text == _PARAMETER:
            self._turn.state = _Key(self._turn, self, tag)
        elif tag.text == _PARAMETER_END:
            self.strays.separate()
        elif tag.text == _FUNCTION_END:
            self.close()
        elif tag.text in self._closing:
            self.close()
            return self._turn.state.tag(tag)
        else:
            return False
        return True

    def end(self, finish: EngineFinish) -> None:
        """The arguments of a call that its length cut stay as they are."""
        if finish == "stop":
            self.close()
        else:
            self.strays.show()

    def close(self) -> None:
        """The call is whole."""
        self._arguments.close()
        self.strays.show()
        self._then()

    def after_value(self, tag: Tag) -> bool:
        """What follows a value; a control token of any kind ends the call."""
        self._turn.state = self
        if tag.text in (_PARAMETER, _FUNCTION_END):
            return self.tag(tag)
        self.close()
        return self._turn.state.tag(tag)

    def value(self, name: str) -> None:
        """Read the value of a parameter; of one that was given before, it is no part of the call."""
        self.strays.separate()
        if name in self._given:
            self._turn.state = self
            return
        self._given.add(name)
        self._arguments.begin(name)
        self._turn.state = _Value(self._turn, self, self._arguments)


class _Key(State):
    """The name of a parameter, on one line."""

    def __init__(self, turn: Turn, parameters: Parameters, tag: Tag) -> None:
        self._turn, self._parameters, self._tag = turn, parameters, tag
        self.literals = (">", "\n", *parameters.ends)
        self._parts: list[TextPiece] = []

    def text(self, piece: TextPiece) -> None:
        """More of the name."""
        self._parts.append(piece)

    def tag(self, tag: Tag) -> bool:
        """The end of the name, or of an unfinished tag."""
        if tag.text == ">":
            self._parameters.value("".join(part.text for part in self._parts).strip())
            return True
        self._parameters.strays.add(*self._tag.pieces, *self._parts)
        self._turn.state = self._parameters
        return self._parameters.tag(tag)

    def end(self, finish: EngineFinish) -> None:
        """A parameter without a name is none."""
        if finish == "stop":
            self._parameters.strays.add(*self._tag.pieces, *self._parts)
        self._parameters.end(finish)


class _Value(State):
    """The value of a parameter. `_closer` is a closing tag that waits for what follows it, in `_held`."""

    @property
    def half_tag_is_text(self) -> bool:
        """A closing tag begins a line, or the value."""
        return self._begun and not self._closer and not self._arguments.line_begins

    def __init__(self, turn: Turn, parameters: Parameters, arguments: Arguments) -> None:
        self._turn, self._parameters, self._arguments = turn, parameters, arguments
        call = turn.syntax.call
        self._call_end = call.close if call else ""
        self.literals = (_PARAMETER, _PARAMETER_END, _FUNCTION_END, *turn.spelled([self._call_end]))
        self._closer = ""
        self._held: list[TextPiece] = []
        self._begun = False

    def text(self, piece: TextPiece) -> None:
        """Text of the value, unless it is white space after a closing tag."""
        self._begun = True
        if self._closer:
            self._held.append(piece)
            if not piece.text.isspace():
                self._release()
        else:
            self._arguments.add(piece.text)

    def tag(self, tag: Tag) -> bool:
        """Decide whether the value ends."""
        match self._closer, tag.text:
            case (_, "</parameter>") | ("" | "</function>", "</function>"):
                self._release()
                self._closer, self._held = tag.text, [*tag.pieces]
                return True
            case ("" | "</function>", "<parameter="):
                self._release()
                return self._next_parameter(tag)
            case ("</parameter>", _):
                self._arguments.end()
                return self._parameters.after_value(tag)
            case ("</function>", text) if text == self._call_end:
                self._arguments.end()
                return self._parameters.after_value(tag)
            case _:
                self._release()
                return False

    def end(self, finish: EngineFinish) -> None:
        """A closing tag at the end of the output counts; so does the end itself, unless by length."""
        if self._closer or finish == "stop":
            self._arguments.end()
        else:
            self._arguments.cut()
        self._parameters.end("stop" if self._closer == _FUNCTION_END else finish)

    def _release(self) -> None:
        for piece in self._held:
            self._arguments.add(piece.text)
        self._held, self._closer = [], ""

    def _next_parameter(self, tag: Tag) -> bool:
        """On a new line, the opening of a parameter that is known and still missing ends the value."""
        missing = self._arguments.missing
        if not (missing and self._arguments.line_begins):
            return False
        head = Head((ended(missing, ">"),), name=0)
        self._turn.state = Opening(self._turn, tag, head, self._followed_by, cut_short=self._cut_short)
        return True

    def _followed_by(self, name: str) -> None:
        self._arguments.end()
        self._parameters.value(name)

    def _cut_short(self) -> None:
        """Half the opening of a parameter is no part of the value."""
