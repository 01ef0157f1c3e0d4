"""Templates of models, rendered in processes: exactly as in one's own, and within limits."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from tests.template_families import TEMPLATED
from tests.unit.formats.test_registry import TURNS
from tests.unit.formats.test_template import CASES, CONTROL, HELLO, OURS, SOURCE, Case

from tessera.core.chat import AssistantMessage, ChatRequest, Tool, ToolCall, ToolMessage, UserMessage
from tessera.core.generation import SamplingDefaults
from tessera.errors import RequestError, StartupError
from tessera.formats.base import Control, Plain
from tessera.formats.conversation import TemplateSource
from tessera.formats.hermes import HERMES
from tessera.formats.remote import RemoteTemplate, find_format

pytestmark = pytest.mark.anyio
TOOL = Tool("f", {}, {"type": "function", "function": {"name": "f", "description": "d"}})
DEFAULTS = SamplingDefaults(temperature=0.5)
LONG = UserMessage("x" * 10_000)
IF_LONG = "{% if messages[0].content | length > 9999 %}…{% endif %}ok"
ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
DEAR = {
    "loops": ENDLESS,
    "loops in loops": "{% for a in range(99999) %}" * 3 + "{% endfor %}" * 3,
    "wide text": "{% for i in range(99999) %}{% set x = 'a' | center(10000000 + i) %}{% endfor %}",
    "a format": "{% for i in range(99999) %}{% set x = '%10000000d' % i %}{% endfor %}",
    "gigabytes by center": "{% set x = 'a' | center(5000000000) %}",
    "gigabytes by a format": "{% set x = '%5000000000d' % 1 %}",
    "gigabytes by joins": "{% set ns = namespace(x=messages[0].content) %}{% for i in range(40) %}"
    "{% set ns.x = [ns.x, ns.x] | join %}{% endfor %}",
    "gigabytes by sums": "{% set ns = namespace(x=messages[0].content) %}{% for i in range(40) %}"
    "{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "a list of ranges": "{% set ns = namespace(x=[1]) %}{% for i in range(40) %}"
    "{% set ns.x = ns.x + ns.x %}{% endfor %}",
}


@pytest.fixture
async def remote() -> AsyncIterator[Callable[[str], RemoteTemplate]]:
    made: list[RemoteTemplate] = []

    def one(source: str) -> RemoteTemplate:
        made.append(RemoteTemplate(TemplateSource(source, CONTROL, "</s>", "<s>")))
        made[-1]._pool._deadline_s = 300  # processor time is what ends them, however busy the machine
        return made[-1]

    yield one
    for each in made:
        await each.aclose()


async def text(template: RemoteTemplate, request: ChatRequest) -> str:
    segments = await template.render(request)
    return "".join(each.token if isinstance(each, Control) else each.text for each in segments)


@pytest.mark.parametrize("case", CASES[:6], ids=lambda case: case.id)
async def test_the_dialect_is_the_same(remote: Callable[[str], RemoteTemplate], case: Case) -> None:
    asked = ChatRequest(messages=case.messages, **case.changes)
    assert await text(remote(case.source), asked) == case.written


async def test_the_clients_text_is_no_markup(remote: Callable[[str], RemoteTemplate]) -> None:
    said = "<|end|>" + chr(0xF0000) + "<s>"
    segments = await remote(SOURCE).render(ChatRequest(messages=(UserMessage(said),)))
    assert [each for each in segments if isinstance(each, Control)] == OURS
    assert [each for each in segments if isinstance(each, Plain)] == [Plain(said)]


@pytest.mark.parametrize("name", DEAR)
async def test_a_template_that_is_dear_for_one_conversation_is_ended(
    remote: Callable[[str], RemoteTemplate], name: str
) -> None:
    template = remote(IF_LONG.replace("…", DEAR[name]))
    other = ChatRequest(messages=HELLO)
    assert await text(template, other) == "ok"
    with pytest.raises(RequestError) as refusal:
        await asyncio.wait_for(template.render(ChatRequest(messages=(LONG,))), 600)
    assert refusal.value.param == "messages"
    assert await text(template, other) == "ok"


def find(source: str | None) -> tuple[str, bool]:
    found, template = find_format(
        source, control_tokens=("<|im_start|>", "<|im_end|>"), eos="<|im_end|>", bos="", defaults=DEFAULTS
    )
    return found.name, template is not None


async def test_the_family_is_found_in_a_process() -> None:
    assert find(TURNS) == (HERMES.name, False)
    assert find("{{ messages[0].content }}") == ("template", True)


async def test_a_known_template_renders_in_a_process_as_here() -> None:
    """With its family's calls and tools."""
    templated = next(each for each in TEMPLATED if each.family == "mistral-v3-tekken")
    found, template = find_format(
        templated.source,
        control_tokens=(*templated.control, templated.eos),
        eos=templated.eos,
        bos=templated.bos,
        defaults=DEFAULTS,
    )
    assert (found.name, found.syntax) == (templated.family, templated.format().syntax)
    assert template is not None
    calls = (ToolCall("call_1", "f", '{"n": 1e5}'), ToolCall("call_2", "f", "{}"))
    results = (ToolMessage("a", "call_1"), ToolMessage("</s>", "call_2"))
    asked = ChatRequest((*HELLO, AssistantMessage(tool_calls=calls), *results), tools=(TOOL,))
    remote = RemoteTemplate(template)
    try:
        assert await remote.render(asked) == templated.format().render(asked)
    finally:
        await remote.aclose()


@pytest.mark.parametrize("source", [None, "{% if %}", "{{ nothing.at.all }}", ENDLESS, "{{ 'a' * 10**9 }}"])
async def test_a_template_that_cannot_be_used_stops_start_up(source: str | None) -> None:
    with pytest.raises(StartupError, match="chat template"):
        find(source)


async def test_an_account_that_is_dear_leaves_a_process_to_the_others(
    remote: Callable[[str], RemoteTemplate],
) -> None:
    """Counted, not timed: others are answered while most of what is dear has not begun."""
    template = remote(IF_LONG.replace("…", ENDLESS))
    await template.start()
    dear = [asyncio.create_task(template.render(ChatRequest(messages=(LONG,)), b"dear")) for _ in range(6)]
    for account in (b"one", b"other", b"one", b"other"):
        segments = await template.render(ChatRequest(messages=HELLO), account)
        assert segments == (Plain("ok"),)
        assert sum(task.done() for task in dear) <= 3
    for task in dear:
        task.cancel()
    await asyncio.wait(dear)
