"""Tool loops through the whole chat layer, wire to wire: a prompt begins with the last one and its output."""

import json
import pkgutil
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.folding import fold
from tests.in_process import InProcess
from tests.qwen import QwenTokenizer
from tests.scripts import CAN_ALL
from tests.strategies import examples

from tessera import pipeline
from tessera.catalog import Model
from tessera.core.chat import Caller
from tessera.core.generation import Prompt
from tessera.core.record import Tally
from tessera.engine.scripted.engine import ScriptedEngine, ScriptedTokenizer, saying
from tessera.formats.base import ChatFormat
from tessera.formats.hermes import HERMES
from tessera.formats.qwen3 import QWEN3
from tessera.pipeline import run
from tessera.text.encoded import EncodedTexts
from tessera.text.tokenizer import Tokenizer
from tessera.wire.decode import decode_request
from tessera.wire.reply import Header, ReplyWriter

pytestmark = pytest.mark.anyio
# Texts that could be markup are the parser's own tests' matter.
texts = st.text(st.characters(codec="utf-8", exclude_characters="<>\r"), max_size=12)
ARGUMENTS = st.fixed_dictionaries(
    {"city": texts.map(str.strip), "days": st.integers(-9, 10**6), "near": st.lists(texts, max_size=2)},
    optional={"rain": st.booleans() | st.none(), "degrees": st.floats(-99, 99)},
)
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer"},
                "near": {"type": "array", "items": {"type": "string"}},
                "rain": {"type": ["boolean", "null"]},
                "degrees": {"type": "number"},
            },
        },
    },
}


def hermes(arguments: dict[str, Any]) -> str:
    call = json.dumps({"name": "weather", "arguments": arguments}, ensure_ascii=False)
    return f"<tool_call>\n{call}\n</tool_call>"


def qwen3(arguments: dict[str, Any]) -> str:
    spelled = (
        (k, v if isinstance(v, str) else json.dumps(v, ensure_ascii=False)) for k, v in arguments.items()
    )
    parameters = "".join(f"<parameter={name}>\n{value}\n</parameter>\n" for name, value in spelled)
    return f"<tool_call>\n<function=weather>\n{parameters}</function>\n</tool_call>"


def model_of(chat_format: ChatFormat, tokenizer: Tokenizer) -> Model:
    engine = ScriptedEngine(tokenizer, features=CAN_ALL)
    grammars = InProcess(chat_format, tokenizer.control_tokens)
    return Model("m", engine, tokenizer, chat_format, chat_format.sampling, created_s=0, grammars=grammars)


async def ask(model: Model, said: str, messages: list[Any], thinking: bool) -> tuple[Prompt, list[int], Any]:
    """Runs a request, from JSON to JSON; returns the prompt, the generated tokens, and the message of the
    reply.
    """
    engine = model.engine
    assert isinstance(engine, ScriptedEngine)
    prompts: list[Prompt] = []
    output = [*saying(model.tokenizer, said)(Prompt(()), 0)]

    def script(prompt: Prompt, sequence: int) -> list[int]:
        prompts.append(prompt)
        return output

    engine.script = script
    kwargs = {"chat_template_kwargs": {"enable_thinking": thinking}}
    request, _ = decode_request(json.dumps({"messages": messages, "tools": [TOOL], **kwargs}).encode())
    events = [event async for batch in run(request, model, Caller(b"salt"), Tally()) for event in batch]
    writer = ReplyWriter(Header("id", 0, "m"), model.tokenizer.token_bytes)
    writer.add(events)
    reply = json.loads(writer.body())
    return prompts[0], output, reply["choices"][0]["message"]


