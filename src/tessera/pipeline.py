"""A request's way from messages to events. Read this first.

    http.chat               receives the request, and has it decoded (wire.decode) and admitted (access)
    ── this page ──
    prompt.compile          ChatRequest → Prompt, and Sampling completed by the model's defaults
        prompt.support          refuses what the model cannot do
        grammars.checker        builds the grammar of the reply, in a process (grammars.process)
        formats                 renders the conversation: segments of text and control tokens
        prompt.encode           segments → token ids
    engine.base             Prompt, Sampling → TokenChunks
    parsing.reader          TokenChunks → ChatEvents
        text.detokenizer        token ids → pieces of text and control tokens
        parsing.parser          pieces → reasoning, text and tool calls (parsing.states)
        parsing.loops           ends a choice that repeats itself
    grammars.reply_check    validates what has finished, in a process (schemas.validation_process)
    ── end of this page ──
    wire.stream, wire.reply ChatEvents → SSE frames, or one JSON body (core.result)

The engine yields what each of its steps added, and so does `run`. A whole reply is the fold of the same
events. The caller that iterates owns the generation: closing the iterator, in any phase, aborts it within one
engine step.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from tessera.catalog import Model
from tessera.core.chat import Caller, ChatRequest
from tessera.core.events import ChatEvent
from tessera.core.record import Tally
from tessera.grammars.reply_check import ReplyCheck
from tessera.parsing.reader import ReplyReader
from tessera.prompt.compile import compile_prompt
from tessera.prompt.token_memory import TokenRecorder


async def run(
    request: ChatRequest, model: Model, caller: Caller, tally: Tally
) -> AsyncGenerator[tuple[ChatEvent, ...]]:
    """Yields the events of the reply, those of one engine step together; the last one is `Completed`.
    `tally` is up to date at every moment, so that a reply which is cut short is counted too.

    Raises `RequestError` before the first events and `EngineError` at any moment.
    """
    compiled = await compile_prompt(request, model, caller)
    tally.prompt_tokens = len(compiled.prompt.token_ids)
    reader = ReplyReader(request, model.format.syntax, model.tokenizer, tally, loop_tokens=model.loop_tokens)
    check = ReplyCheck(request, model.grammars, caller.cache_salt)
    recorder = TokenRecorder(compiled.prompt, model)
    async with aclosing(model.engine.generate(compiled.prompt, compiled.sampling)) as chunks:
        async for chunk in chunks:
            recorder.feed(chunk)
            if events := reader.feed(chunk):
                if check.is_needed:
                    await check.feed(events)
                yield events
            if reader.done:
                break
    yield reader.complete()
