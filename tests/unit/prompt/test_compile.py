"""Compiling requests for the scripted engine."""

import asyncio
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from tests.in_process import InProcess

from tessera.catalog import Model
from tessera.core.chat import (
    AnyJsonObject,
    AssistantMessage,
    Caller,
    ChatRequest,
    JsonSchema,
    Mode,
    SamplingOptions,
    Tool,
    ToolCall,
    UserMessage,
)
from tessera.core.generation import Feature, Sampling, SamplingDefaults
from tessera.engine.scripted.engine import ScriptedEngine, ScriptedTokenizer, echo
from tessera.errors import ContextLengthExceeded, InvalidSchema, RequestError, UnsupportedParameter
from tessera.formats.base import ChatFormat
from tessera.formats.glm import GLM, GLM_4_7
from tessera.formats.gpt_oss import GPT_OSS
from tessera.formats.hermes import HERMES
from tessera.prompt.compile import CompiledPrompt, check_length, compile_prompt

pytestmark = pytest.mark.anyio

TOKENIZER = ScriptedTokenizer()
ID = TOKENIZER.control_tokens
DEFAULTS = SamplingDefaults(
    temperature=0.6,
    top_p=0.8,
    top_k=20,
    min_p=0.1,
    presence_penalty=1.5,
    frequency_penalty=0.5,
    repetition_penalty=1.1,
)
HELLO = ChatRequest(messages=(UserMessage("Hello"),))
PROMPT = "user\nHello", "\n", "assistant\n"
CALLER = Caller()


def model(context_tokens: int = 4096, features: tuple[Feature, ...] = ()) -> Model:
    engine = ScriptedEngine(TOKENIZER, context_tokens=context_tokens, features=features)
    grammars = InProcess(HERMES, TOKENIZER.control_tokens)
    return Model("m", engine, TOKENIZER, HERMES, {Mode.DIRECT: DEFAULTS}, created_s=0, grammars=grammars)


async def compiled(request: ChatRequest = HELLO, model: Model = model()) -> CompiledPrompt:  # noqa: B008 - frozen
    return await compile_prompt(request, model, CALLER)


async def test_the_prompt_is_the_formats_rendering() -> None:
    user, newline, assistant = map(TOKENIZER.encode, PROMPT)
    start, end = ID["<|im_start|>"], ID["<|im_end|>"]
    assert (await compiled()).prompt.token_ids == (start, *user, end, *newline, start, *assistant)


async def test_a_long_conversation_is_encoded_alike_in_a_thread() -> None:
    text = "the little lamp " * 1000
    short = (await compiled(replace(HELLO, messages=(UserMessage("the little lamp "),)))).prompt.token_ids
    long = (await compiled(replace(HELLO, messages=(UserMessage(text),)))).prompt.token_ids
    assert len(long) - len(short) == 999 * len(TOKENIZER.encode("the little lamp "))


async def test_the_caller_salts_the_cache_and_has_a_priority() -> None:
    prompt = (await compile_prompt(HELLO, model(), Caller(b"salt", 3))).prompt
    assert (prompt.cache_salt, prompt.priority) == (b"salt", 3)


@dataclass(frozen=True)
class Merge:
    id: str
    sent: SamplingOptions
    changed: Mapping[str, object] = field(default_factory=dict)


MERGES = [
    Merge("nothing", SamplingOptions()),
    Merge(
        "zeros win",
        SamplingOptions(0.0, None, 0, 0.0, 0.0, 0.0, None),
        {"temperature": 0.0, "top_k": 0, "min_p": 0.0, "presence_penalty": 0.0, "frequency_penalty": 0.0},
    ),
    Merge(
        "all",
        SamplingOptions(1.5, 0.5, 5, 0.2, -1.0, -2.0, 1.3, 7, {3: -100.0}),
        {
            "temperature": 1.5,
            "top_p": 0.5,
            "top_k": 5,
            "min_p": 0.2,
            "presence_penalty": -1.0,
            "frequency_penalty": -2.0,
            "repetition_penalty": 1.3,
            "seed": 7,
            "logit_bias": {3: -100.0},
        },
    ),
]


@pytest.mark.parametrize("merge", MERGES, ids=lambda merge: merge.id)
async def test_what_is_sent_wins_over_the_defaults(merge: Merge) -> None:
    result = await compiled(replace(HELLO, sampling=merge.sent))
    expected = Sampling(
        max_tokens=4096 - len(result.prompt.token_ids),
        stop_token_ids=frozenset({ID["<|im_end|>"], ID["<|endoftext|>"]}),
        temperature=0.6,
        top_p=0.8,
        top_k=20,
        min_p=0.1,
        presence_penalty=1.5,
        frequency_penalty=0.5,
        repetition_penalty=1.1,
    )
    assert result.sampling == replace(expected, **merge.changed)


