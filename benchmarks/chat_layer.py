"""What the chat layer costs without an engine: the way of a token out, and the way of a conversation in.

Out: detokenizer, parser and SSE frames, one token per chunk as the engine delivers them, in microseconds per
token. In: rendering and encoding a conversation of some 30,000 tokens, in milliseconds; then one turn more.
`benchmarks/README.md` tells how.
"""

import argparse
import json
import time
import unittest.mock
from collections.abc import Callable
from inspect import getsource
from itertools import cycle
from statistics import median

from tests.hosted import tokenizer_of
from tests.qwen import QwenTokenizer

from tessera.core.chat import (
    AssistantMessage,
    ChatRequest,
    JsonObject,
    Message,
    Mode,
    SystemMessage,
    Tool,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from tessera.core.generation import TokenChunk
from tessera.core.record import Tally
from tessera.engine.openvino.convert import IR
from tessera.formats.base import ChatFormat, Control, Plain, Segment
from tessera.formats.hermes import HERMES
from tessera.formats.qwen3 import QWEN3
from tessera.models.cache import Cache, default_root
from tessera.models.progress import Quiet
from tessera.models.resolve import resolve
from tessera.parsing.reader import ReplyReader
from tessera.prompt.encode import encode
from tessera.text.encoded import EncodedTexts
from tessera.text.tokenizer import Tokenizer
from tessera.wire.reply import Header
from tessera.wire.stream import ChunkWriter

_CONVERSATION_TOKENS = 30_000
# Texts that every Python has: documentation with some code, and code.
_PROSE, _CODE = getsource(argparse), getsource(unittest.mock)
_PARAGRAPH = 1_200
_HEADER = Header("chatcmpl-" + "x" * 24, 1_800_000_000, "some/model")


def _tool(name: str, **properties: str) -> Tool:
    schema: JsonObject = {
        "type": "object",
        "properties": {key: {"type": kind} for key, kind in properties.items()},
        "required": list(properties),
    }
    function = {"name": name, "description": f"{name.replace('_', ' ')}.", "parameters": schema}
    return Tool(name, schema, {"type": "function", "function": function})


TOOLS = (
    _tool("write_file", path="string", content="string"),
    _tool("search", query="string", limit="integer", paths="array"),
    _tool("run", command="string", timeout_s="number"),
)
ASKED = ChatRequest((UserMessage("Mend it."),), mode=Mode.THINKING, tools=TOOLS)


def paragraphs(source: str) -> list[str]:
    """The source text in pieces of about 1,200 characters."""
    return [source[at : at + _PARAGRAPH] for at in range(0, len(source), _PARAGRAPH)]


def tool_reply() -> list[Segment]:
    """A reply of about 2,500 tokens as Qwen writes it: reasoning, a line of text, nine calls."""
    reply: list[Segment] = [Plain(paragraphs(_PROSE)[0]), Plain("\n"), Control("</think>")]
    reply.append(Plain("\n\nI look at the file first, then I change it."))
    for i, text in enumerate(paragraphs(_CODE)[10:13]):
        for name, arguments in (
            ("search", {"query": f"class Mock{i}", "limit": "20", "paths": '["src", "tests"]'}),
            ("write_file", {"path": f"src/mock_{i}.py", "content": text}),
            ("run", {"command": f"python -m pytest tests/test_{i}.py -x", "timeout_s": "60"}),
        ):
            values = "".join(f"<parameter={k}>\n{v}\n</parameter>\n" for k, v in arguments.items())
            body = Plain(f"\n<function={name}>\n{values}</function>\n")
            reply += [Plain("\n\n"), Control("<tool_call>"), body, Control("</tool_call>")]
    return [*reply, Control("<|im_end|>")]


def text_reply() -> list[Segment]:
    """A reply of about 2,500 tokens, all of them text."""
    return [Plain(_PROSE[:11_000]), Control("<|im_end|>")]


def read(request: ChatRequest, chunks: list[TokenChunk], tokenizer: Tokenizer) -> bytes:
    reader = ReplyReader(request, QWEN3.syntax, tokenizer, Tally(100))
    writer = ChunkWriter(_HEADER, tokenizer.token_bytes)
    frames = [writer.write(events) for chunk in chunks if (events := reader.feed(chunk))]
    return b"".join([*frames, writer.write(reader.complete())])


def conversation(n_turns: int) -> tuple[Message, ...]:
    """A tool loop: questions, calls with code in their arguments, results in JSON, and answers."""
    texts = cycle(paragraphs(_PROSE))
    sources = cycle(paragraphs(_CODE))
    messages: list[Message] = [SystemMessage("You are a careful programmer.\n" + next(texts))]
    for i in range(n_turns):
        call = ToolCall(
            f"call_{i}", "write_file", json.dumps({"path": f"a/{i}.py", "content": next(sources)})
        )
        result = json.dumps({"ok": True, "turn": i, "text": next(texts)})
        messages += [
            UserMessage(f"Question {i}: {next(texts)[:400]}"),
            AssistantMessage("I write it.", f"Step {i}.", (call,)),
            ToolMessage(result, call.id),
            AssistantMessage(f"Answer {i}: {next(texts)}"),
        ]
    return (*messages, UserMessage("Go on."))


def seconds(work: Callable[[], object], rounds: int) -> list[float]:
    """How long the work took in each round; the first round does not count."""
    taken: list[float] = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return taken[1:]


def row(name: str, taken: list[float], per: float, unit: str) -> str:
    """A line of the table: the median and the minimum of the rounds."""
    return f"| {name} | {median(taken) / per:.1f} {unit} | {min(taken) / per:.1f} {unit} |"


def out_rows(tokenizer: Tokenizer, rounds: int) -> list[str]:
    """The rows for replies: from tokens to frames."""
    rows: list[str] = []
    for name, request, reply in (
        ("tool calls", ASKED, tool_reply()),
        ("text, tools offered", ChatRequest(ASKED.messages, tools=TOOLS), text_reply()),
        ("text", ChatRequest(ASKED.messages), text_reply()),
    ):
        ids = encode(reply, tokenizer)
        chunks = [TokenChunk(0, (id,), "stop" if i == len(ids) else None) for i, id in enumerate(ids, 1)]

        def work(request: ChatRequest = request, chunks: list[TokenChunk] = chunks) -> None:
            read(request, chunks, tokenizer)

        rows.append(row(f"{name}, per token of {len(ids):,}", seconds(work, rounds), len(ids) * 1e-6, "µs"))
    return rows


def in_rows(name: str, format: ChatFormat, tokenizer: Tokenizer, rounds: int) -> list[str]:
    """The rows for prompts: a conversation that is new, and then the same with one more turn."""

    def ids_of(messages: tuple[Message, ...], known: EncodedTexts) -> tuple[int, ...]:
        return encode(format.render(ChatRequest(messages, tools=TOOLS)), tokenizer, known, b"salt")

    n_tokens = [len(ids_of(conversation(n), EncodedTexts())) for n in (1, 2)]
    n_turns = _CONVERSATION_TOKENS // (n_tokens[1] - n_tokens[0]) + 2
    whole = conversation(n_turns)
    size = f"{len(ids_of(whole, EncodedTexts())):,}"
    first = seconds(lambda: ids_of(whole, EncodedTexts()), rounds)
    known, answers = EncodedTexts(), cycle(paragraphs(_CODE))
    ids_of(whole, known)

    def follow_up() -> None:
        ids_of((*whole, AssistantMessage(next(answers)), UserMessage("And then?")), known)

    return [
        row(f"{name}, conversation of {size}", first, 1e-3, "ms"),
        row(f"{name}, one turn more", seconds(follow_up, rounds), 1e-3, "ms"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chat_layer", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, choices=range(1, 101), metavar="N")
    rounds = parser.parse_args().rounds
    qwen = QwenTokenizer()
    folder = resolve(None, Cache(default_root()), Quiet(), IR)
    embedded = tokenizer_of(folder)
    print("| | median | least |\n|---|---:|---:|")
    lines = [*out_rows(qwen, rounds), *in_rows("Qwen3.6", QWEN3, qwen, rounds)]
    print("\n".join([*lines, *in_rows("embedded", HERMES, embedded, rounds)]))


if __name__ == "__main__":
    main()
