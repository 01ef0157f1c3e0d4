"""Reads the messages of gpt-oss, in the harmony format.

    <|start|>assistant<|channel|>analysis<|message|>TEXT<|end|>
    <|start|>assistant<|channel|>commentary to=functions.NAME <|constrain|>json<|message|>{…}<|call|>
    <|start|>assistant<|channel|>final<|message|>TEXT<|return|>

A message has a header and a body; the prompt has already written the beginning of the first header. The
channel `analysis` is reasoning; the others are text of the answer. A recipient, which may stand before or
after the channel, makes a message a call. Its body is the object of the arguments.

A header is held until `<|message|>` ends it. As soon as what is held cannot become a header, such as that of
a call to an unknown function, all of it is text: of the message that `<|start|>` or `<|channel|>` interrupts,
else of the answer. If the token limit cuts a header, it is dropped. Where the tags are ordinary text, they
stay text within the strings of arguments and within the JSON that a request asked for.
"""

from collections.abc import Callable, Collection, Iterable
from typing import Literal

from tessera.core.chat import Mode
from tessera.core.generation import EngineFinish
from tessera.parsing.answer import StrayText
from tessera.parsing.calls_json import JsonScanner, unwrapped
from tessera.parsing.matcher import FoundTag, span
from tessera.parsing.states import Event, PieceReader, State, Turn
from tessera.text.pieces import TextPiece

START, CHANNEL, CONSTRAIN, MESSAGE, END = (
    "<|start|>",
    "<|channel|>",
    "<|constrain|>",
    "<|message|>",
    "<|end|>",
)
_TAGS = (START, CHANNEL, CONSTRAIN, MESSAGE, END)
ENDS_TEXT = (START, CHANNEL, END)
"""The tags that end, or may end, the body of a message."""

_RECIPIENT = "to=functions."
_CHANNELS = ("analysis", "commentary", "final")
_TYPE = "json"
_PARAGRAPH = TextPiece("\n\n")


def first_reader(turn: Turn, mode: Mode) -> PieceReader:
    """The prompt has opened the analysis, or it ends after `<|start|>assistant`."""
    if mode is Mode.THINKING:
        return _TextReader(turn, State.REASONING)
    return _HeaderReader(turn, back=_TextReader(turn, State.ANSWER))


class _TextReader(PieceReader):
    """Reads the body of a message that is reasoning, or text of the answer. Text of an earlier message of the
    same kind is a paragraph of its own.
    """

    def __init__(self, turn: Turn, state: Literal[State.REASONING, State.ANSWER]) -> None:
        self.state = state
        self._turn = turn
        is_answer = state is State.ANSWER
        self.literals = turn.spelled(() if is_answer and turn.answers_json else ENDS_TEXT)
        self._follows_text = not turn.answer.blank if is_answer else turn.has_thought
        self.shows_text = is_answer and not self._follows_text

    def text(self, piece: TextPiece) -> None:
        if self._follows_text:
            self._follows_text = False
            self.shows_text = self.state is State.ANSWER
            self._show(_PARAGRAPH)
        self._show(piece)

    def tag(self, tag: FoundTag) -> bool:
        if tag.text == END:
            self._turn.move(Event.MESSAGE_ENDED, _next_header(self._turn))
            return True
        if tag.text not in ENDS_TEXT:
            return False
        header = _HeaderReader(self._turn, back=self)
        self._turn.move(Event.MESSAGE_ENDED, header)
        return header.tag(tag)

    def end(self, finish: EngineFinish) -> None:
        pass

    def _show(self, piece: TextPiece) -> None:
        if self.state is State.REASONING:
            self._turn.think(piece.text)
        else:
            self._turn.answer.text(piece)


def _next_header(turn: Turn) -> "_HeaderReader":
    return _HeaderReader(turn, back=_TextReader(turn, State.ANSWER))


