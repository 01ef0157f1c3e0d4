"""A prompt that holds an earlier reply begins with the very ids of the earlier prompt and reply."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.in_process import InProcess
from tests.strategies import plain_texts

from tessera.catalog import Model
from tessera.core.chat import AssistantMessage, Caller, ChatRequest, UserMessage
from tessera.core.generation import Prompt, TokenChunk
from tessera.engine.scripted.engine import ScriptedEngine, ScriptedTokenizer
from tessera.formats.hermes import HERMES
from tessera.prompt.compile import compile_prompt
from tessera.prompt.token_memory import TokenRecorder

TOKENIZER = ScriptedTokenizer()
END = TOKENIZER.control_tokens["<|im_end|>"]
ASKED = ChatRequest((UserMessage("Hi"),))
ALICE, BOB = Caller(b"alice"), Caller(b"bob")


def model() -> Model:
    grammars = InProcess(HERMES, TOKENIZER.control_tokens)
    engine = ScriptedEngine(TOKENIZER)
    return Model("m", engine, TOKENIZER, HERMES, HERMES.sampling, created_s=0, grammars=grammars)


def speak(model: Model, prompt: Prompt, *sequences: list[int]) -> None:
    """Records a reply token by token; several choices take turns."""
    spoken = TokenRecorder(prompt, model)
    for i, ids in enumerate(sequences):
        for id in ids:
            spoken.feed(TokenChunk(i, (id,)))


def in_bytes(text: str) -> list[int]:
    """The bytes as tokens, which the tokenizer would never choose for words that it knows."""
    return [*text.encode()]


async def prompt_of(model: Model, *turns: str, caller: Caller = ALICE) -> Prompt:
    """The prompt of a conversation with these replies, each followed by another question."""
    later = [message for turn in turns for message in (AssistantMessage(turn), UserMessage("And?"))]
    asked = replace(ASKED, messages=(*ASKED.messages, *later))
    return (await compile_prompt(asked, model, caller)).prompt


@pytest.mark.anyio
async def test_a_reply_is_read_back_as_it_was_cut() -> None:
    said, written = "the little lamp ", model()
    first = await prompt_of(written)
    ids = in_bytes(said)
    assert TOKENIZER.encode(said) != ids
    speak(written, first, [*ids, END])
    second = await prompt_of(written, said)
    assert second.token_ids[: len(first.token_ids) + len(ids) + 1] == (*first.token_ids, *ids, END)
    speak(written, second, [*in_bytes("the end"), END])
    third = await prompt_of(written, said, "the end")
    whole = (*second.token_ids, *in_bytes("the end"), END)
    assert third.token_ids[: len(whole)] == whole


@pytest.mark.anyio
@pytest.mark.parametrize("caller", [ALICE, BOB])
async def test_only_there_and_for_that_account(caller: Caller) -> None:
    said, written = "the little lamp ", model()
    speak(written, await prompt_of(written), [*in_bytes(said), END])
    fresh = await prompt_of(model(), "No.", said, caller=caller)
    assert (await prompt_of(written, "No.", said, caller=caller)).token_ids == fresh.token_ids
    alike = (await prompt_of(written, said, caller=caller)).token_ids == (
        await prompt_of(model(), said)
    ).token_ids
    assert alike is (caller is BOB)


@pytest.mark.anyio
async def test_every_choice_is_kept() -> None:
    written = model()
    first = await prompt_of(written)
    choices = [in_bytes("the "), in_bytes("little ")]
    speak(written, first, *([*ids, END] for ids in choices))
    for ids in choices:
        second = await prompt_of(written, bytes(ids).decode())
        assert second.token_ids[len(first.token_ids) :][: len(ids)] == (*ids,)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "ids", [[0xC3, END], [END], in_bytes("the ")], ids=["half-character", "nothing", "cut"]
)
async def test_what_is_no_whole_text_is_not_kept(ids: list[int]) -> None:
    written = model()
    speak(written, await prompt_of(written), ids)
    assert (await prompt_of(written, "the ")).token_ids == (await prompt_of(model(), "the ")).token_ids


@pytest.mark.anyio
@given(said=plain_texts, draw=st.data())
async def test_any_cut_spells_the_same_prompt(said: str, draw: Any) -> None:
    written = model()
    first = await prompt_of(written)
    parts = [word for word in (said, "the ", "little ") if word]
    ids = [
        id for part in parts for id in draw.draw(st.sampled_from([in_bytes(part), TOKENIZER.encode(part)]))
    ]
    speak(written, first, [*ids, END])
    text = "".join(parts)
    second, fresh = await prompt_of(written, text), await prompt_of(model(), text)
    assert second.token_ids[: len(first.token_ids) + len(ids)] == (*first.token_ids, *ids)
    assert spelled(second) == spelled(fresh)


def spelled(prompt: Prompt) -> bytes:
    return b"".join(map(TOKENIZER.token_bytes, prompt.token_ids))
