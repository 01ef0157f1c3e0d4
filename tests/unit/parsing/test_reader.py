"""Chunks of several choices, and the count of tokens."""

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.families import ASKED, CITY, LEON, TAGS, WEATHER
from tests.folding import fold
from tests.strategies import chunkings, scraps

from tessera.core.chat import ChatRequest, Mode, ToolChoice, UserMessage
from tessera.core.events import ChatEvent, Completed, Finished, FinishReason, ReasoningDelta, TextDelta
from tessera.core.generation import EngineFinish, TokenChunk, TokenLogprob
from tessera.core.record import Tally
from tessera.core.result import Reply
from tessera.core.usage import Usage
from tessera.engine.scripted.engine import ScriptedTokenizer
from tessera.formats.hermes import HERMES
from tessera.formats.qwen3 import QWEN3
from tessera.parsing.reader import ReplyReader, new_call_id
from tessera.parsing.syntax import Syntax

TOKENIZER = ScriptedTokenizer(words=["ab ", "STOP"], control=[*TAGS, "<|im_end|>", "<|endoftext|>"])
PLAIN = ChatRequest((UserMessage("x"),))
END = TOKENIZER.control_tokens["<|im_end|>"]


def ids(*parts: str) -> tuple[int, ...]:
    control = TOKENIZER.control_tokens
    return tuple(
        id for part in parts for id in ([control[part]] if part in control else TOKENIZER.encode(part))
    )


def reader_of(request: ChatRequest) -> ReplyReader:
    return ReplyReader(request, QWEN3.syntax, TOKENIZER, Tally(11))


def test_choices_are_read_apart() -> None:
    reader = reader_of(replace(PLAIN, n=2))
    events = [
        *reader.feed(TokenChunk(1, ids("ab ab "), cached_tokens=8)),
        *reader.feed(TokenChunk(0, ids("x"), cached_tokens=8)),
        *reader.feed(TokenChunk(1, ids("<|im_end|>"), "stop", cached_tokens=8)),
    ]
    assert not reader.done
    events += reader.feed(TokenChunk(0, (), "length", cached_tokens=8))
    assert reader.done
    assert events == [
        TextDelta(1, "ab ab "),
        TextDelta(0, "x"),
        Finished(1, FinishReason.STOP),
        Finished(0, FinishReason.LENGTH),
    ]
    assert reader.complete() == (Completed(Usage(11, 8, 4, 0)),)


def test_nothing_after_a_stop_string_counts() -> None:
    reader = reader_of(replace(PLAIN, stop=("STOP",)))
    events = reader.feed(TokenChunk(0, (*ids("ab STOPab ab "), END), "length"))
    assert events == (TextDelta(0, "ab "), Finished(0, FinishReason.STOP))
    assert reader.done
    assert reader.feed(TokenChunk(0, ids("ab "), "stop")) == ()
    assert reader.complete() == (Completed(Usage(11, 0, 2, 0)),)


def test_reasoning_tokens_include_the_closing_tag() -> None:
    reader = reader_of(replace(PLAIN, mode=Mode.THINKING))
    events = reader.feed(TokenChunk(0, (*ids("ab ab \n", "</think>", "\n\nab "), END), "stop"))
    assert events == (ReasoningDelta(0, "ab ab "), TextDelta(0, "ab "), Finished(0, FinishReason.STOP))
    assert reader.complete() == (Completed(Usage(11, 0, 8, 4)),)


def test_a_character_in_several_tokens_is_one_text() -> None:
    reader = reader_of(PLAIN)
    logprobs = tuple(TokenLogprob(id, -1.0) for id in ids("é"))
    assert reader.feed(TokenChunk(0, ids("é")[:1], logprobs=logprobs[:1])) == ()
    assert reader.feed(TokenChunk(0, ids("é")[1:], logprobs=logprobs[1:])) == (TextDelta(0, "é", logprobs),)
    assert reader.feed(TokenChunk(0, ids("é")[:1], "stop")) == (
        TextDelta(0, "\ufffd"),
        Finished(0, FinishReason.STOP),
    )


CUT_IN = {
    "text": ("", PLAIN),
    "text that a call may follow": ("ab ", ASKED),
    "reasoning": ("ab ", replace(PLAIN, mode=Mode.THINKING)),
    "a value": (f"<tool_call>{CITY}ab ", ASKED),
    "a value that is no string": ("<tool_call><function=get_time><parameter=x>[", ASKED),
    "stray text": ("<tool_call><function=get_time>", ASKED),
    "half a tag": ("ab <", ASKED),
}


@pytest.mark.parametrize("before", CUT_IN)
@pytest.mark.parametrize("character", ["é", "€", "👩"])
def test_half_a_character_that_the_length_cuts_is_left_out(before: str, character: str) -> None:
    text, request = CUT_IN[before]
    reference = fold_of(request, ids(*re.split("(<tool_call>)", text)), "length")
    whole = ids(*re.split("(<tool_call>)", text), character)
    for n in range(1, len(character.encode())):
        for finish in ("length", "stop"):
            reply = fold_of(request, whole[:-n], finish)
            assert ("\ufffd" in repr(reply)) is (finish == "stop")
            assert finish == "stop" or reply == replace(reference, usage=reply.usage)


