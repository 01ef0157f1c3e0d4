"""Qwen3.6 prompts: byte for byte and token for token what the model's own template and tokenizer make."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.qwen import QwenTokenizer

from tessera.core.chat import (
    AssistantMessage,
    ChatRequest,
    Message,
    Mode,
    SystemMessage,
    Tool,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from tessera.errors import RequestError
from tessera.formats.base import Control, Segment
from tessera.formats.qwen3 import QWEN3, conversation
from tessera.prompt.encode import encode

_DIRECTORY = Path(__file__).parents[2] / "data"
CASES: list[dict[str, Any]] = [
    case
    for name in ("qwen36_golden_prompts.json", "qwen36_random_prompts.json")
    for case in json.loads((_DIRECTORY / name).read_text())["cases"]
]
BY_WIRE = {
    "image_part": "core messages hold text only: wire refuses images",
    "image_part_vision_id": "core messages hold text only: wire refuses images",
    "ERR_developer": "core has no such role: wire makes it a system message",
    "ERR_args_string": "core calls hold decoded arguments: wire decodes them",
    "ERR_system_image": "core messages hold text only: wire refuses images",
    "ERR_no_user": "rendered as it stands: see test_a_conversation_without_a_user_is_rendered_as_it_stands",
    "ERR_only_tool_response_user": "likewise",
    "ERR_unknown_part": "core messages hold text only: wire refuses other parts",
}
"""Cases that cannot be said in core types, so that no renderer ever sees them, or that we do not refuse."""

RENDERED = [case for case in CASES if "error" not in case and case["name"] not in BY_WIRE]
REFUSED = [case for case in CASES if "error" in case and case["name"] not in BY_WIRE]


def core_message(sent: dict[str, Any]) -> Message:
    content = sent.get("content") or ""
    text = content if isinstance(content, str) else "".join(part["text"] for part in content)
    match sent["role"]:
        case "system":
            return SystemMessage(text)
        case "user":
            return UserMessage(text)
        case "tool":
            return ToolMessage(text, sent["tool_call_id"])
        case _:
            functions = [(call["id"], call["function"]) for call in sent.get("tool_calls") or ()]
            calls = tuple(ToolCall(id, each["name"], json.dumps(each["arguments"])) for id, each in functions)
            return AssistantMessage(text, sent.get("reasoning_content"), calls)


def core_request(case: dict[str, Any]) -> ChatRequest:
    tools = [(each["function"], each) for each in case["tools"] or ()]
    return ChatRequest(
        tuple(map(core_message, case["messages"])),
        mode=Mode.THINKING if case["kwargs"].get("enable_thinking", True) else Mode.DIRECT,
        preserve_thinking=case["kwargs"].get("preserve_thinking", False),
        tools=tuple(Tool(f["name"], f.get("parameters", {}), sent) for f, sent in tools),
    )


def rendered(case: dict[str, Any]) -> tuple[Segment, ...]:
    request = core_request(case)
    return QWEN3.render(request) if case["kwargs"]["add_generation_prompt"] else (*conversation(request),)


def written(segments: tuple[Segment, ...]) -> str:
    return "".join(segment.token if isinstance(segment, Control) else segment.text for segment in segments)


def test_all_cases_are_accounted_for() -> None:
    assert len(CASES) == 149
    assert len(RENDERED) + len(REFUSED) + len(BY_WIRE) == 149
    assert BY_WIRE.keys() <= {case["name"] for case in CASES}


@pytest.mark.parametrize("case", RENDERED, ids=[case["name"] for case in RENDERED])
def test_prompt_is_the_templates_own(case: dict[str, Any], qwen: QwenTokenizer) -> None:
    segments = rendered(case)
    assert written(segments) == case["prompt"]
    assert list(encode(segments, qwen)) == case["token_ids"]


@pytest.mark.parametrize("case", REFUSED, ids=[case["name"] for case in REFUSED])
def test_conversation_that_the_template_refuses(case: dict[str, Any]) -> None:
    with pytest.raises(RequestError) as refused:
        rendered(case)
    assert refused.value.status == 400
    assert refused.value.param == "messages"


def test_text_never_becomes_a_control_token(qwen: QwenTokenizer) -> None:
    spelled = " ".join(qwen.control_tokens)
    tool = Tool("f", {}, {"type": "function", "function": {"name": "f", "description": spelled}})
    messages = (
        SystemMessage(spelled),
        UserMessage(spelled),
        AssistantMessage("", spelled, (ToolCall("c", "f", json.dumps({"a": spelled, "b": [spelled]})),)),
        ToolMessage(spelled, "c"),
    )
    plain = (
        SystemMessage("x"),
        UserMessage("x"),
        AssistantMessage("", "x", (ToolCall("c", "f", '{"a": "x", "b": ["x"]}'),)),
        ToolMessage("x", "c"),
    )

    def control(messages: tuple[Message, ...]) -> list[int]:
        ids = encode(QWEN3.render(ChatRequest(messages, tools=(tool,))), qwen)
        return [id for id in ids if id in qwen.control_tokens.values()]

    assert control(messages) == control(plain)


def test_prompt_of_a_tool_loop_extends_the_last_one_and_its_output() -> None:
    """What the prefix cache lives on: nothing before the results is written differently."""
    asked = (UserMessage("¿Tiempo?"),)
    called = AssistantMessage("", "Miro.", (ToolCall("c", "weather", '{"city": "León"}'),))
    before = written(QWEN3.render(ChatRequest(asked, mode=Mode.THINKING)))
    output = (
        "Miro.\n</think>\n\n<tool_call>\n<function=weather>\n<parameter=city>\nLeón\n</parameter>\n"
        "</function>\n</tool_call><|im_end|>"
    )
    after = written(QWEN3.render(ChatRequest((*asked, called, ToolMessage("sol", "c")), mode=Mode.THINKING)))
    assert after.startswith(before + output)


def test_sampling_defaults_are_those_of_the_mode() -> None:
    thinking, direct = QWEN3.sampling[Mode.THINKING], QWEN3.sampling[Mode.DIRECT]
    assert (thinking.temperature, thinking.top_p, thinking.top_k) == (1.0, 0.95, 20)
    assert (direct.temperature, direct.top_p, direct.top_k) == (0.7, 0.8, 20)
    assert thinking.presence_penalty == direct.presence_penalty == 1.5


def test_a_result_may_come_first() -> None:
    segments = QWEN3.render(ChatRequest((ToolMessage("a", "c"), UserMessage("b"), ToolMessage("d", "c"))))
    assert written(segments).startswith("<|im_start|>user\n<tool_response>\na\n</tool_response><|im_end|>\n")
