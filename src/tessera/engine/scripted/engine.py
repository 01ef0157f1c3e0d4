"""The engine without a model: it plays given tokens with given timing.

The service is load-tested with it, and client libraries are tested without weights. A script is any function
from a prompt to token ids; it may be endless, and it may raise an `EngineError` to fail at that token. A
timing is awaited before every step. With `GrammarReplies`, the engine obeys the prompt's grammar.
"""

import asyncio
import itertools
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from tessera.core.generation import (
    EngineFinish,
    EngineInfo,
    Feature,
    Prompt,
    Sampling,
    TokenChunk,
    TokenLogprob,
)
from tessera.engine.scripted.budget import within_budget
from tessera.engine.scripted.grammar_replies import GrammarReplies
from tessera.errors import EngineUnavailable
from tessera.parsing.syntax import Tags
from tessera.text.tokenizer import Tokenizer

Script: TypeAlias = Callable[[Prompt, int], Iterable[int]]
"""The tokens to play for sequence `i` of a prompt; an exhausted script ends the sequence as a stop would."""

Timing: TypeAlias = Callable[[int], Awaitable[None]]
"""Awaited before step `i` of a generation; step 0 makes the first tokens."""

CHATML = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
SENTENCE = "the little lamp burned all night long and nobody came to put it out "
_SCRIPT_TOKENS = 4096
"""How much of a script is compared with a grammar, at least. One length lets most requests share replies."""
WORDS = tuple(word + " " for word in SENTENCE.split())


class ScriptedTokenizer:
    """A token for each byte (ids 0 to 255), then one for each of `words`, then the control tokens."""

    def __init__(self, words: Sequence[str] = WORDS, control: Sequence[str] = CHATML) -> None:
        """Text is cut into the longest of `words` that fit, and single bytes in between."""
        spellings = dict.fromkeys(word.encode() for word in words)
        self._spellings = [bytes([byte]) for byte in range(256)] + list(spellings)
        self._ids = {spelling: id for id, spelling in enumerate(self._spellings)}
        longest_first = sorted(spellings, key=len, reverse=True)
        self._cut = re.compile(b"|".join([*map(re.escape, longest_first), b"."]), re.DOTALL)
        self.control_tokens: Mapping[str, int] = {
            text: len(self._spellings) + i for i, text in enumerate(control)
        }
        self._spellings += [text.encode() for text in control]
        self.vocabulary_size = len(self._spellings)

    def encode(self, text: str) -> list[int]:
        return [self._ids[spelling] for spelling in self._cut.findall(text.encode())]

    def token_bytes(self, token_id: int) -> bytes:
        """What the id spells; b"" for an unknown one."""
        return self._spellings[token_id] if 0 <= token_id < len(self._spellings) else b""


def saying(tokenizer: Tokenizer, text: str, end: str = "<|im_end|>") -> Script:
    """Answers every prompt with `text`, in which control tokens may be written by name, and then `end`."""
    ids = _spell(tokenizer, text + end)
    return lambda prompt, sequence: ids


def _spell(tokenizer: Tokenizer, text: str) -> list[int]:
    """Text in which control tokens are written by name."""
    named = sorted(tokenizer.control_tokens, key=len, reverse=True)
    ids: list[int] = []
    for part in re.split("(" + "|".join(map(re.escape, named)) + ")", text):
        control = tokenizer.control_tokens.get(part)
        ids += tokenizer.encode(part) if control is None else [control]
    return ids


def cycling(tokenizer: Tokenizer, text: str = SENTENCE, n_tokens: int = 1024) -> Script:
    """Repeats the tokens of `text` until there are `n_tokens`."""
    ids = tokenizer.encode(text)
    return lambda prompt, sequence: itertools.islice(itertools.cycle(ids), n_tokens)


def thinking_first(tokenizer: Tokenizer, script: Script, tags: Tags) -> Script:
    """Reasons for a sentence where the prompt ends in the tag that opens reasoning; then plays `script`."""
    opened = tuple(_spell(tokenizer, f"{tags.open}\n"))
    reasoning = _spell(tokenizer, f"{SENTENCE.strip()}\n{tags.close}\n\n")

    def play(prompt: Prompt, sequence: int) -> Iterable[int]:
        thinks = prompt.token_ids[-len(opened) :] == opened
        return itertools.chain(reasoning if thinks else (), script(prompt, sequence))

    return play


def echo(prompt: Prompt, sequence: int) -> Iterable[int]:
    """Answers with the prompt itself, control tokens and all."""
    return prompt.token_ids


def failing(script: Script, error: Exception, after: int) -> Script:
    """Plays `after` tokens of `script`, then raises `error`."""

    def play(prompt: Prompt, sequence: int) -> Iterator[int]:
        yield from itertools.islice(script(prompt, sequence), after)
        raise error

    return play


def at_once(step: int) -> Awaitable[None]:
    """No delay; only lets others have their turn."""
    return asyncio.sleep(0)