async def check_loop(model: Model, said: str, thinking: bool, n_calls: int) -> None:
    """Checks that the next prompt begins with the same ids, or with the same text where they are
    not known.
    """
    asked = [{"role": "user", "content": "¿Tiempo?"}]
    before, output, message = await ask(model, said, asked, thinking)
    assert len(message["tool_calls"]) == n_calls
    for call in message["tool_calls"]:  # as a client in another language would write them
        call["function"]["arguments"] = json.dumps(
            json.loads(call["function"]["arguments"]), separators=(",", ":")
        )
    results = [
        {"role": "tool", "content": "sol", "tool_call_id": call["id"]} for call in message["tool_calls"]
    ]
    begun = [*before.token_ids, *output]
    for knows in (model, replace(model, encoded=EncodedTexts())):
        after, _, _ = await ask(knows, "Sol.", [*asked, message, *results], thinking)
        if knows is model:
            assert [*after.token_ids[: len(begun)]] == begun
        assert spelled(model, after.token_ids).startswith(spelled(model, begun))


def spelled(model: Model, ids: Any) -> bytes:
    return b"".join(map(model.tokenizer.token_bytes, ids))


turns = st.fixed_dictionaries(
    {
        "thinking": st.booleans(),
        "text": st.sampled_from(["", "I look."]),
        "calls": st.lists(ARGUMENTS, min_size=1, max_size=2),
    }
)


def written(turn: dict[str, Any], call: Callable[[dict[str, Any]], str], *, gap: str) -> str:
    """A turn as models of the family write it, with `gap` between text and calls."""
    reasoning = "Let me see.\n</think>\n\n" if turn["thinking"] else ""
    return reasoning + (turn["text"] and turn["text"] + gap) + "\n".join(map(call, turn["calls"]))


@given(turn=turns)
@examples(50)
async def test_a_loop_of_hermes(turn: dict[str, Any]) -> None:
    model = model_of(HERMES, ScriptedTokenizer())
    await check_loop(model, written(turn, hermes, gap="\n"), turn["thinking"], len(turn["calls"]))


@given(turn=turns)
@examples(50)
async def test_a_loop_of_qwen3(turn: dict[str, Any], qwen: QwenTokenizer) -> None:
    model = model_of(QWEN3, qwen)
    await check_loop(model, written(turn, qwen3, gap="\n\n"), turn["thinking"], len(turn["calls"]))


async def test_qwen3s_own_cut_needs_no_memory(qwen: QwenTokenizer) -> None:
    """What a tokenizer would cut alike is found by every server, a new one too."""
    model = model_of(QWEN3, qwen)
    said = "Let me see.\n</think>\n\n" + qwen3(
        {"city": "León", "days": 3, "near": ["Ávila"], "degrees": 21.5}
    )
    asked = [{"role": "user", "content": "¿Tiempo?"}]
    before, output, message = await ask(model, said, asked, thinking=True)
    result = {"role": "tool", "content": "sol", "tool_call_id": message["tool_calls"][0]["id"]}
    forgetful = replace(model, encoded=EncodedTexts())
    after, _, _ = await ask(forgetful, "Sol.", [*asked, message, result], thinking=True)
    begun = [*before.token_ids, *output]
    assert [*after.token_ids[: len(begun)]] == begun


def test_every_step_that_the_page_names_exists() -> None:
    named = re.findall(r"\b[a-z_0-9]+(?:\.[a-z_0-9]+)+\b", pipeline.__doc__ or "")
    assert len(named) > 15
    for name in named:
        pkgutil.resolve_name(f"tessera.{name}")


async def test_a_generation_that_repeats_itself_is_ended_and_aborted() -> None:
    tokenizer = ScriptedTokenizer()
    engine = ScriptedEngine(tokenizer, saying(tokenizer, "over and over " * 200))
    model = Model("m", engine, tokenizer, HERMES, HERMES.sampling, created_s=0, loop_tokens=64)
    request, _ = decode_request(json.dumps({"messages": [{"role": "user", "content": "Hi"}]}).encode())
    tally = Tally()
    events = [event async for batch in run(request, model, Caller(), tally) for event in batch]
    (choice,) = fold(events).choices
    assert choice.finish_reason == "length"
    assert choice.text is not None
    assert "over and over over and over " in choice.text
    assert 64 <= tally.completion_tokens <= 72
    assert engine.n_running == 0
