r"""Reads calls that are written parameter by parameter, as Qwen3.5 and Qwen3.6 do, and GLM 4.

    <tool_call>\n<function=NAME>\n<parameter=KEY>\nVALUE\n</parameter>\n…</function>\n</tool_call>
    <tool_call>NAME\n<arg_key>KEY</arg_key>\n<arg_value>VALUE</arg_value>\n…</tool_call>

The tags are those of the family's style (`xml_tags`); here, Qwen's stand for all. Values are raw text:
nothing is escaped, and a value may hold any of the tags. So a closing tag counts only with what must follow
it: `</parameter>` before another parameter, the end of the function, a control token or the end of the
output. A model may forget it: then `</function>` before the end of the call, or the opening of a known
parameter on a new line, closes the value too; in GLM's form, neither does.

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
from tessera.parsing.xml_tags import XML_TAGS
from tessera.text.pieces import TextPiece

_QWEN, _GLM = XML_TAGS["xml"], XML_TAGS["glm"]
FUNCTION = _QWEN.function


def head(names: Iterable[str]) -> CallHead:
    """What follows the call tag."""
    return CallHead((SPACE, (FUNCTION,), ended(names, ">")), name=2)


def bare_head(names: Iterable[str]) -> CallHead:
    """What follows `<function=` when the call tag is missing: enough to tell a call from an example."""
    return CallHead((ended(names, ">"), SPACE, (_QWEN.parameter, _QWEN.function_end)), name=0)


def head_without_tag(names: Iterable[str]) -> CallHead:
    """What follows the call tag if the name stands alone: on its line, or before a tag."""
    by_any = tuple(name + end for name in names for end in "\n<")
    return CallHead((SPACE, by_any), name=1, tags=(_GLM.parameter, "</tool_call>"))


class XmlCallReader(PieceReader):
    """Reads what stands between the parameters of a call."""

    state = State.CALL

    @property
    def half_tag_is_text(self) -> bool:
        return False  # a call goes on, or ends, with a tag

    def __init__(self, turn: Turn, then: Callable[[], None]) -> None:
        self._turn = turn
        self._then = then
        self.tags = XML_TAGS[turn.syntax.calls]
        self._arguments = Arguments(turn.signature(), turn.write, lines=self.tags.value_lines)
        call = turn.syntax.call
        self._closing = (call.open, call.close) if call else ()
        self.ends = turn.spelled(self._closing)
        own = filter(None, (self.tags.parameter, self.tags.value_end, self.tags.function_end))
        self.literals = (*turn.spelled(own), *self.ends)
        self.strays = StrayText(turn.answer)
        self._given: set[str] = set()

    def text(self, piece: TextPiece) -> None:
        self.strays.add(piece)  # newlines, or text that belongs to no parameter

    def tag(self, tag: FoundTag) -> bool:
        if tag.text == self.tags.parameter:
            self._turn.move(Event.PARAMETER_OPENED, _NameReader(self._turn, self, tag))
        elif tag.text == self.tags.value_end:
            self.strays.separate()
        elif tag.text == self.tags.function_end:
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
    """Reads the name of a parameter, which stands on one line, and the tag that opens its value."""

    state = State.PARAMETER_NAME

    def __init__(self, turn: Turn, parameters: XmlCallReader, tag: FoundTag) -> None:
        self._turn = turn
        self._parameters = parameters
        self._tag = tag
        self._tags = tags = parameters.tags
        self.literals = (*turn.spelled(filter(None, [tags.key_end, tags.value])), "\n", *parameters.ends)
        self._parts: list[TextPiece] = []
        self._name: str | None = None
        self._may_be_named = True

    def text(self, piece: TextPiece) -> None:
        self._parts.append(piece)
        self._may_be_named = self._name is None or (self._may_be_named and piece.text.isspace())

    def tag(self, tag: FoundTag) -> bool:
        """Any other tag makes the parameter's own tag one without an end."""
        if self._name is None and tag.text == self._tags.key_end:
            self._name = "".join(part.text for part in self._parts).strip()
            if not self._tags.value:
                self._parameters.named(self._name)
        elif self._name is not None and self._may_be_named and tag.text == self._tags.value:
            self._parameters.named(self._name)
            return True
        elif self._name is None or tag.text != "\n":
            return self._drop(tag)
        self._parts += tag.pieces
        return True

    def _drop(self, tag: FoundTag) -> bool:
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
        """A closing tag begins a line, or the value, or it may stand anywhere."""
        may_begin = self._arguments.line_begins or not self._tags.value_lines
        return self._begun and not self._closer and not may_begin

    def __init__(self, turn: Turn, parameters: XmlCallReader, arguments: Arguments) -> None:
        self._turn = turn
        self._parameters = parameters
        self._arguments = arguments
        self._tags = tags = parameters.tags
        call = turn.syntax.call
        self._call_end = call.close if call else ""
        own = filter(None, (tags.parameter, tags.value_end, tags.function_end, self._call_end))
        self.literals = turn.spelled(own)
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
        tags, text = self._tags, tag.text
        is_closed = self._closer == tags.value_end
        if text == tags.value_end or (text == tags.function_end and not is_closed):
            self._release()
            self._closer = text
            self._held = [*tag.pieces]
            return True
        if is_closed:
            self._end_value()
            if text in (tags.parameter, tags.function_end):
                return self._parameters.tag(tag)
            return self._parameters.close_before(tag)
        if self._closer and text == self._call_end:
            self._end_value()
            return self._parameters.close_before(tag)
        self._release()
        return text == tags.parameter and self._may_be_next(tag)

    def end(self, finish: EngineFinish) -> None:
        """A closing tag at the end of the output ends the value. So does the end, but for the token limit."""
        if self._closer or finish == "stop":
            self._arguments.end()
        else:
            self._arguments.cut()
        self._turn.move(Event.VALUE_ENDED, self._parameters)
        if self._closer and self._closer == self._tags.function_end:
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
        if self._tags.value or not (missing and self._arguments.line_begins):
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