@pytest.mark.parametrize(("sent", "max_tokens"), [(None, 40), (1, 1), (40, 40), (41, 40), (10**9, 40)])
async def test_the_output_is_clipped_to_what_is_left(sent: int | None, max_tokens: int) -> None:
    n_prompt = len((await compiled()).prompt.token_ids)
    result = await compiled(replace(HELLO, max_output_tokens=sent), model(n_prompt + 40))
    assert result.sampling.max_tokens == max_tokens


async def test_a_prompt_must_leave_room_for_one_token() -> None:
    n_prompt = len((await compiled()).prompt.token_ids)
    assert (await compiled(HELLO, model(n_prompt + 1))).sampling.max_tokens == 1
    with pytest.raises(ContextLengthExceeded) as caught:
        await compiled(HELLO, model(n_prompt))
    assert (caught.value.status, caught.value.param) == (413, "messages")
    assert f"maximum context length is {n_prompt} tokens. However, you requested" in caught.value.message
    assert f"at least {n_prompt + 1} tokens ({n_prompt} in the messages, 1 in the" in caught.value.message


async def test_the_caller_s_context_holds_where_it_is_the_smaller_one() -> None:
    n_prompt = len((await compiled()).prompt.token_ids)
    caller = Caller(context_tokens=n_prompt + 5)
    assert (await compile_prompt(HELLO, model(1000), caller)).sampling.max_tokens == 5
    assert (await compile_prompt(HELLO, model(n_prompt + 2), caller)).sampling.max_tokens == 2
    with pytest.raises(ContextLengthExceeded, match=f" {n_prompt - 1} tokens.* {n_prompt} tokens"):
        await compile_prompt(HELLO, model(1000), Caller(context_tokens=n_prompt - 1))


# What LiteLLM 1.110 and langchain-openai 1.7 look for, to tell a context that is full from other errors:
# LiteLLM in the lower-cased message, LangChain in that of an error whose status is not 400.
LITELLM = "this model's maximum context length is"
LANGCHAIN = "exceeds the context window"
NUMBERS = re.compile(
    r"This model's maximum context length is (\d+) tokens\. However, "
    r"(?:your messages resulted in (\d+) tokens|"
    r"you requested at least \d+ tokens \((\d+) in the messages, 1 in the completion\))"
)


@pytest.mark.parametrize("n_missing", [0, 1, 100, 100_000])
@pytest.mark.parametrize("n_characters", [1, 20_000])
async def test_clients_recognise_a_context_that_is_full(n_missing: int, n_characters: int) -> None:
    asked = replace(HELLO, messages=(UserMessage("x" * n_characters),))
    n_prompt = len((await compiled(asked, model(1_000_000))).prompt.token_ids)
    window = max(n_prompt - n_missing, 1)
    with pytest.raises(ContextLengthExceeded) as caught:
        await compile_prompt(asked, model(1_000_000), Caller(context_tokens=window))
    said = caught.value.message
    assert LITELLM in said.lower()
    assert LANGCHAIN in said
    assert not re.search(r"\b429\b|rate[\s_-]*limit", said.lower())
    numbers = NUMBERS.match(said)
    assert numbers
    limit, *resulted = (int(number) for number in numbers.groups() if number)
    assert limit == window
    assert resulted == [n_prompt] or ("tokens or more." in said and window <= resulted[0] <= n_prompt)
    assert "Please reduce the length of the messages" in said


class Untouched(ScriptedTokenizer):
    """A tokenizer that counts what it encodes."""

    n_encoded = 0
    n_characters = 0

    def encode(self, text: str) -> list[int]:
        self.n_encoded += 1
        self.n_characters += len(text)
        return super().encode(text)


async def test_a_text_that_cannot_fit_is_refused_without_being_encoded() -> None:
    tokenizer = Untouched()
    engine = ScriptedEngine(tokenizer, echo, context_tokens=100)
    small = Model("m", engine, tokenizer, HERMES, {Mode.DIRECT: DEFAULTS}, created_s=0)
    with pytest.raises(ContextLengthExceeded, match="in 120 tokens or more"):
        await compiled(replace(HELLO, messages=(UserMessage(" " * 15_360),)), small)
    assert tokenizer.n_encoded == 0
    with pytest.raises(ContextLengthExceeded, match="resulted in 12"):
        await compiled(replace(HELLO, messages=(UserMessage(" " * 12_000),)), small)


def test_messages_that_cannot_fit_are_refused_before_they_are_rendered() -> None:
    asked = replace(HELLO, messages=(UserMessage("x" * 6_400), UserMessage("y" * 6_400)))
    with pytest.raises(ContextLengthExceeded, match="requested at least 101"):
        check_length(asked, model(100), CALLER)
    check_length(asked, model(101), CALLER)
    with pytest.raises(ContextLengthExceeded):
        check_length(asked, model(101), Caller(context_tokens=100))
    left_out = AssistantMessage("", reasoning="x" * 12_800)
    check_length(replace(HELLO, messages=(UserMessage(" " * 12_800), left_out)), model(100), CALLER)


