"""Grammars in the engine itself, on random weights: step by step."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from itertools import count

import pytest
from tests.hosted import EXACT, any_core_of, llama_start, openvino_start, tokenizer_of
from tests.tiny_model import byte_words, write_gguf

from tessera.core.generation import Grammar, Prompt, Sampling, ThinkingBudget, TokenChunk
from tessera.engine.batch.core import BatchCore
from tessera.engine.host.frames import Start
from tessera.engine.llamacpp.files import GGUF
from tessera.engine.openvino.convert import IR
from tessera.errors import TesseraError
from tessera.grammars.lark import json_value
from tessera.models.cache import Cache
from tessera.models.progress import Quiet
from tessera.models.resolve import resolve
from tessera.models.source import ModelSource
from tessera.schemas.validation import Validator
from tessera.text.hf import HfTokenizer

pytestmark = pytest.mark.live

REQUESTS = count()
ORDER = {
    "type": "object",
    "properties": {
        "customer_number": {"type": "integer", "minimum": 0, "maximum": 99},
        "delivery_address": {"type": "string", "minLength": 3, "maxLength": 3},
        "confirmed_by_the_customer": {"type": "boolean"},
    },
    "required": ["customer_number", "delivery_address", "confirmed_by_the_customer"],
    "additionalProperties": False,
}
JSON = Grammar(f"start: {json_value(ORDER)}")
SLOW = Grammar(f"start: {json_value({'enum': [f'{i:05}' * 9 for i in range(5_000)]})}")


@pytest.fixture(scope="module", params=EXACT)
def engine(request: pytest.FixtureRequest) -> str:
    if request.param == "llama_start":
        request.getfixturevalue("llama_start")  # skips without a library
    return request.param


@pytest.fixture(scope="module")
def made(engine: str, tmp_path_factory: pytest.TempPathFactory) -> ModelSource:
    root = tmp_path_factory.mktemp("tiny")
    write_gguf(root / "tiny.gguf", byte_words(tags_are_tokens=True))
    form = GGUF if engine == "llama_start" else IR
    return resolve(str(root / "tiny.gguf"), Cache(root), Quiet(), form)


@pytest.fixture(scope="module")
def tokenizer(made: ModelSource) -> HfTokenizer:
    return tokenizer_of(made)


@pytest.fixture(scope="module")
def config(engine: str, made: ModelSource, tokenizer: HfTokenizer) -> Start:
    start = llama_start if engine == "llama_start" else openvino_start
    return start(
        made,
        tokenizer.vocabulary_size,
        context_tokens=1_000,
        eos_token_ids=frozenset({tokenizer.control_tokens["<|im_end|>"]}),
        kv_cache_bytes=2**24,
        step_gap_s=60,
        **EXACT[engine],
    )


@pytest.fixture(scope="module")
def core(config: Start) -> BatchCore:
    return any_core_of(config)


@pytest.fixture(scope="module")
def sampling(core: BatchCore) -> Sampling:
    return Sampling(200, core.info.eos_token_ids, temperature=2, seed=1)


@pytest.fixture(scope="module")
def prompt(tokenizer: HfTokenizer) -> Prompt:
    return Prompt(tuple(tokenizer.encode("Order something for me, whatever it is. " * 3)), JSON)


class Run:
    """The results of some requests: chunks by request and sequence, failures, and the number of steps."""

    def __init__(self, core: BatchCore, requests: Iterable[tuple[Prompt, Sampling]]) -> None:
        self.ids = [next(REQUESTS) for _ in requests]
        self.chunks: dict[tuple[int, int], list[TokenChunk]] = defaultdict(list)
        self.failures: dict[int, str] = {}
        self.n_steps = self.most_blocks = 0
        for id, (prompt, sampling) in zip(self.ids, requests, strict=True):
            core.submit(id, prompt, sampling)
        while core.busy:
            outputs = core.step()
            self.n_steps += bool(outputs)
            self.most_blocks = max(self.most_blocks, core.gauges()["blocks_used"])
            for id, output in outputs:
                if isinstance(output, TesseraError):
                    self.failures[self.ids.index(id)] = output.message
                else:
                    self.chunks[self.ids.index(id), output.sequence].append(output)
        assert core.gauges()["blocks_used"] == 0

    def tokens(self, request: int = 0, sequence: int = 0) -> list[int]:
        return [token for chunk in self.chunks[request, sequence] for token in chunk.token_ids]

    def finish(self, request: int = 0, sequence: int = 0) -> str | None:
        return self.chunks[request, sequence][-1].finish


def text(tokenizer: HfTokenizer, tokens: Iterable[int]) -> str:
    return b"".join(map(tokenizer.token_bytes, tokens)).decode()


def whole(tokenizer: HfTokenizer, tokens: list[int]) -> bool:
    return Validator(ORDER).validate(text(tokenizer, tokens[:-1])) is None


def test_forced_tokens_take_no_steps(
    core: BatchCore, tokenizer: HfTokenizer, prompt: Prompt, sampling: Sampling
) -> None:
    run = Run(core, [(prompt, sampling)])
    assert whole(tokenizer, run.tokens())
    assert run.finish() == "stop"
    assert run.n_steps < len(run.tokens()) / 3
    assert len(run.chunks[0, 0][0].token_ids) > len('{"customer_number": ')
    again = Run(core, [(prompt, sampling)])
    assert again.tokens() == run.tokens()
    assert again.chunks[0, 0][0].cached_tokens <= len(prompt.token_ids)


@pytest.mark.parametrize("most", [1, 2, 19, 20, 21, 40])
def test_the_length_is_exact_where_tokens_are_forced(
    most: int, core: BatchCore, prompt: Prompt, sampling: Sampling
) -> None:
    run = Run(core, [(prompt, replace(sampling, max_tokens=most, n=2))])
    for sequence in (0, 1):
        assert len(run.tokens(0, sequence)) == most
        assert run.finish(0, sequence) == "length"


BAD = ("start: nothing", "", 'start: "a" x\nx: "b" x', "start: <[9999]>")


def test_a_bad_grammar_ends_its_own_request_only(
    core: BatchCore, tokenizer: HfTokenizer, prompt: Prompt, sampling: Sampling
) -> None:
    requests = [(replace(prompt, grammar=Grammar(bad)), replace(sampling, n=2)) for bad in BAD]
    run = Run(
        core, [(prompt, sampling), *requests, (replace(prompt, grammar=None), sampling), (prompt, sampling)]
    )
    assert sorted(run.failures) == [1, 2, 3, 4]
    assert all("grammar" in why or "token" in why for why in run.failures.values())
    assert whole(tokenizer, run.tokens(0))
    assert run.tokens(6) == run.tokens(0)
    assert run.finish(5)


def test_sequences_of_a_request_share_the_prompt_and_each_follows_the_grammar(
    core: BatchCore, tokenizer: HfTokenizer, prompt: Prompt, sampling: Sampling
) -> None:
    long = replace(prompt, token_ids=prompt.token_ids * 4)
    one, four = Run(core, [(long, sampling)]), Run(core, [(long, replace(sampling, n=4))])
    assert all(whole(tokenizer, four.tokens(0, sequence)) for sequence in range(4))
    assert len({tuple(four.tokens(0, sequence)) for sequence in range(4)}) == 4
    assert four.tokens() == one.tokens()
    # A prompt of n blocks, and what each writes after it.
    assert four.most_blocks <= one.most_blocks + 3 * 5


def test_more_sequences_than_there_is_room_for(
    core: BatchCore, tokenizer: HfTokenizer, prompt: Prompt, sampling: Sampling
) -> None:
    run = Run(core, [(prompt, replace(sampling, n=8)), (prompt, replace(sampling, n=8))])
    assert all(whole(tokenizer, run.tokens(request, i)) for request in (0, 1) for i in range(8))


def test_with_logprobs_every_token_has_its_own(
    core: BatchCore, tokenizer: HfTokenizer, prompt: Prompt, sampling: Sampling
) -> None:
    run = Run(core, [(prompt, replace(sampling, top_logprobs=3, n=2))])
    for sequence in (0, 1):
        tokens, chunks = run.tokens(0, sequence), run.chunks[0, sequence]
        assert whole(tokenizer, tokens)
        assert [each.token_id for chunk in chunks for each in chunk.logprobs] == tokens
        assert all(len(each.top) == 3 and each.logprob < 0 for chunk in chunks for each in chunk.logprobs)
        assert len(chunks) == len(tokens)


def budgets(tokenizer: HfTokenizer, n_tokens: int) -> dict[str, ThinkingBudget]:
    close = tokenizer.control_tokens["</think>"]
    line = tokenizer.encode("\n")
    return {
        "control": ThinkingBudget(n_tokens, (*line, close, *line, *line), close),
        "spelled": ThinkingBudget(n_tokens, tuple(tokenizer.encode("\n</think>\n\n")), "</think>"),
    }


@pytest.mark.parametrize("logprobs", [None, 1])
@pytest.mark.parametrize("n_tokens", [0, 1, 9])
@pytest.mark.parametrize("kind", ["control", "spelled"])
def test_the_reasoning_is_closed_at_its_budget(
    kind: str,
    n_tokens: int,
    logprobs: int | None,
    core: BatchCore,
    tokenizer: HfTokenizer,
    prompt: Prompt,
    sampling: Sampling,
) -> None:
    budget = budgets(tokenizer, n_tokens)[kind]
    reasoning = f"TEXT <[{budget.end}]>" if kind == "control" else "until"
    lark = f"""
