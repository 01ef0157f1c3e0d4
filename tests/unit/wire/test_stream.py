import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai._streaming import SSEDecoder
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from tests.strategies import examples

from tessera.core.events import (
    ChatEvent,
    Completed,
    Finished,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from tessera.core.generation import TokenLogprob
from tessera.core.usage import Usage
from tessera.errors import GenerationFailed, RequestError
from tessera.wire import reply
from tessera.wire.reply import Header, ReplyWriter
from tessera.wire.stream import ChunkWriter, error_frame

HEADER = Header("chatcmpl-1", 1_700_000_000, "some/model")
DONE = Completed(Usage(7, 3, 5, 2))


def spell(token_id: int) -> bytes:
    return bytes([token_id % 256])


def frames(stream: bytes) -> list[str]:
    return [sse.data for sse in SSEDecoder().iter_bytes(iter([stream]))]


def chunks(events: list[ChatEvent], *, include_usage: bool = False) -> list[dict[str, Any]]:
    writer = ChunkWriter(HEADER, spell, include_usage=include_usage)
    *sent, end = frames(writer.write(events))
    assert end == "[DONE]"
    return [json.loads(frame) for frame in sent]


def whole(events: list[ChatEvent]) -> dict[str, Any]:
    writer = ReplyWriter(HEADER, spell)
    for event in events:
        writer.add([event])
    return json.loads(writer.body())


def test_a_stream_of_text() -> None:
    first, second, last = chunks(
        [TextDelta(0, "Hé\n"), TextDelta(0, '"y"'), Finished(0, FinishReason.STOP), DONE]
    )
    assert first == {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "some/model",
        "system_fingerprint": first["system_fingerprint"],
        "choices": [
            {
                "index": 0,
                "delta": {"role": "assistant", "content": "Hé\n"},
                "logprobs": None,
                "finish_reason": None,
            }
        ],
    }
    assert second["choices"][0]["delta"] == {"content": '"y"'}
    assert last["choices"] == [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}]


