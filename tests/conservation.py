"""Nothing of an output is lost: what that means, as a search for an account of every character.

An output is read from left to right. White space aside, each character of it is either the next one of the
reasoning, of the content or of the arguments of the call that is open, or it is part of some markup. This is
all the markup there is:

- a reasoning tag, as long as there is no content;
- the head of a call, up to the name of the function, one for each call of the reply;
- the closing tag of a call: once after each, and again while nothing but markup came since;
- in a call as XML: the tag of a parameter, whose name is the next key of the arguments or one that was there
  before, the closing tags, and the quotes and escapes of a value that is a JSON string;
- in a call as JSON: the key of the arguments, `null` in their place, the quotes and escapes of arguments in a
  string, and `:` `,` `}` outside of the arguments;
- if the length cut the output, its end may be part of a tag or of the head of a call, where the next is:
  any part within a call, between calls, or where the request allows nothing but a call;
  elsewhere only a head whose opening tag is whole.

What follows the token that ends the turn is not part of the output.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Literal

from tests.families import Family

from tessera.core.chat import ChatRequest, FreeText, Mode
from tessera.core.generation import EngineFinish
from tessera.core.result import Choice

Where = Literal["reasoning begins", "reasoning", "content", "after call", "call"]
OPEN, CLOSE, FUNCTION, PARAMETER = "<tool_call>", "</tool_call>", "<function=", "<parameter="
XML_TAGS = (PARAMETER, "</parameter>", "</function>", CLOSE, OPEN)
_STRING = re.compile(r'"(?:\\.|[^"\\])*"?', re.DOTALL)
_TAG_OF_PARAMETER = re.compile(r"<parameter=([^\n>]*)>")


@dataclass(frozen=True, slots=True)
class _At:
    """How far the comparison has come: in the output, the reasoning, the content, the calls, and the
    arguments of the last call.
    """

    where: Where
    i: int = 0
    reasoning: int = 0
    content: int = 0
    calls: int = 0
    arguments: int = 0
    unclosed: bool = False


def is_accounted_for(
    family: Family, parts: Sequence[str], request: ChatRequest, finish: EngineFinish, choice: Choice
) -> bool:
    """Whether `choice` holds all of the output `parts`, except markup."""
    account = _Account(family, parts, request, finish, choice)
    begin = _At("reasoning begins" if request.mode is Mode.THINKING else "content")
    seen, todo = {begin}, [begin]
    while todo:
        at = todo.pop()
        if account.is_end(at):
            return True
        for further in account.steps(at):
            if further not in seen:
                seen.add(further)
                todo.append(further)
    return False


class _Account:
    def __init__(
        self, family: Family, parts: Sequence[str], request: ChatRequest, finish: EngineFinish, choice: Choice
    ) -> None:
        self.control = family.control
        self.xml = family.format.syntax.calls == "xml"
        parts = [*parts]
        if "<|im_end|>" in parts:
            parts = parts[: parts.index("<|im_end|>")]
        self.items = [item for part in parts for item in ([part] if part in self.control else part)]
        self.text = "".join(self.items)
        self.offsets = [*accumulate(map(len, self.items), initial=0)]
        self.index = {offset: i for i, offset in enumerate(self.offsets)}
        self.cut = finish == "length"
        names = request.tool_choice.names
        self.names = [tool.name for tool in request.tools if names is None or tool.name in names]
        self.only_call = not isinstance(request.answer_format, FreeText) or (
            request.tool_choice.mode == "required"
        )
        self.reasoning, self.content = _dense(choice.reasoning), _dense(choice.text)
        self.calls = [call.name for call in choice.tool_calls]
        read = _xml_arguments if self.xml else _json_arguments
        self.arguments = [read(call.arguments) for call in choice.tool_calls]

    def is_end(self, at: _At) -> bool:
        whole = at.reasoning == len(self.reasoning) and at.content == len(self.content)
        if not whole or at.calls < len(self.calls) or not (self._is_whole(at) or at.i == len(self.items)):
            return False
        return at.i == len(self.items) or (self.cut and self._is_half_markup(at))

    def steps(self, at: _At) -> Iterator[_At]:
        if at.i == len(self.items):
            return
        item = self.items[at.i]
        if item.isspace():
            yield replace(at, i=at.i + 1)
        if at.where.startswith("reasoning"):
            yield from self._shown(at, item, "reasoning")
        else:
            yield from self._shown(at, item, "content")
        yield from self._markup(at)
        if at.where == "call":
            yield from self._in_call(at, item)

    def _shown(self, at: _At, item: str, where: Literal["reasoning", "content"]) -> Iterator[_At]:
        shown, n = (self.reasoning, at.reasoning) if where == "reasoning" else (self.content, at.content)
        item = _dense(item)
        if item and shown.startswith(item, n):
            kept: Where = "call" if at.where == "call" else where
            moved = replace(at, i=at.i + 1, where=kept)
            n += len(item)
            yield replace(moved, reasoning=n) if where == "reasoning" else replace(moved, content=n)

    def _markup(self, at: _At) -> Iterator[_At]:
        for tag, goes in (("<think>", "reasoning begins"), ("</think>", "content")):
            allowed = at.where in ("reasoning begins", "reasoning") if goes == "content" else True
            if (n := self._tag(at, tag)) and (allowed or not at.content) and at.where != "call":
                yield replace(at, i=n, where="after call" if at.where == "after call" else goes)
                yield replace(at, i=n, where=goes)
        if not self._is_whole(at):
            return
        if (at.unclosed or at.where in ("after call", "call")) and (n := self._tag(at, CLOSE)):
            yield replace(at, i=n, where="after call", unclosed=False)
        if at.where == "call":
            yield replace(at, where="after call")
        if at.calls < len(self.calls) and (n := self._head(at, self.calls[at.calls])):
            yield replace(at, i=n, where="call", calls=at.calls + 1, arguments=0, unclosed=True)

    def _in_call(self, at: _At, item: str) -> Iterator[_At]:
        items = self.arguments[at.calls - 1]
        item = _dense(item)
        if item and "".join(items[at.arguments : at.arguments + len(item)]) == item:
            yield replace(at, i=at.i + 1, arguments=at.arguments + len(item))
        if self.xml:
            yield from self._in_xml(at, items)
        else:
            yield from self._in_json(at, items)

    def _in_xml(self, at: _At, items: list[str]) -> Iterator[_At]:
        for tag in ("</parameter>", "</function>"):
            if self._tag(at, tag):
                yield replace(at, i=at.i + len(tag), where="after call" if tag == "</function>" else "call")
        found, end = self._match(_TAG_OF_PARAMETER, at.i)
        if found:
            key = f"key {found[1].strip()}"
            if items[at.arguments : at.arguments + 1] == [key]:
                yield replace(at, i=end, arguments=at.arguments + 1)
            elif key in items[: at.arguments]:
                yield replace(at, i=end)
        if at.arguments and len(items[at.arguments - 1]) > 1:
            yield from self._quoted(at, items)

    def _in_json(self, at: _At, items: list[str]) -> Iterator[_At]:
        for punctuation in (":", ",", "}", '"arguments"', "null"):
            if n := self._tag(at, punctuation):
                yield replace(at, i=n)
        if not at.arguments:
            yield from self._quoted(at, items)

    def _quoted(self, at: _At, items: list[str]) -> Iterator[_At]:
        """Matches arguments, or a value, in quotes that do not belong to them."""
        string, end = self._match(_STRING, at.i)
        written = _dense(_decoded(string[0])) if string else ""
        if string and "".join(items[at.arguments : at.arguments + len(written)]) == written:
            yield replace(at, i=end, arguments=at.arguments + len(written))

    def _match(self, pattern: re.Pattern[str], i: int) -> tuple[re.Match[str] | None, int]:
        """The pattern's match at an item, and the item after it."""
        found = pattern.match(self.text, self.offsets[i])
        end = self.index.get(found.end()) if found else None
        return (found, end) if end is not None else (None, 0)

    def _is_whole(self, at: _At) -> bool:
        """Whether nothing of the last call's arguments is left, except what the parser closed."""
        if not at.calls:
            return True
        left = "".join(self.arguments[at.calls - 1][at.arguments :])
        return not left.strip('"}]') or (not at.arguments and left == "{}")

    def _tag(self, at: _At, tag: str) -> int:
        """The end of the tag at this place, or 0 if there is none."""
        if self.items[at.i] == tag:
            return at.i + 1
        if tag in self.control:
            return 0
        return at.i + len(tag) if self.items[at.i : at.i + len(tag)] == [*tag] else 0

    def _head(self, at: _At, name: str) -> int:
        after = self._tag(at, OPEN)
        bare = self.xml and at.where in ("content", "after call")
        if not (after or bare):
            return 0
        pattern = rf"\s*<function={name}>" if self.xml else rf'\s*{{\s*"name"\s*:\s*"{name}"'
        return self._match(re.compile(pattern), after or at.i)[1]

    def _is_half_markup(self, at: _At) -> bool:
        written = self.text[self.offsets[at.i] :]
        rest = _dense(written)
        after_tag = self._tag(at, OPEN) > 0
        anywhere = at.where in ("call", "after call") or (self.only_call and not at.content)
        begins = ("<function={}>", "<parameter=") if self.xml else ('{{"name":"{}"', "")
        heads = [OPEN + begins[0].format(name) for name in self.names]
        if after_tag and any(head.startswith(rest) for head in heads):
            return True
        if not anywhere:
            return False
        tags = [*XML_TAGS, *heads, "<think>", "</think>"]
        if self.xml:
            bare = [head.removeprefix(OPEN) for head in heads]
            tags += [head + next_ for head in bare for next_ in (PARAMETER, "</function>")]
            if at.where == "call" and rest.startswith(PARAMETER) and ">" not in rest:
                return "\n" not in written
        elif at.where == "call":
            tags.append('"arguments"')
        return any(tag.startswith(rest) for tag in tags)


def _dense(text: str | None) -> str:
    return "".join((text or "").split())


def _decoded(string: str) -> str:
    """The value of a JSON string, which may lack its end."""
    for end in ("", '"'):
        try:
            return json.loads(string + end)
        except ValueError:
            pass
    return string


def _json_arguments(text: str) -> list[str]:
    return [*_dense(text)]


def _xml_arguments(text: str) -> list[str]:
    """The keys, as `key NAME`, and the characters of the values as they were written in the call."""
    items: list[str] = []
    at, decoder = 0, json.JSONDecoder()
    while found := re.compile(r'[{,]\s*("(?:\\.|[^"\\])*"):\s*').match(text, at):
        items.append(f"key {json.loads(found[1])}")
        at = found.end()
        try:
            value, end = decoder.raw_decode(text, at)
        except ValueError:
            value = _decoded(text[at:]) if text.startswith('"', at) else text[at:]
            end = len(text)
        items += _dense(value if isinstance(value, str) else text[at:end])
        at = end
    assert text[at:].strip() in ("", "}", "{}"), text
    return items