start: {reasoning} "\\n\\n" answer
TEXT: /[a-z ]*\\n?/
until[suffix="</think>"]: TEXT
answer: {json_value(ORDER)}
"""
    asked = replace(sampling, n=2, thinking_budget=budget, top_logprobs=logprobs)
    free = replace(asked, max_tokens=40, stop_token_ids=frozenset())
    run = Run(core, [(replace(prompt, grammar=Grammar(lark)), asked), (replace(prompt, grammar=None), free)])
    for (request, sequence), chunks in run.chunks.items():
        tokens = run.tokens(request, sequence)
        scored = [each.token_id for chunk in chunks for each in chunk.logprobs]
        assert scored == ([] if logprobs is None else tokens)
        at = place(budget.close_ids, tokens)
        assert at <= n_tokens
        assert request == 1 or whole(tokenizer, tokens[at + len(budget.close_ids) :])


def place(wanted: tuple[int, ...], tokens: list[int]) -> int:
    """The first place of `wanted` in the tokens."""
    places = range(len(tokens) - len(wanted) + 1)
    return next(at for at in places if tuple(tokens[at : at + len(wanted)]) == wanted)


def test_a_request_may_go_while_its_grammar_is_compiled(
    core: BatchCore, tokenizer: HfTokenizer, prompt: Prompt, sampling: Sampling
) -> None:
    gone = [next(REQUESTS) for _ in range(4)]
    for id in gone:
        core.submit(id, replace(prompt, grammar=SLOW), replace(sampling, n=3))
    for id in gone[:2]:
        core.abort(id)
    assert {id for id, _ in core.step()}.isdisjoint(gone[:2])
    for id in gone[2:]:
        core.abort(id)
    while core.busy:
        assert core.step() == []
    assert core.gauges()["waiting"] == core.gauges()["running"] == 0
    assert whole(tokenizer, Run(core, [(prompt, sampling)]).tokens())