def fold_of(request: ChatRequest, tokens: Sequence[int], finish: EngineFinish) -> Reply:
    number = iter(range(99))
    reader = ReplyReader(request, QWEN3.syntax, TOKENIZER, Tally(11), lambda: f"call_{next(number)}")
    logprobs = tuple(TokenLogprob(id, -1.0) for id in tokens)
    events = reader.feed(TokenChunk(0, tuple(tokens), finish, logprobs=logprobs))
    return fold([*events, *reader.complete()])


@given(
    text=st.text("aé€👩", max_size=8),
    sizes=st.lists(st.integers(1, 5), min_size=40, max_size=40),
    cut=st.integers(0, 30),
)
def test_logprobs_cover_the_text_that_the_length_cuts(text: str, sizes: list[int], cut: int) -> None:
    """Tokens are cut anyhow; one that is shown in part has its logprob too."""
    spelled = text.encode()[:cut]
    cuts = [*accumulate(sizes, initial=0)]
    parts = [part for a, b in pairwise(cuts) if (part := spelled[a:b])]
    tokenizer = Parts(parts)
    reader = ReplyReader(PLAIN, QWEN3.syntax, tokenizer, Tally(11))
    logprobs = tuple(TokenLogprob(id, -1.0) for id in range(len(parts)))
    chunk = TokenChunk(0, tuple(range(len(parts))), "length", logprobs=logprobs)
    choice = fold([*reader.feed(chunk), *reader.complete()]).choices[0]
    whole = spelled.decode(errors="ignore").encode()
    assert (choice.text or "").encode() == whole
    n_shown = bisect_left(cuts, len(whole))
    assert [each.token_id for each in choice.logprobs] == [*range(n_shown)]


class Parts:
    """A tokenizer whose tokens each spell one of the parts."""

    vocabulary_size = 100
    control_tokens: Mapping[str, int] = MappingProxyType({})

    def __init__(self, parts: Sequence[bytes]) -> None:
        self._parts = parts

    def encode(self, text: str) -> list[int]:
        raise NotImplementedError

    def token_bytes(self, token_id: int) -> bytes:
        return self._parts[token_id]


@pytest.mark.parametrize("finish", ["stop", "length"])
def test_calls_decide_the_finish_but_for_length(finish: EngineFinish) -> None:
    reader = reader_of(ASKED)
    events = reader.feed(TokenChunk(0, ids("<tool_call>", LEON, "</tool_call>"), finish))
    expected = FinishReason.TOOL_CALLS if finish == "stop" else FinishReason.LENGTH
    assert events[-1] == Finished(0, expected)


@pytest.mark.parametrize(
    ("asked", "finish"),
    [
        ({"parallel_tool_calls": False}, FinishReason.TOOL_CALLS),
        ({"tool_choice": ToolChoice("required", frozenset({WEATHER.name}), named=True)}, FinishReason.STOP),
    ],
    ids=["asked", "named"],
)
def test_a_second_call_ends_a_reply_that_may_hold_one(asked: dict[str, Any], finish: FinishReason) -> None:
    reader = reader_of(replace(ASKED, **asked))
    call = ids("<tool_call>", LEON, "</tool_call>")
    reader.feed(TokenChunk(0, call))
    assert not reader.done
    events = reader.feed(TokenChunk(0, call))
    assert reader.done
    assert events == (Finished(0, finish),)


any_token = st.integers(-1, TOKENIZER.vocabulary_size + 1)


@given(
    tokens=scraps.map(lambda parts: ids(*parts)) | st.lists(any_token).map(tuple),
    ends=st.sampled_from([(), (END,), ids("é")[:1], ids("👩")[:3]]),
    cuts=st.data(),
    request=st.builds(
        replace,
        st.just(ASKED),
        mode=st.sampled_from(Mode),
        stop=st.sampled_from([(), ("STOP",)]),
        tool_choice=st.sampled_from([ToolChoice(), ToolChoice("required")]),
    ),
    finish=st.sampled_from(["stop", "length"]),
    scored=st.booleans(),
)
@pytest.mark.parametrize("syntax", [QWEN3.syntax, HERMES.syntax], ids=["xml", "json"])
def test_reply_and_usage_do_not_depend_on_chunks(
    syntax: Syntax,
    tokens: tuple[int, ...],
    ends: tuple[int, ...],
    cuts: st.DataObject,
    request: ChatRequest,
    finish: EngineFinish,
    scored: bool,
) -> None:
    """Whatever the tokens are, half characters and unknown ids among them."""
    tokens = (*tokens, *ends)

    def read(chunks: Sequence[Sequence[int]]) -> list[ChatEvent]:
        number = iter(range(99))
        reader = ReplyReader(request, syntax, TOKENIZER, Tally(11), lambda: f"call_{next(number)}")
        events: list[ChatEvent] = []
        for i, chunk in enumerate(chunks, 1):
            logprobs = tuple(TokenLogprob(id, -1.0) for id in chunk) if scored else ()
            ended = finish if i == len(chunks) else None
            events += reader.feed(TokenChunk(0, tuple(chunk), ended, logprobs=logprobs))
        return [*events, *reader.complete()]

    whole = fold(read([tokens]))
    assert fold(read(cuts.draw(chunkings(tokens)))) == whole
    assert fold(read([[token] for token in tokens] or [[]])) == whole