class _HeaderReader(PieceReader):
    """Reads a header. `back` reads what turns out to be none.

    The tags cut a header into parts: the role, the channel, the type of the content. Each consists of words
    in a fixed order, any of which may be missing.
    """

    state = State.HEADER

    @property
    def half_tag_is_text(self) -> bool:
        return False  # a body cannot begin here

    def __init__(self, turn: Turn, back: _TextReader) -> None:
        self._turn = turn
        self._back = back
        self.literals = turn.spelled(_TAGS)
        recipients = {_RECIPIENT + name: name for name in turn.tools}
        self._recipients = recipients
        self._role = _Words(("assistant",), recipients)
        self._channel = _Words(_CHANNELS, recipients, (_TYPE,))
        self._type = _Words((_TYPE,))
        self._part = self._role
        self._held: list[TextPiece | FoundTag] = []

    def text(self, piece: TextPiece) -> None:
        self._held.append(piece)
        if not self._part.add(piece.text):
            self._give_back()

    def tag(self, tag: FoundTag) -> bool:
        is_first = not self._held
        if is_first and tag.text == END:
            return True  # it has ended the message before, too
        self._held.append(tag)
        whole = self._part.words
        match tag.text:
            case "<|start|>" if is_first:
                pass
            case "<|channel|>" if self._part is self._role and whole is not None:
                self._part = self._channel
            case "<|constrain|>" if self._part is self._channel and whole and whole[0] in _CHANNELS:
                self._part = self._type
            case "<|message|>" if whole is not None:
                self._begin_message()
            case _:
                self._give_back()
        return True

    def end(self, finish: EngineFinish) -> None:
        """Half a header is text, unless the token limit cut it."""
        if finish == "stop" and self._held:
            self._give_back()

    def _begin_message(self) -> None:
        words = [*(self._role.words or ()), *(self._channel.words or ())]
        names = [self._recipients[word] for word in words if word in self._recipients]
        if len(names) > 1 or (self._part is not self._role and not {*words} & {*_CHANNELS}):
            self._give_back()
        elif names:
            self._turn.answer.call_markup()
            if self._turn.call(names[0]):
                self._turn.move(Event.CALL_CONFIRMED, _CallReader(self._turn))
        elif "analysis" in words:
            self._turn.move(Event.REASONING_OPENED, _TextReader(self._turn, State.REASONING))
        else:
            self._turn.move(Event.ANSWER_BEGUN, _TextReader(self._turn, State.ANSWER))

    def _give_back(self) -> None:
        """The first tag is text. What follows is read again: a later tag may begin a header."""
        back = self._back
        opens = Event.REASONING_OPENED if back.state is State.REASONING else Event.ANSWER_BEGUN
        self._turn.move(opens, back)
        first, *rest = self._held
        for piece in first.pieces if isinstance(first, FoundTag) else [first]:
            back.text(piece)
        self._turn.push_back(rest)


class _Words:
    """A part of a header: words, each one of its options, in the order of the options."""

    def __init__(self, *options: Collection[str]) -> None:
        self._options = options
        self._text = ""

    def add(self, text: str) -> bool:
        """Adds text; returns whether it may still become such words."""
        words = (self._text + text).split()
        self._text = " ".join(words)
        last = ""
        if words and text[-1].isspace():
            self._text += " "
        elif words:
            last = words.pop()
        options = iter(self._options)
        fits = all(any(word in each for each in options) for word in words)
        return fits and (not last or any(option.startswith(last) for each in options for option in each))

    @property
    def words(self) -> tuple[str, ...] | None:
        """The words; None if the last one is cut."""
        options = iter(self._options)
        words = tuple(self._text.split())
        return words if all(any(word in each for each in options) for word in words) else None


class _CallReader(PieceReader):
    """Reads the arguments of a call, which end where the value ends. Other text in the body becomes part of
    the answer.
    """

    state = State.CALL

    @property
    def half_tag_is_text(self) -> bool:
        return self._scanner.in_string

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self.literals = turn.spelled(ENDS_TEXT)
        self._scanner = JsonScanner()
        self._strays = StrayText(turn.answer)
        self._write: Callable[[str], None] | None = None
        self._value: list[str] = []

    def text(self, piece: TextPiece) -> None:
        text = piece.text
        at = 0 if self._write else len(text) - len(text.lstrip())
        if at == len(text):
            return
        if self._write is None:
            # Only an object is passed on as it comes.
            self._write = self._turn.write if text[at] == "{" else self._value.append
        until = self._scanner.scan(text, at)
        if until > at:
            self._write(text[at:until])
        self._strays.add(span(piece, until, len(text)))

    def tag(self, tag: FoundTag) -> bool:
        """A tag is text within a string, else the end of the call."""
        if self._scanner.in_string or tag.text not in ENDS_TEXT:
            return False
        self._close()
        header = _next_header(self._turn)
        self._turn.move(Event.MESSAGE_ENDED, header)
        return tag.text == END or header.tag(tag)

    def end(self, finish: EngineFinish) -> None:
        """The arguments of a call that the token limit cut stay as they are."""
        if finish == "stop":
            self._close()
            self._turn.move(Event.MESSAGE_ENDED, _next_header(self._turn))
        else:
            if self._value:
                self._turn.write(unwrapped("".join(self._value), self._scanner.missing()))
            self._strays.show()

    def _close(self) -> None:
        missing = self._scanner.missing()
        if self._write != self._turn.write:
            self._turn.write(unwrapped("".join(self._value), missing))
        elif missing:
            self._turn.write(missing)
        self._turn.in_call = False
        self._strays.show()
