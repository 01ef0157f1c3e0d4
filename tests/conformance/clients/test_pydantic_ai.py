"""Agents of pydantic-ai."""

from collections.abc import AsyncIterator
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel
from tests.conftest import Served
from tests.scripts import answering, called

from tessera.engine.scripted.engine import saying

_WHY = "pydantic-ai is not installed: `make clients` does"
ai = pytest.importorskip("pydantic_ai", reason=_WHY)
openai_models = pytest.importorskip("pydantic_ai.models.openai", reason=_WHY)
openai_providers = pytest.importorskip("pydantic_ai.providers.openai", reason=_WHY)

pytestmark = pytest.mark.anyio
CALL = called("weather", city="León", days=3)


class Report(BaseModel):
    """What the sky does."""

    sky: Literal["sun", "rain"]
    days: int | None


REPORT = Report(sky="sun", days=3)


def weather(city: str, days: int) -> str:
    """The weather of a city in the next days."""
    return f"{days} × sun in {city}"


@pytest.fixture
async def model(served: Served) -> AsyncIterator[Any]:
    async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key=served.key, max_retries=0) as client:
        provider = openai_providers.OpenAIProvider(openai_client=client)
        yield openai_models.OpenAIChatModel("alias", provider=provider)


async def test_a_tool_loop(served: Served, model: Any) -> None:
    served.engine.script = answering(served.tokenizer, f"I look.\n{CALL}\n{CALL}", CALL, CALL, "Sun.")
    result = await ai.Agent(model, instructions="Be brief.", tools=[weather]).run("Weather in León?")
    assert result.output == "Sun."
    results = [
        part for message in result.all_messages() for part in message.parts if part.part_kind == "tool-return"
    ]
    assert [part.content for part in results] == ["3 × sun in León"] * 3
    assert result.usage.requests == 3
    assert result.usage.tool_calls == 3


async def test_a_streamed_tool_loop(served: Served, model: Any) -> None:
    served.engine.script = answering(served.tokenizer, CALL, "Sun and more sun.")
    async with ai.Agent(model, tools=[weather]).run_stream("Weather in León?") as stream:
        deltas = [delta async for delta in stream.stream_text(delta=True, debounce_by=None)]
    assert len(deltas) > 3
    assert "".join(deltas) == "Sun and more sun."


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (ai.NativeOutput(Report), REPORT.model_dump_json()),
        (ai.ToolOutput(Report), called("final_result", sky="sun", days=3)),
        (ai.PromptedOutput(Report), REPORT.model_dump_json()),
    ],
    ids=["native", "tool", "prompted"],
)
async def test_structured_output(served: Served, model: Any, output: Any, said: str) -> None:
    served.engine.script = answering(served.tokenizer, CALL, said)
    agent = ai.Agent(model, output_type=output, tools=[weather])
    assert (await agent.run("Weather in León?")).output == REPORT
    async with agent.run_stream("Weather in León?") as stream:
        assert await stream.get_output() == REPORT


async def test_reasoning_is_read(served: Served, model: Any) -> None:
    served.engine.script = saying(served.tokenizer, "Let me see.\n</think>\n\nSun.")
    thinking = {"extra_body": {"chat_template_kwargs": {"enable_thinking": True}}}
    result = await ai.Agent(model, model_settings=thinking).run("Weather?")
    assert result.output == "Sun."
    thoughts = [part.content for part in result.all_messages()[-1].parts if part.part_kind == "thinking"]
    assert thoughts == ["Let me see."]
