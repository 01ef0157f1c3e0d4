"""LangChain's `ChatOpenAI`."""

from collections.abc import Iterator
from typing import Any, Literal

import pytest
from pydantic import BaseModel
from tests.conftest import Served
from tests.scripts import answering, called

from tessera.engine.scripted.engine import saying

_WHY = "langchain-openai is not installed: `make clients` does"
messages = pytest.importorskip("langchain_core.messages", reason=_WHY)
# LangChain prints the client's parsed replies with a type that has no place for what was parsed.
pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")
ChatOpenAI = pytest.importorskip("langchain_openai", reason=_WHY).ChatOpenAI

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
def llm(served: Served) -> Iterator[Any]:
    llm = ChatOpenAI(model="alias", base_url=f"{served.url}/v1", api_key=served.key, max_retries=0)
    with llm.root_client:
        yield llm


def test_a_reply(served: Served, llm: Any) -> None:
    served.engine.script = saying(served.tokenizer, "¡Sol! 👋")
    reply = llm.invoke("Weather?")
    assert reply.content == "¡Sol! 👋"
    assert reply.response_metadata["finish_reason"] == "stop"
    assert reply.usage_metadata["output_tokens"] == len("¡Sol! 👋".encode()) + 1


def test_a_streamed_reply(served: Served, llm: Any) -> None:
    served.engine.script = saying(served.tokenizer, "¡Sol! 👋")
    chunks = list(llm.stream("Weather?", stream_usage=True))
    assert len(chunks) > 3
    assert "".join(chunk.content for chunk in chunks) == "¡Sol! 👋"
    assert sum(chunk.usage_metadata["output_tokens"] for chunk in chunks if chunk.usage_metadata) > 3


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_tool_loop(served: Served, llm: Any, streamed: bool) -> None:
    served.engine.script = answering(served.tokenizer, f"I look.\n{CALL}\n{CALL}", CALL, CALL, "Sun.")
    model = llm.bind_tools([weather])
    history: list[Any] = [messages.SystemMessage("Be brief."), messages.HumanMessage("Weather in León?")]
    n_calls = 0
    while True:
        reply = model.invoke(history)
        if streamed:
            first, *rest = model.stream(history)
            for chunk in rest:
                first += chunk
            reply = first
        history.append(reply)
        for call in reply.tool_calls:
            assert (call["name"], call["args"]) == ("weather", {"city": "León", "days": 3})
            history.append(messages.ToolMessage(weather(**call["args"]), tool_call_id=call["id"]))
        if not reply.tool_calls:
            break
        n_calls += len(reply.tool_calls)
    assert (reply.content, n_calls) == ("Sun.", 3)


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("json_schema", REPORT.model_dump_json()),
        ("function_calling", called("Report", sky="sun", days=3)),
        ("json_mode", REPORT.model_dump_json()),
    ],
)
def test_structured_output(served: Served, llm: Any, method: str, said: str) -> None:
    served.engine.script = saying(served.tokenizer, said)
    model = llm.with_structured_output(Report, method=method)
    assert model.invoke("Weather? As JSON.") == REPORT
    assert list(model.stream("Weather? As JSON."))[-1] == REPORT


@pytest.mark.anyio
async def test_the_async_client(served: Served, llm: Any) -> None:
    served.engine.script = saying(served.tokenizer, "Sol")
    async with llm.root_async_client:
        assert (await llm.ainvoke("Weather?")).content == "Sol"
        assert "".join([chunk.content async for chunk in llm.astream("Weather?")]) == "Sol"
