"""A request's way from messages to events. Read this first.

    ChatRequest ──compile──▶ Prompt, Sampling ──engine──▶ TokenChunks ──reader──▶ ChatEvents ──check──▶

The engine yields what each of its steps added; so does this. A whole reply is `fold` of the same events.
Whoever iterates owns the generation: closing the iterator, in any phase, aborts it within one engine step.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from tessera.catalog import Model
from tessera.core.chat import Caller, ChatRequest
from tessera.core.events import ChatEvent
from tessera.core.tally import Tally
from tessera.grammars.reply_check import ReplyCheck
from tessera.parsing.reader import Reader
from tessera.prompt.compile import compile_prompt
from tessera.prompt.token_memory import Spoken


async def run(
    request: ChatRequest, model: Model, caller: Caller, tally: Tally
) -> AsyncGenerator[tuple[ChatEvent, ...]]:
    """Yield the events of the reply, those of one engine step together; the last one is `Completed`.
    `tally` is right at every moment: what is cut short is counted too.

    Raises `RequestError` before the first batch and `EngineError` at any moment.
    """
    compiled = await compile_prompt(request, model, caller)
    tally.prompt_tokens = len(compiled.prompt.token_ids)
    reader = Reader(request, model.format.syntax, model.tokenizer, tally)
    check = ReplyCheck(request, model.grammars, caller.cache_salt)
    spoken = Spoken(compiled.prompt, model)
    async with aclosing(model.engine.generate(compiled.prompt, compiled.sampling)) as chunks:
        async for chunk in chunks:
            spoken.feed(chunk)
            if events := reader.feed(chunk):
                await check.feed(events)
                yield events
            if reader.done:
                break
    yield reader.complete()