def test_usage_is_null_until_the_last_chunk() -> None:
    *rest, last = chunks([TextDelta(0, "a"), Finished(0, FinishReason.LENGTH), DONE], include_usage=True)
    assert [chunk["usage"] for chunk in rest] == [None, None]
    assert last["choices"] == []
    assert last["usage"] == {
        "prompt_tokens": 7,
        "completion_tokens": 5,
        "total_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }


def test_reasoning_has_both_names() -> None:
    first, second, *_ = chunks(
        [ReasoningDelta(0, "r"), TextDelta(0, "t"), Finished(0, FinishReason.STOP), DONE]
    )
    assert first["choices"][0]["delta"] == {
        "role": "assistant",
        "content": None,
        "reasoning_content": "r",
        "reasoning": "r",
    }
    assert second["choices"][0]["delta"] == {"content": "t"}


def test_tool_calls() -> None:
    events: list[ChatEvent] = [
        ToolCallStarted(0, 0, "call_1", "look"),
        ToolCallDelta(0, 0, '{"a"'),
        ToolCallDelta(0, 0, ":1}"),
        ToolCallStarted(0, 1, "call_2", "see"),
        ToolCallDelta(0, 1, "{}"),
        Finished(0, FinishReason.TOOL_CALLS),
        DONE,
    ]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks(events)]
    assert deltas[0] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look", "arguments": ""}}
        ],
    }
    assert deltas[1] == {"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]}
    assert deltas[3]["tool_calls"][0]["index"] == 1
    message = whole(events)["choices"][0]["message"]
    assert message["content"] is None
    assert message["tool_calls"] == [
        {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"a":1}'}},
        {"id": "call_2", "type": "function", "function": {"name": "see", "arguments": "{}"}},
    ]


def test_logprobs_spell_their_tokens() -> None:
    logprob = TokenLogprob(0xE9, -0.5, ((0xE9, -0.5), (65, float("-inf"))))
    event = TextDelta(0, "é", (logprob,))
    (chunk, *_) = chunks([event, Finished(0, FinishReason.STOP), DONE])
    expected = {
        "content": [
            {
                "token": "\ufffd",
                "logprob": -0.5,
                "bytes": [0xE9],
                "top_logprobs": [
                    {"token": "\ufffd", "logprob": -0.5, "bytes": [0xE9]},
                    {"token": "A", "logprob": -9999.0, "bytes": [65]},
                ],
            }
        ],
        "refusal": None,
    }
    assert chunk["choices"][0]["logprobs"] == expected
    assert whole([event, Finished(0, FinishReason.STOP), DONE])["choices"][0]["logprobs"] == expected


def test_an_empty_reply() -> None:
    events: list[ChatEvent] = [Finished(0, FinishReason.STOP), DONE]
    (chunk,) = chunks(events)
    assert chunk["choices"][0] == {
        "index": 0,
        "delta": {"role": "assistant", "content": None},
        "logprobs": None,
        "finish_reason": "stop",
    }
    assert whole(events)["choices"][0]["message"] == {"role": "assistant", "content": None, "refusal": None}


def test_a_whole_reply_is_what_the_official_client_expects() -> None:
    events: list[ChatEvent] = [
        ReasoningDelta(0, "r"),
        TextDelta(0, "t"),
        Finished(0, FinishReason.STOP),
        DONE,
    ]
    completion = ChatCompletion.model_validate(whole(events), strict=True)
    assert completion.object == "chat.completion"
    assert completion.choices[0].message.content == "t"
    assert completion.choices[0].message.model_extra == {"reasoning_content": "r", "reasoning": "r"}
    assert completion.usage is not None
    assert completion.usage.total_tokens == 12


def test_the_error_frame() -> None:
    (frame,) = frames(error_frame(GenerationFailed("It broke.")))
    assert json.loads(frame) == {
        "error": {"message": "It broke.", "type": "api_error", "param": None, "code": "generation_failed"}
    }


TEXTS = st.text(max_size=6)


def deltas(choice: int, n_calls: int) -> Iterator[st.SearchStrategy[ChatEvent]]:
    yield st.builds(TextDelta, st.just(choice), TEXTS)
    yield st.builds(ReasoningDelta, st.just(choice), TEXTS)
    if n_calls:
        yield st.builds(ToolCallDelta, st.just(choice), st.integers(0, n_calls - 1), TEXTS)


@st.composite
def replies(draw: st.DrawFn) -> list[ChatEvent]:
    n = draw(st.integers(1, 3))
    events: list[ChatEvent] = []
    n_calls = dict.fromkeys(range(n), 0)
    for choice in draw(st.lists(st.integers(0, n - 1), max_size=20)):
        if draw(st.integers(0, 4)) == 0:
            events.append(ToolCallStarted(choice, n_calls[choice], draw(TEXTS), draw(TEXTS)))
            n_calls[choice] += 1
        else:
            events.append(draw(st.one_of(*deltas(choice, n_calls[choice]))))
    events += [Finished(choice, draw(st.sampled_from(FinishReason))) for choice in range(n)]
    counts = draw(st.tuples(*[st.integers(0, 9)] * 4))
    return [*events, Completed(Usage(*counts))]


def joined(sent: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """The messages that a client puts together from the chunks."""
    messages: dict[int, dict[str, Any]] = {}
    for choice in (choice for chunk in sent for choice in chunk["choices"]):
        ChatCompletionChunk.model_validate({**sent[0], "choices": [choice]})
        delta = choice["delta"]
        message = messages.setdefault(choice["index"], {"calls": []})
        assert ("role" in delta) == (len(message) == 1), "the role comes first and once"
        for name in ("role", "content", "reasoning_content", "reasoning"):
            if delta.get(name) is not None:
                message[name] = message.get(name, "") + delta[name]
        for call in delta.get("tool_calls", ()):
            if "id" in call:
                assert call["index"] == len(message["calls"])
                message["calls"].append([call["id"], call["function"]["name"], ""])
            message["calls"][call["index"]][2] += call["function"]["arguments"]
        message["finish"] = choice["finish_reason"]
    return messages


@given(replies(), st.booleans())
@examples(150)
def test_a_stream_decodes_to_the_whole_reply(events: list[ChatEvent], include_usage: bool) -> None:
    sent = chunks(events, include_usage=include_usage)
    reply = whole(events)
    if include_usage:
        assert sent.pop()["usage"] == reply["usage"]
    messages = joined(sent)
    for choice in reply["choices"]:
        message, streamed = choice["message"], messages[choice["index"]]
        assert (streamed.get("content") or None) == message["content"]
        assert (streamed.get("reasoning_content") or None) == message.get("reasoning_content")
        assert streamed.get("reasoning") == streamed.get("reasoning_content")
        calls = [
            [c["id"], c["function"]["name"], c["function"]["arguments"]]
            for c in message.get("tool_calls", ())
        ]
        assert streamed["calls"] == calls
        assert streamed["finish"] == choice["finish_reason"]


@pytest.mark.parametrize("cut", [1, 2, 7, 64])
def test_frames_survive_any_cut_of_the_bytes(cut: int) -> None:
    writer = ChunkWriter(HEADER, spell)
    stream = writer.write([TextDelta(0, "a\u2028\r\n\x85b"), Finished(0, FinishReason.STOP), DONE])
    pieces = [stream[i : i + cut] for i in range(0, len(stream), cut)]
    assert [sse.data for sse in SSEDecoder().iter_bytes(iter(pieces))] == frames(stream)
    assert json.loads(frames(stream)[0])["choices"][0]["delta"]["content"] == "a\u2028\r\n\x85b"


def test_what_is_left_of_a_whole_reply_at_its_end_does_not_grow_with_its_tokens() -> None:
    """While a reply is written nobody else is answered, and one may have millions of alternatives."""

    def n_calls(n_tokens: int) -> int:
        top = tuple((id, -id / 7) for id in range(20))
        writer = ReplyWriter(HEADER, spell)
        for number in range(n_tokens):
            writer.add([TextDelta(0, "x", (TokenLogprob(number % 90, -1.0, top),))])
        writer.add([Finished(0, FinishReason.STOP), Completed(Usage())])
        calls = 0

        def count(frame: object, event: str, arg: object) -> None:
            nonlocal calls
            calls += 1

        sys.setprofile(count)
        try:
            body = writer.body()
        finally:
            sys.setprofile(None)
        assert body.count(b'"top_logprobs"') == n_tokens
        return calls

    assert n_calls(1000) == n_calls(10)


def test_logprobs_without_end_are_refused_where_all_of_them_would_be_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reply, "MAX_SCORE_BYTES", 1000)
    writer = ReplyWriter(HEADER, spell)
    scored = TextDelta(0, "x", (TokenLogprob(65, -1.0),))
    with pytest.raises(RequestError, match="stream") as refusal:
        writer.add([scored] * 100)
    assert refusal.value.param == "logprobs"
