"""Real outputs of Qwen3.6, token by token, and what they must become, under every way of cutting them."""

import json
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.folding import fold
from tests.qwen import QwenTokenizer
from tests.strategies import chunkings

from tessera.core.chat import ChatRequest, Mode, Tool, ToolChoice, UserMessage
from tessera.core.events import ChatEvent, TextDelta, ToolCallStarted
from tessera.core.generation import TokenChunk
from tessera.core.record import Tally
from tessera.core.result import Reply
from tessera.formats.qwen3 import QWEN3
from tessera.parsing.reader import ReplyReader

_FILE = json.loads((Path(__file__).parents[2] / "data" / "qwen36_parser_vectors.json").read_text())
VECTORS: list[dict[str, Any]] = _FILE["vectors"]
TOOLS = tuple(Tool(each["function"]["name"], each["function"]["parameters"], each) for each in _FILE["tools"])


def request_of(vector: dict[str, Any]) -> ChatRequest:
    asked = vector.get("request", {})
    choice = asked.get("tool_choice", "auto")
    if isinstance(choice, dict):
        tool_choice = ToolChoice("required", frozenset({choice["function"]["name"]}), named=True)
    else:
        tool_choice = ToolChoice(choice)
    return ChatRequest(
        (UserMessage("x"),),
        mode=Mode(vector["mode"]),
        tools=TOOLS,
        tool_choice=tool_choice,
        parallel_tool_calls=asked.get("parallel_tool_calls", True),
        stop=tuple(asked.get("stop", ())),
    )


def read(vector: dict[str, Any], tokenizer: QwenTokenizer, cuts: Sequence[Sequence[int]]) -> list[ChatEvent]:
    ids = count()
    reader = ReplyReader(request_of(vector), QWEN3.syntax, tokenizer, Tally(7), lambda: f"call_{next(ids)}")
    events: list[ChatEvent] = []
    for i, cut in enumerate(cuts, 1):
        finish = vector.get("engine_finish", "stop") if i == len(cuts) else None
        events += reader.feed(TokenChunk(0, tuple(cut), finish))
        if reader.done:
            break
    assert reader.done
    return [*events, *reader.complete()]


def check(vector: dict[str, Any], reply: Reply) -> None:
    expected, choice = vector["expect"], reply.choices[0]
    assert choice.text == expected["content"]
    assert choice.reasoning == expected["reasoning"]
    assert choice.finish_reason == expected["finish_reason"]
    assert [call.name for call in choice.tool_calls] == [call["name"] for call in expected["tool_calls"]]
    for call, wanted in zip(choice.tool_calls, expected["tool_calls"], strict=True):
        if "arguments_prefix" in wanted:
            assert call.arguments == wanted["arguments_prefix"]
        else:
            assert json.loads(call.arguments) == wanted["arguments"]
    assert len({call.id for call in choice.tool_calls}) == len(choice.tool_calls)


@pytest.mark.parametrize("vector", VECTORS, ids=[each["id"] for each in VECTORS])
class TestVectors:
    def test_whole(self, vector: dict[str, Any], qwen: QwenTokenizer) -> None:
        check(vector, fold(read(vector, qwen, [vector["token_ids"]])))

    def test_token_by_token(self, vector: dict[str, Any], qwen: QwenTokenizer) -> None:
        events = read(vector, qwen, [[token] for token in vector["token_ids"]])
        check(vector, fold(events))
        assert fold(events) == fold(read(vector, qwen, [vector["token_ids"]]))
        assert not any("\ufffd" in event.text for event in events if isinstance(event, TextDelta))
        started = [event.call for event in events if isinstance(event, ToolCallStarted)]
        assert started == list(range(len(started)))

    @settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(cuts=st.data())
    def test_cut_anyhow(self, vector: dict[str, Any], qwen: QwenTokenizer, cuts: st.DataObject) -> None:
        whole = fold(read(vector, qwen, [vector["token_ids"]]))
        assert fold(read(vector, qwen, cuts.draw(chunkings(vector["token_ids"])))) == whole


def test_usage_counts_what_was_read(qwen: QwenTokenizer) -> None:
    by_id = {each["id"]: each for each in VECTORS}
    usage = {id: fold(read(by_id[id], qwen, [by_id[id]["token_ids"]])).usage for id in by_id}
    assert usage["R03"].reasoning_tokens == usage["R03"].completion_tokens == 5
    assert usage["R01"].reasoning_tokens == 6  # up to </think>
    assert usage["R01"].completion_tokens == 10
    assert usage["R02"].reasoning_tokens == 0
    assert usage["T26"].completion_tokens == 4  # nothing after the stop string
    assert usage["R01"].prompt_tokens == 7
