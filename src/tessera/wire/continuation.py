"""A stream that goes on with another server's: what the client has got is taken off the second stream.

Both servers make the same reply, but may divide it into frames differently. So texts are compared, not bytes:
those of each choice, its reasoning and each of its calls. Ids of calls differ; the client keeps the first.
"""

from collections import defaultdict
from typing import Any, TypeAlias

import msgspec

DONE = b"[DONE]"
_DATA = b"data: "
_BOUNDARY = b"\n\n"
_COMMENT = b":"
_TEXTS = ("content", "reasoning_content", "reasoning")

_Json: TypeAlias = dict[str, Any]
Field: TypeAlias = tuple[int, str]
"""A choice, and the name of a text in it."""

_USAGE: Field = (-1, "usage")


class Diverged(Exception):
    """The second stream is not the first one again."""


class EventSplitter:
    """Holds back the part of a stream that is not yet a whole frame. A comment is whole with its line."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, received: bytes) -> bytes:
        """The whole frames so far that were not returned yet."""
        received = self._held + received
        end = received.rfind(_BOUNDARY)
        end = 0 if end < 0 else end + len(_BOUNDARY)
        while received.startswith(_COMMENT, end) and (line := received.find(b"\n", end)) >= 0:
            end = line + 1
        self._held = received[end:]
        return received[:end]


class Sent:
    """What a client has got of a stream."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._frames: bytearray | None = bytearray()

    def add(self, frames: bytes) -> None:
        """Of a stream longer than `most_bytes` nothing is kept."""
        if self._frames is not None:
            self._frames += frames
            if len(self._frames) > self._most_bytes:
                self._frames = None

    def continuation(self) -> "Continuation | None":
        """What goes on with the stream; None if too much of it was sent."""
        if self._frames is None:
            return None
        made = Continuation()
        made.note(bytes(self._frames))
        return made


class Continuation:
    """Takes what was noted off a stream of the same reply. For whole frames only."""

    def __init__(self) -> None:
        self._sent: defaultdict[Field, str] = defaultdict(str)
        self._n_again: defaultdict[Field, int] = defaultdict(int)
        self._marks: set[Field] = set()

    def note(self, frames: bytes) -> None:
        """The client has got these frames."""
        for payload in filter(lambda each: each != DONE, _payloads(frames)):
            frame: _Json = msgspec.json.decode(payload)
            if frame.get("usage"):
                self._marks.add(_USAGE)
            for choice in _list(frame, "choices"):
                index: int = choice["index"]
                for name, text in _texts(choice):
                    self._sent[index, name] += text
                self._marks.update((index, name) for name in _marks(choice))

    def feed(self, frames: bytes) -> bytes:
        """The frames without what the client has got. Raises `Diverged`."""
        kept: list[bytes] = []
        for line in frames.split(b"\n"):
            if line.startswith(_COMMENT):
                kept.append(line + b"\n")
            elif line.startswith(_DATA) and (rest := self._rest(line[len(_DATA) :])):
                kept.append(_DATA + rest + _BOUNDARY)
        return b"".join(kept)

    def _rest(self, payload: bytes) -> bytes | None:
        if payload == DONE:
            self._require_caught_up()
            return payload
        frame: _Json = msgspec.json.decode(payload)
        choices = _list(frame, "choices")
        if not choices:  # the usage, or an error
            return None if frame.get("usage") and _USAGE in self._marks else payload
        frame["choices"] = [choice for choice in choices if self._strip(choice)]
        return msgspec.json.encode(frame) if frame["choices"] else None

    def _strip(self, choice: _Json) -> bool:
        """Takes off the choice what was sent of it. Returns whether anything is left."""
        index: int = choice["index"]
        delta: _Json = choice["delta"]
        if "role" in delta and (index, "role") in self._marks:
            del delta["role"]
        for name in _TEXTS:
            if isinstance(text := delta.get(name), str):
                delta[name] = self._unsent((index, name), text)
            if not delta.get(name) and "role" not in delta:
                delta.pop(name, None)
        calls = _list(delta, "tool_calls")
        if kept := [call for call in calls if self._strip_call(index, call)]:
            delta["tool_calls"] = kept
        else:
            delta.pop("tool_calls", None)
        if choice.get("finish_reason") and (index, "finish") in self._marks:
            choice["finish_reason"] = None
        return bool(delta) or bool(choice.get("finish_reason"))

    def _strip_call(self, index: int, call: _Json) -> bool:
        name = f"call {call['index']}"
        function: _Json = call["function"]
        rest = self._unsent((index, name), function.get("arguments", ""))
        function["arguments"] = rest
        if "id" not in call:
            return bool(rest)
        if (index, name) not in self._marks:
            return True
        if not rest:
            return False
        for each in ("id", "type"):
            call.pop(each, None)
        function.pop("name", None)
        return True

    def _unsent(self, field: Field, text: str) -> str:
        sent, at = self._sent.get(field, ""), self._n_again[field]
        again = sent[at : at + len(text)]
        if not text.startswith(again):
            raise Diverged
        self._n_again[field] += len(again)
        return text[len(again) :]

    def _require_caught_up(self) -> None:
        if any(self._n_again[field] < len(text) for field, text in self._sent.items()):
            raise Diverged


def _payloads(frames: bytes) -> list[bytes]:
    return [line[len(_DATA) :] for line in frames.split(b"\n") if line.startswith(_DATA)]


def _list(parent: _Json, name: str) -> list[_Json]:
    return parent.get(name) or []


def _texts(choice: _Json) -> list[tuple[str, str]]:
    delta = choice["delta"]
    texts = [(name, text) for name in _TEXTS if isinstance(text := delta.get(name), str)]
    calls = _list(delta, "tool_calls")
    return texts + [(f"call {call['index']}", call["function"].get("arguments", "")) for call in calls]


def _marks(choice: _Json) -> list[str]:
    """What a client gets once: the role, the beginning of each call, the reason of the end."""
    delta = choice["delta"]
    calls = [f"call {call['index']}" for call in _list(delta, "tool_calls") if "id" in call]
    role = ["role"] if "role" in delta else []
    return role + calls + (["finish"] if choice.get("finish_reason") else [])
