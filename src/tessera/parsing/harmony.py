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

from collections.abc import Collection
from typing import Literal

from tessera.core.chat import Mode
from tessera.core.generation import EngineFinish
from tessera.parsing.calls_harmony import ArgumentsReader
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


def _call_reader(turn: Turn) -> ArgumentsReader:
    def ended(tag: FoundTag | None) -> bool:
        header = _next_header(turn)
        turn.move(Event.MESSAGE_ENDED, header)
        return tag is None or tag.text == END or header.tag(tag)

    return ArgumentsReader(turn, ENDS_TEXT, then=ended)


class _HeaderReader(PieceReader):
    """Reads a header. `back` reads what turns out to be none. Since the state may change in the middle of a
    text, tags that are text are found here.

    The tags cut a header into parts: the role, the channel, the type of the content. Each consists of words
    in a fixed order, any of which may be missing.
    """

    state = State.HEADER

    def __init__(self, turn: Turn, back: _TextReader) -> None:
        self._turn = turn
        self._back = back
        self._spelled = turn.spelled(_TAGS)
        self._recipients = {_RECIPIENT + name: name for name in turn.tools}
        self._role = _Words(("assistant",), self._recipients)
        self._channel = _Words(_CHANNELS, self._recipients, (_TYPE,))
        self._type = _Words((_TYPE,))
        self._part: _Words | None = self._role
        self._held: list[TextPiece | FoundTag] = []
        self._begun = False
        self._half_tag = ""

    def text(self, piece: TextPiece) -> None:
        self._held.append(piece)
        for at, character in enumerate(piece.text, 1):
            if not self._follows(character):
                self._give_back()
                return
            if self._part is None:
                self._turn.push_back([span(piece, at, len(piece.text))] if at < len(piece.text) else [])
                self._begin_message()
                return

    def tag(self, tag: FoundTag) -> bool:
        if not self._held and tag.text == END:
            return True  # it has ended the message before, too
        self._held.append(tag)
        if self._half_tag or not self._tag_follows(tag.text):
            self._give_back()
        elif self._part is None:
            self._begin_message()
        return True

    def _follows(self, character: str) -> bool:
        """Whether the character may stand here. Tags that are text are put together first."""
        if not self._half_tag and character != "<":
            self._begun = self._begun or not character.isspace()
            return self._part is not None and self._part.add(character)
        self._half_tag += character
        if self._half_tag not in self._spelled:
            return any(tag.startswith(self._half_tag) for tag in self._spelled)
        whole, self._half_tag = self._half_tag, ""
        return self._tag_follows(whole)

    def _tag_follows(self, tag: str) -> bool:
        """Goes on to the next part of the header, to none after the last. Returns False if the tag may not
        stand here.
        """
        part, is_first, self._begun = self._part, not self._begun, True
        words = part.words if part else None
        if words is None:
            return False
        match tag:
            case "<|start|>":
                return is_first
            case "<|channel|>" if part is self._role:
                self._part = self._channel
            case "<|constrain|>" if part is self._channel and words[:1] and words[0] in _CHANNELS:
                self._part = self._type
            case "<|message|>" if self._is_whole(words):
                self._part = None
            case _:
                return False
        return True

    def _is_whole(self, words: tuple[str, ...]) -> bool:
        """Whether the header has a channel if it has its tag, and one recipient at most."""
        if self._part is self._channel and not {*words} & {*_CHANNELS}:
            return False
        return len(self._names()) < 2

    def _names(self) -> list[str]:
        words = (*(self._role.words or ()), *(self._channel.words or ()))
        return [self._recipients[word] for word in words if word in self._recipients]

    def end(self, finish: EngineFinish) -> None:
        """Half a header is text, unless the token limit cut it."""
        if finish == "stop" and self._held:
            self._give_back()

    def _begin_message(self) -> None:
        if names := self._names():
            self._turn.answer.call_markup()
            if self._turn.call(names[0]):
                self._turn.move(Event.CALL_CONFIRMED, _call_reader(self._turn))
        elif "analysis" in (self._channel.words or ()):
            self._turn.move(Event.REASONING_OPENED, _TextReader(self._turn, State.REASONING))
        else:
            self._turn.move(Event.ANSWER_BEGUN, _TextReader(self._turn, State.ANSWER))

    def _give_back(self) -> None:
        """What is held is read again, as text; but for the first tag, a tag in it may begin a header."""
        back = self._back
        opens = Event.REASONING_OPENED if back.state is State.REASONING else Event.ANSWER_BEGUN
        self._turn.move(opens, back)
        held = self._held
        if isinstance(held[0], FoundTag):
            for piece in held[0].pieces:
                back.text(piece)
            held = held[1:]
        self._turn.push_back(held)


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