@given(
    parts=scraps,
    cuts=st.data(),
    request=st.builds(
        replace,
        st.sampled_from([ASKED, PLAIN]),
        mode=st.sampled_from(Mode),
        stop=st.sampled_from([(), ("STOP",), ("\n\n", "}")]),
    ),
)
@pytest.mark.parametrize("syntax", [QWEN3.syntax, HERMES.syntax], ids=["xml", "json"])
def test_plain_text_takes_a_shorter_way_to_the_same_events(
    syntax: Syntax, parts: list[str], cuts: st.DataObject, request: ChatRequest
) -> None:
    """Tokens with logprobs always take the long way."""
    chunks = [*cuts.draw(chunkings((*ids(*parts), END))), ids("ab ab ")]

    def read(scored: bool) -> list[tuple[ChatEvent, ...]]:
        number = iter(range(99))
        reader = ReplyReader(request, syntax, TOKENIZER, Tally(11), lambda: f"call_{next(number)}")
        batches: list[tuple[ChatEvent, ...]] = []
        for i, chunk in enumerate(chunks, 1):
            logprobs = tuple(TokenLogprob(id, -1.0) for id in chunk) if scored else ()
            events = reader.feed(
                TokenChunk(0, tuple(chunk), "stop" if i == len(chunks) else None, 0, logprobs)
            )
            batches.append(tuple(map(without_logprobs, events)))
        return [*batches, reader.complete()]

    assert read(scored=False) == read(scored=True)


def without_logprobs(event: ChatEvent) -> ChatEvent:
    return TextDelta(event.choice, event.text) if isinstance(event, TextDelta) else event


def test_call_ids_are_random() -> None:
    made = {new_call_id() for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(r"call_[A-Za-z0-9]{24}", id) for id in made)


def events_of(n: int, chunks: Sequence[TokenChunk], *, loop_tokens: int) -> tuple[list[ChatEvent], Tally]:
    tally = Tally(11)
    reader = ReplyReader(
        replace(PLAIN, n=n), HERMES.syntax, TOKENIZER, tally, lambda: "call_1", loop_tokens=loop_tokens
    )
    return [event for chunk in chunks for event in reader.feed(chunk)], tally


@given(st.lists(st.integers(1, 40), max_size=40), st.sampled_from(["ab ", "x", "ab xy", "é"]))
def test_a_choice_that_repeats_itself_ends_by_length_however_its_tokens_arrive(
    cuts: list[int], block: str
) -> None:
    tokens = [*ids("Well: "), *ids(block) * 200]
    at, chunks = 0, list[TokenChunk]()
    for size in [*cuts, len(tokens)]:
        chunks.append(TokenChunk(0, tuple(tokens[at : at + size])))
        at += size
    (end,) = [event for event in events_of(1, chunks, loop_tokens=64)[0] if isinstance(event, Finished)]
    assert end == Finished(0, FinishReason.LENGTH)
    one_by_one = [TokenChunk(0, (token,)) for token in tokens]
    events, tally = events_of(1, one_by_one, loop_tokens=64)
    joined, same = events_of(1, chunks, loop_tokens=64)
    assert fold([*joined, Completed(same.usage)]) == fold([*events, Completed(tally.usage)])
    assert 64 <= tally.completion_tokens <= len(ids("Well: ")) + 64 + 8
    # Without the setting it goes on.
    assert events_of(1, chunks, loop_tokens=0)[1].completion_tokens == len(tokens)


def test_only_the_choice_that_repeats_itself_ends() -> None:
    chunks = [
        *(TokenChunk(0, ids("ab ")) for _ in range(40)),
        *(TokenChunk(1, ids(f"{number:04}")) for number in range(40)),
        TokenChunk(1, (END,), "stop"),
        TokenChunk(0, ids("late"), "stop"),
    ]
    events, tally = events_of(2, chunks, loop_tokens=16)
    ends = [event for event in events if isinstance(event, Finished)]
    assert ends == [Finished(0, FinishReason.LENGTH), Finished(1, FinishReason.STOP)]
    assert tally.finished == {0: FinishReason.LENGTH, 1: FinishReason.STOP}


def test_an_end_of_its_own_stays_one() -> None:
    chunks = [TokenChunk(0, ids("x") * 15), TokenChunk(0, ids("x"), "stop")]
    (*_, end) = events_of(1, chunks, loop_tokens=16)[0]
    assert end == Finished(0, FinishReason.STOP)