class Held(ScriptedTokenizer):
    """A tokenizer that encodes texts beginning with "held" only once the gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()

    def encode(self, text: str) -> list[int]:
        if "held" in text[:40]:
            assert self.gate.wait(60)
        return super().encode(text)


async def test_long_prompts_of_one_account_do_not_keep_others_waiting() -> None:
    tokenizer = Held()
    engine = ScriptedEngine(tokenizer, echo, context_tokens=10**6)
    large = Model("m", engine, tokenizer, HERMES, {Mode.DIRECT: DEFAULTS}, created_s=0)

    async def ask(account: str, text: str) -> None:
        asked = replace(HELLO, messages=(UserMessage(text * 2_000),))
        await compile_prompt(asked, large, Caller(account.encode()))

    # More than there are threads for blocking calls.
    greedy = [asyncio.create_task(ask("greedy", f"held {i}")) for i in range(40)]
    await ask("other", "free")
    assert not any(each.done() for each in greedy)
    greedy.pop().cancel()
    tokenizer.gate.set()
    await asyncio.gather(*greedy)


@pytest.mark.parametrize("n_messages", [1, 3, 500])
@pytest.mark.parametrize("window", [3_000, 30_000])
async def test_a_text_far_beyond_the_context_costs_no_more_than_one_that_fits(
    n_messages: int, window: int
) -> None:
    tokenizer = Untouched()
    engine = ScriptedEngine(tokenizer, echo, context_tokens=10**6)
    large = Model("m", engine, tokenizer, HERMES, {Mode.DIRECT: DEFAULTS}, created_s=0)
    # Just below what is refused by its length alone.
    texts = [f"{i} " + "a b " * (30 * window // n_messages) for i in range(n_messages)]
    asked = replace(HELLO, messages=tuple(map(UserMessage, texts)))
    with pytest.raises(ContextLengthExceeded, match=r"resulted in \d+ tokens or more") as caught:
        await compile_prompt(asked, large, Caller(context_tokens=window))
    found = NUMBERS.match(caught.value.message)
    assert found
    assert int(found[2]) >= window
    assert tokenizer.n_characters <= 2 * window + 2**18


async def test_a_long_text_that_fits_is_encoded_whole() -> None:
    tokenizer = ScriptedTokenizer(words=("ab" * 100,))
    engine = ScriptedEngine(tokenizer, echo, context_tokens=20_000)
    large = Model("m", engine, tokenizer, HERMES, {Mode.DIRECT: DEFAULTS}, created_s=0)
    text = "ab" * 100 * 10_000
    prompt = (await compiled(replace(HELLO, messages=(UserMessage(text),)), large)).prompt
    assert prompt.token_ids.count(tokenizer.encode("ab" * 100)[0]) == 10_000


@dataclass(frozen=True)
class Refusal:
    param: str
    request: ChatRequest
    feature: Feature | None = None


REFUSALS = [
    Refusal("tools", replace(HELLO, tools=(Tool("f", {}, {}),))),
    Refusal("response_format", replace(HELLO, answer_format=AnyJsonObject())),
    Refusal("response_format", replace(HELLO, answer_format=JsonSchema("s", {}))),
    Refusal("chat_template_kwargs.enable_thinking", replace(HELLO, mode=Mode.THINKING)),
    Refusal("logprobs", replace(HELLO, top_logprobs=0), "logprobs"),
    Refusal("n", replace(HELLO, n=2), "n"),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.param)
async def test_what_the_engine_cannot_do_is_refused(refusal: Refusal) -> None:
    with pytest.raises(
        UnsupportedParameter, match=r"not supported here: .* cannot|has no reasoning"
    ) as caught:
        await compiled(refusal.request)
    assert (caught.value.status, caught.value.param) == (400, refusal.param)


@pytest.mark.parametrize("refusal", [r for r in REFUSALS if r.feature], ids=lambda refusal: refusal.param)
async def test_what_the_engine_can_do_is_passed_on(refusal: Refusal) -> None:
    sampling = (await compiled(refusal.request, model(features=("n", "logprobs")))).sampling
    assert (sampling.n, sampling.top_logprobs) == (refusal.request.n, refusal.request.top_logprobs)


CAN_ALL = model(features=("grammar", "logprobs", "n", "thinking_budget"))
THINKS = replace(CAN_ALL, sampling=HERMES.sampling)
TOOL = Tool("f", {"type": "object", "properties": {"a": {"type": "integer"}}}, {})


@pytest.mark.parametrize("asked", [{"tools": (TOOL,)}, {"answer_format": AnyJsonObject()}], ids=str)
async def test_what_is_constrained_has_a_grammar(asked: dict[str, Any]) -> None:
    assert (await compiled(replace(HELLO, **asked), CAN_ALL)).prompt.grammar is not None
    assert (await compiled(HELLO, CAN_ALL)).prompt.grammar is None


async def test_a_schema_that_cannot_be_enforced_names_its_place() -> None:
    schema = JsonSchema("s", {"type": "object", "not": {"const": 1}}, strict=True)
    with pytest.raises(InvalidSchema, match="#/not") as caught:
        await compiled(replace(HELLO, answer_format=schema), CAN_ALL)
    assert caught.value.status == 400


async def test_a_budget_for_no_reasoning_is_refused_by_no_model() -> None:
    budget = replace(HELLO, thinking_budget_tokens=10)
    assert (await compiled(budget)).sampling.thinking_budget is None
    only_thinks = replace(model(), sampling={Mode.THINKING: DEFAULTS})
    with pytest.raises(UnsupportedParameter) as caught:
        await compiled(replace(budget, mode=Mode.THINKING), only_thinks)
    assert caught.value.param == "thinking_token_budget"


async def test_top_p_zero_takes_the_likeliest_token() -> None:
    sampling = (await compiled(replace(HELLO, sampling=SamplingOptions(top_p=0.0, top_k=50)))).sampling
    assert (sampling.top_p, sampling.top_k) == (1.0, 1)


async def test_a_thinking_budget_closes_the_reasoning_as_the_format_does() -> None:
    thinking = replace(HELLO, mode=Mode.THINKING, thinking_budget_tokens=70)
    budget = (await compiled(thinking, THINKS)).sampling.thinking_budget
    assert budget is not None
    assert budget.n_tokens + len(budget.close_ids) - len(TOKENIZER.encode("\n\n")) == 70
    assert b"".join(map(TOKENIZER.token_bytes, budget.close_ids)) == b"\n</think>\n\n"
    assert budget.end in ("</think>", TOKENIZER.control_tokens.get("</think>"))
    assert (await compiled(replace(thinking, mode=Mode.DIRECT), THINKS)).sampling.thinking_budget is None
    least = (await compiled(replace(thinking, thinking_budget_tokens=0), THINKS)).sampling.thinking_budget
    assert least is not None
    assert least.n_tokens == 0


@pytest.mark.parametrize("id", [-1, TOKENIZER.vocabulary_size])
async def test_a_bias_of_a_token_that_is_not_there_is_refused(id: int) -> None:
    biased = replace(HELLO, sampling=SamplingOptions(logit_bias={0: 1.0, id: 1.0}))
    with pytest.raises(RequestError, match=f"Token {id} ") as caught:
        await compiled(biased)
    assert caught.value.param == "logit_bias"


async def test_a_history_with_calls_is_no_request_for_tools() -> None:
    called = AssistantMessage("", "because", (ToolCall("call_1", "f", '{"a": 1}'),))
    result = await compiled(replace(HELLO, messages=(*HELLO.messages, called, UserMessage("go on"))))
    spelled = b"".join(map(TOKENIZER.token_bytes, result.prompt.token_ids)).decode()
    assert '{"name": "f", "arguments": {"a": 1}}' in spelled


@pytest.mark.parametrize(
    ("sent", "of_tier", "of_model", "limit"),
    [(7, 6, 5, 7), (None, 6, 5, 6), (None, None, 5, 5), (None, None, None, 4096), (9999, 6, 5, 4096)],
)
async def test_without_a_limit_that_of_the_tier_holds_and_then_that_of_the_model(
    sent: int | None, of_tier: int | None, of_model: int | None, limit: int
) -> None:
    limited = replace(model(), default_output_tokens=of_model)
    caller = Caller(default_output_tokens=of_tier)
    made = await compile_prompt(replace(HELLO, max_output_tokens=sent), limited, caller)
    room = 4096 - len(made.prompt.token_ids)
    assert made.sampling.max_tokens == min(limit, room)


@pytest.mark.parametrize(
    ("chat_format", "closing"),
    [(GPT_OSS, b"<|end|><|start|>assistant"), (GLM, b"</think>\n"), (GLM_4_7, b"</think>")],
    ids=["gpt-oss", "glm", "glm-4.7"],
)
async def test_a_thinking_budget_is_closed_by_the_tags_of_the_format(
    chat_format: ChatFormat, closing: bytes
) -> None:
    thinking = replace(HELLO, mode=Mode.THINKING, thinking_budget_tokens=70)
    budget = (await compiled(thinking, replace(THINKS, format=chat_format))).sampling.thinking_budget
    assert budget is not None
    assert b"".join(map(TOKENIZER.token_bytes, budget.close_ids)) == closing