def paced(steps_per_s: float, first_s: float = 0.0) -> Timing:
    """Waits `first_s` before the first step, then keeps an even pace; 0 steps per second is all at once."""
    between_s = 1 / steps_per_s if steps_per_s else 0.0
    return lambda step: asyncio.sleep(between_s if step else first_s)


class ScriptedEngine:
    """Plays `script`; its counters `n_running`, `n_finished` and `n_aborted` count generations."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        script: Script | None = None,
        timing: Timing = at_once,
        *,
        model_id: str = "tessera/scripted",
        context_tokens: int = 32_768,
        tokens_per_chunk: int = 1,
        features: Iterable[Feature] = ("n", "logprobs", "thinking_budget"),
        max_sequences: int = 4096,
        replies: GrammarReplies | None = None,
    ) -> None:
        """With `replies`, grammars are obeyed. Without, `features` may name `grammar`: a script is then
        trusted to obey it.
        """
        eos = {tokenizer.control_tokens[name] for name in CHATML[1:] if name in tokenizer.control_tokens}
        can: set[Feature] = {*features} if replies is None else {*features, "grammar"}
        self.info = EngineInfo(
            model_id,
            context_tokens,
            tokenizer.vocabulary_size,
            frozenset(eos),
            frozenset(can),
            max_sequences,
        )
        self._tokenizer = tokenizer
        self._replies = replies
        self.script = script or cycling(tokenizer)
        self.timing = timing
        self.tokens_per_chunk = tokens_per_chunk
        self.reason: str | None = None
        self.n_running = self.n_finished = self.n_aborted = 0

    def unready(self) -> str | None:
        """`reason`, which tests may set; `engine_closed` after `aclose`."""
        return self.reason

    async def start(self) -> None:
        """Does nothing: the script is there."""

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[TokenChunk]:
        """Plays the script of every sequence, one chunk of each in turn."""
        n_left = sampling.n
        self.n_running += 1
        try:
            said = [await self._tokens(prompt, sampling, sequence) for sequence in range(n_left)]
            playing = [self._play(tokens, sampling, sequence) for sequence, tokens in enumerate(said)]
            for step in itertools.count():
                await self.timing(step)
                if self.reason is not None:
                    raise EngineUnavailable(f"The engine is not available ({self.reason}).", retry_after_s=1)
                for chunks in playing:
                    chunk = next(chunks)
                    if chunk.finish:
                        playing = [each for each in playing if each is not chunks]
                        n_left -= 1
                    yield chunk
                if not n_left:
                    break
        except (GeneratorExit, asyncio.CancelledError):
            self.n_aborted += bool(n_left)
            raise
        finally:
            self.n_running -= 1
            self.n_finished += not n_left

    async def aclose(self) -> None:
        """Ends what runs at its next step."""
        self.reason = "engine_closed"
        if self._replies:
            await self._replies.aclose()

    async def _tokens(self, prompt: Prompt, sampling: Sampling, sequence: int) -> Iterator[int]:
        script = self.script(prompt, sequence)
        if prompt.grammar is None or self._replies is None or self.reason is not None:
            return iter(script)
        n_most = max(sampling.max_tokens, _SCRIPT_TOKENS)
        said = itertools.takewhile(lambda token: token not in sampling.stop_token_ids, script)
        begun = [*itertools.islice(said, n_most)]
        return iter(await self._replies.follow(prompt.grammar, begun, whole=len(begun) < n_most))

    def _play(self, tokens: Iterator[int], sampling: Sampling, sequence: int) -> Iterator[TokenChunk]:
        if sampling.thinking_budget is not None:
            end = sampling.thinking_budget.end
            end_ids = (end,) if isinstance(end, int) else self._tokenizer.encode(end)
            tokens = within_budget(tokens, sampling.thinking_budget, end_ids)
        stop_token_ids, max_tokens = sampling.stop_token_ids, sampling.max_tokens
        ids: list[int] = []
        for n, token in enumerate(tokens, start=1):
            ids.append(token)
            if token in stop_token_ids or n == max_tokens:
                yield _chunk(sequence, ids, "stop" if token in stop_token_ids else "length", sampling)
                return
            if len(ids) == self.tokens_per_chunk:
                yield _chunk(sequence, ids, None, sampling)
                ids = []
        yield _chunk(sequence, ids, "stop", sampling)


def _chunk(sequence: int, ids: list[int], finish: EngineFinish | None, sampling: Sampling) -> TokenChunk:
    """A script is certain of its tokens: their logprob is 0, that of every other token OpenAI's -9999."""
    k = sampling.top_logprobs
    if k is None:
        return TokenChunk(sequence, tuple(ids), finish)
    logprobs = tuple(
        TokenLogprob(id, 0.0, ((id, 0.0), *((other, -9999.0) for other in range(k) if other != id))[:k])
        for id in ids
    )
    return TokenChunk(sequence, tuple(ids), finish, logprobs=logprobs)
